"""The network on which verdicts are staged: hosts in namespaces on a bridge, their services and their faults.

Every rule and program is inside these namespaces, and goes with them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.l2.conftest import Segment, mac

CLONE_NEWNET = 0x40000000  # linux/sched.h
SERVED = 8080  # where a node's programs listen; port 80 of an external IP is redirected there
EXTERNAL = ("192.0.2.100-192.0.2.254", "198.51.100.0/24", "203.0.113.0/24")
EXTERNAL6 = "2001:db8::100-2001:db8::fff"


def until(condition: Callable[[], object], what: str, patience: float = 30.0) -> None:
    """Wait until the condition is true; fail the test with `what` if that takes too long."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience:.0f} s for {what}"
        time.sleep(0.02)


@dataclass
class StageNetwork(Segment):
    """A Segment whose hosts have loopback, both families, additional NICs and background programs."""

    programs: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    sockets: list[socket.socket] = field(default_factory=list)

    def shell(self, name: str, script: str) -> str:
        """Run a shell script in a host's namespace; a failing line fails the test."""
        ended = self.run(name, "sh", "-ec", script, check=False)
        assert ended.returncode == 0, f"{name}: {script}\n{ended.stderr}"
        return ended.stdout

    def node(self, name: str, number: int, *addresses: str, bridge: str = "br0", switch: str = "bridge") -> None:
        """Connect a host to the bridge, with loopback and without IPv6 duplicate address detection."""
        self.namespace(name)
        quiet = "for f in all default; do echo 0 >/proc/sys/net/ipv6/conf/$f/accept_dad; done"
        self.shell(name, f"{quiet}; ip link set lo up")
        self.nic(name, "eth1", number, *addresses, bridge=bridge, switch=switch)

    def nic(
        self, name: str, nic: str, number: int, *addresses: str, bridge: str = "br0", switch: str = "bridge"
    ) -> None:
        """Add a NIC to a host, on a bridge of the namespace `switch` at its port p<number>."""
        here = f"{self.prefix}{name}"
        port = f"p{number}"
        self.shell(
            switch,
            f"ip link add {port} type veth peer name {nic} netns {here}\nip link set {port} master {bridge} up",
        )
        lines = [f"ip link set {nic} address {mac(number)} up"]
        lines += [f"ip address add {address} dev {nic}" for address in addresses]
        self.shell(name, "\n".join(lines))

    def nft(self, name: str, rules: str) -> None:
        """Load nftables rules in a host's namespace."""
        ended = subprocess.run(
            ["ip", "netns", "exec", f"{self.prefix}{name}", "nft", "-f", "-"],
            input=rules,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr

    @contextmanager
    def rules(self, name: str, table: str, chain: str, *rules: str) -> Iterator[None]:
        """Load rules in a host's namespace for a block. table: "bridge switch"; chain: its definition."""
        body = "\n".join(rules)
        self.nft(name, f"table {table} {{\nchain c {{\n{chain}\n{body}\n}}\n}}\n")
        try:
            yield
        finally:
            self.nft(name, f"delete table {table}\n")

    def serve(self, name: str) -> None:
        """Serve port 80 of every external IP on a node, as kube-proxy would, announced or not."""
        listening = self.socket_in(
            name,
            lambda: socket.create_server(("::", SERVED), family=socket.AF_INET6, backlog=512, dualstack_ipv6=True),
        )
        self.sockets.append(listening)  # the kernel completes handshakes without accept
        four = ", ".join(EXTERNAL)
        self.nft(
            name,
            f"""table inet proxy {{
            chain c {{
                type nat hook prerouting priority dstnat
                ip daddr {{ {four} }} tcp dport 80 redirect to :{SERVED}
                ip6 daddr {EXTERNAL6} tcp dport 80 redirect to :{SERVED}
            }}
            }}\n""",
        )

    def socket_in(self, name: str, make: Callable[[], socket.socket]) -> socket.socket:
        """Return a socket in another namespace; it stays there after its creating thread ends."""
        made: list[socket.socket] = []
        failed: list[OSError] = []

        def create() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{self.prefix}{name}", "rb") as there:
                if libc.setns(there.fileno(), CLONE_NEWNET):
                    failed.append(OSError(ctypes.get_errno(), "setns"))
                    return
            try:
                made.append(make())
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=create)  # only this thread enters the namespace
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return made[0]

    def relay(self, name: str, port: int) -> None:
        """Let a host reach this machine's 127.0.0.1:port (the API server) as its own."""
        listening = self.socket_in(name, lambda: socket.create_server(("127.0.0.1", port), backlog=64))
        self.sockets.append(listening)
        threading.Thread(target=_accept, args=(listening, port), daemon=True).start()

    def spawn(self, key: str, name: str, *command: str, env: dict[str, str] | None = None) -> Path:
        """Start a program in a host's namespace and return its log; the kernel kills it with this process."""
        log = self.folder / f"{key}.log"
        with open(log, "ab") as output:
            self.programs[key] = subprocess.Popen(
                ["ip", "netns", "exec", f"{self.prefix}{name}", "setpriv", "--pdeathsig", "KILL", "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env=os.environ | (env or {}),
            )
        return log

    def kill(self, key: str) -> None:
        """Kill one program at once, as a crash would."""
        program = self.programs.pop(key)
        program.kill()
        program.wait()

    def close(self) -> None:
        """Kill everything and delete the namespaces."""
        for key in [*self.programs]:
            self.kill(key)
        for listening in self.sockets:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", f"{self.prefix}{name}"], check=False)


def _accept(listening: socket.socket, port: int) -> None:
    while True:
        try:
            here, _ = listening.accept()
        except OSError:
            return  # closed
        try:
            there = socket.create_connection(("127.0.0.1", port))
        except OSError:
            here.close()  # the API server is down; the client notices
            continue
        for one, other in ((here, there), (there, here)):
            threading.Thread(target=pump, args=(one, other), daemon=True).start()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy one way until the source ends or either end is closed; then close the sink."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass  # either end is closed; the other is shut down below
    finally:
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        sink.close()

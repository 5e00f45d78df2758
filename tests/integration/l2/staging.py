"""Faults of a segment, staged between namespaces: speakers, Services behind a NAT, a bridge that drops frames."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.l2.conftest import Segment
from tests.integration.l2.probing import background

CASES = Path(__file__).parent / "cases"

# Accepts connections and answers each request with that many bytes; 0: never answers.
SERVER = """
import socket, sys, threading
size, port = int(sys.argv[1]), int(sys.argv[2])
listener = socket.create_server(("::", port), family=socket.AF_INET6, backlog=256, dualstack_ipv6=True)
print("serving", flush=True)
def serve(one):
    try:
        one.recv(65536)
        if size:
            one.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % size + b"x" * size)
            one.close()
        else:
            one.recv(1)
    except OSError:
        pass
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
# Answers every UDP datagram with its first bytes.
UDP_SERVER = """
import socket, sys
one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
one.bind(("::", int(sys.argv[1])))
print("serving", flush=True)
while True:
    data, peer = one.recvfrom(2048)
    one.sendto(data[:40], peer)
"""
# Listens and never sees a SYN: a filter of the socket discards it after the connection has been tracked, so that it
# goes to the same backend when it is sent again. A drop by the packet filter, or a reset, would end the tracking.
HANGING = """
import ctypes, socket, struct, sys, time
one = socket.socket(socket.AF_INET6)
code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0), 8)
one.setsockopt(socket.SOL_SOCKET, 26, struct.pack("@HP", 1, ctypes.addressof(code)))
one.bind(("::", int(sys.argv[1])))
one.listen()
print("hanging", flush=True)
while True:
    time.sleep(60)
"""


@dataclass
class Stage:
    """A segment whose speakers and servers run until the end of a test."""

    segment: Segment
    stack: ExitStack

    def host(self, name: str, number: int, *addresses: str) -> None:
        """Connect a host, with IPv6 addresses that are usable at once."""
        self.segment.host(name, number, *(text for text in addresses if ":" not in text))
        for text in addresses:
            if ":" in text:
                self.segment.run(name, "ip", "address", "add", text, "dev", "eth1", "nodad")

    def nodes(self, *names: str) -> None:
        """Connect n1 (.11), n2 (.12)… and give the prober an IPv6 address."""
        self.segment.run("prober", "ip", "address", "add", "2001:db8::1/64", "dev", "eth1", "nodad")
        for name in names:
            number = 10 + int(name[1:])
            self.host(name, number, f"192.0.2.{number}/24", f"2001:db8::{number}/64")

    def speak(self, name: str, ips: str, *options: str) -> subprocess.Popen[str]:
        """Answer for addresses in a host's namespace."""
        words = [sys.executable, "-m", "tests.integration.l2.speaker", "eth1", ips, *options]
        return self.stack.enter_context(background(self.segment, name, *words, ready="ready"))

    def serve(self, name: str, *ips: str, ports: str = "80", size: int = 0, to: str = "8080") -> None:
        """Accept connections to addresses that the host does not have, as kube-proxy does. to: where to redirect."""
        words = [sys.executable, "-uc", SERVER, str(size), "8080"]
        self.stack.enter_context(background(self.segment, name, *words, ready="serving"))
        rules = [f"{'ip6' if ':' in ip else 'ip'} daddr {ip} tcp dport {{ {ports} }} redirect to :{to}" for ip in ips]
        self.nft(name, "proxy", "type nat hook prerouting priority dstnat", *rules)

    def serve_udp(self, name: str, ip: str, port: int) -> None:
        """Answer datagrams to a port of an address."""
        words = [sys.executable, "-uc", UDP_SERVER, "8053"]
        self.stack.enter_context(background(self.segment, name, *words, ready="serving"))
        self.nft(
            name,
            "udp",
            "type nat hook prerouting priority dstnat",
            f"ip daddr {ip} udp dport {port} redirect to :8053",
        )

    def hang(self, name: str, port: int) -> None:
        """Answer no SYN to a TCP port of a host, as a backend does that hangs."""
        words = [sys.executable, "-uc", HANGING, str(port)]
        self.stack.enter_context(background(self.segment, name, *words, ready="hanging"))

    def nft(self, name: str, table: str, hook: str, *rules: str, family: str = "inet") -> None:
        """Add rules to a host's packet filter."""
        text = f"table {family} staged_{table} {{\nchain c {{\n{hook}\n" + "\n".join(rules) + "\n}\n}\n"
        words = ["ip", "netns", "exec", f"{self.segment.prefix}{name}", "nft", "-f", "-"]
        subprocess.run(words, input=text, text=True, check=True)

    def port(self, number: int, *words: str) -> None:
        """Set options of a port of the bridge: bridge link set dev p11 …"""
        self.segment.run("bridge", "bridge", "link", "set", "dev", f"p{number}", *words)

    def check(self, known: dict[str, Any], *words: str) -> tuple[int, dict[str, Any]]:
        """Run `l2 check --facts` with JSON; return its exit status and its report."""
        status, text = self.run(known, "check", *words, as_json=True)
        return status, json.loads(text)

    def verdict(self, known: dict[str, Any], *words: str) -> dict[str, Any]:
        """Return the only result of a check."""
        _, made = self.check(known, *words)
        (result,) = made["results"]
        return dict(result)

    def run(self, known: dict[str, Any], *words: str, as_json: bool = False) -> tuple[int, str]:
        """Run an l2 command with these facts; return its exit status and stdout."""
        (self.segment.folder / "facts.json").write_text(json.dumps(known))
        output = ("-o", "json") if as_json else ()
        ended = self.segment.cli(*output, "l2", *words, "--facts", "facts.json")
        assert "Traceback" not in ended.stderr, ended.stderr
        assert ended.returncode in (0, 1, 2), ended.stderr
        return ended.returncode, ended.stdout


def case(name: str) -> dict[str, Any]:
    """Return the facts of a case."""
    found: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    return found


@contextmanager
def staged(segment: Segment) -> Iterator[Stage]:
    """Provide a stage on a segment."""
    with ExitStack() as stack:
        yield Stage(segment, stack)

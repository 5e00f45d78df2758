"""Machines to log in to: a real sshd each, in its own namespaces, with its own /etc, /run, /var/lib and users.

The caller enters the operator's network namespace, which reaches the machines over a bridge. Nothing is visible
outside, and the real /etc, /run and /var/lib do not change.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CLONE_NEWNET = 0x40000000
NETWORK = "192.0.2"  # TEST-NET-1 (RFC 5737), inside a namespace
SUDO_PASSWORD = "correct horse battery"
USERS = {"plain": "%s ALL=(ALL) NOPASSWD: ALL", "careful": "%s ALL=(ALL) ALL", "nobodys": ""}

# PID 1 of a machine; $1 is its folder, $2 its name. Overlays keep changes away from the real /etc and /var/lib.
_BOOT = r"""
set -eu
mount --make-rprivate /
hostname "$2"
mkdir -p "$1/etc" "$1/etc.work" "$1/lib" "$1/lib.work"
mount -t overlay -o lowerdir=/etc,upperdir="$1/etc",workdir="$1/etc.work" overlay /etc
mount -t overlay -o lowerdir=/var/lib,upperdir="$1/lib",workdir="$1/lib.work" overlay /var/lib
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
echo "127.0.1.1 $2" >>/etc/hosts
while IFS='|' read -r user password rule; do
  [ -n "$user" ] || continue
  id "$user" >/dev/null 2>&1 || useradd -m -d "$1/home-$user" -s /bin/sh "$user"
  printf '%s:%s\n' "$user" "$password" | chpasswd
  mkdir -p "$1/home-$user/.ssh"
  cp "$1/authorized_keys" "$1/home-$user/.ssh/authorized_keys"
  chown -R "$user" "$1/home-$user"
  chmod 700 "$1/home-$user/.ssh"
  [ -z "$rule" ] || printf '%s\n' "$rule" >"/etc/sudoers.d/$user"
done <"$1/users"
ip link set lo up
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
"""

_CONFIG = """Port {port}
ListenAddress 0.0.0.0
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized_keys .ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
MaxStartups 100
LogLevel VERBOSE
"""


@dataclass
class Machine:
    """A machine; killing its process ends everything in it."""

    name: str
    address: str
    port: int
    folder: Path
    netns: str
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """Return the PID of the machine's sshd in the outer PID namespace."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def boot(self) -> None:
        """Start sshd in new mount, PID and host name namespaces and wait until it listens."""
        words = ["ip", "netns", "exec", self.netns, "unshare", "--mount", "--pid", "--uts", "--fork"]
        words += ["--kill-child", "--mount-proc", "sh", "-c", _BOOT, "boot", str(self.folder), self.name]
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: b"Server listening" in (self.folder / "sshd.log").read_bytes(), f"sshd of {self.name}")

    def shutdown(self) -> None:
        """Kill the machine and everything in it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
            (self.folder / "sshd.log").write_bytes(b"")

    def sh(self, command: str) -> str:
        """Run a command inside the machine, bypassing SSH."""
        words = ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-n", "sh", "-c", command]
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout

    def sessions(self) -> int:
        """Return how many commands sshd has started since boot."""
        return (self.folder / "sshd.log").read_bytes().count(b"Starting session: command")

    def arguments(self) -> str:
        """Return the argv of every process on the machine, separated by spaces."""
        return self.sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true")

    def new_host_key(self) -> None:
        """Replace the machine's host key, like a reinstallation."""
        self.shutdown()
        make_key(self.folder / "host_key")
        self.boot()

    def link(self, state: str) -> None:
        """Set the machine's link "down" or "up"; the caller is in the operator's namespace."""
        sh(f"ip link set {self.netns[-8:]} {state}")


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait until `condition()` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)


def sh(command: str) -> str:
    """Run a shell command here."""
    return subprocess.run(["sh", "-euc", command], check=True, capture_output=True, text=True, timeout=30).stdout


def make_key(path: Path) -> None:
    """Create an ed25519 key pair at path and path.pub."""
    for old in (path, path.with_name(path.name + ".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@contextmanager
def network(folder: Path, names: tuple[str, ...], port: int = 22) -> Iterator[dict[str, Machine]]:
    """Provide booted machines by name; the calling thread is in the operator's namespace meanwhile."""
    tag = f"pv{os.getpid() % 10000}"
    operator = f"{tag}op"
    machines: dict[str, Machine] = {}
    make_key(folder / "id")
    own = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    try:
        sh(f"ip netns add {operator}")
        inside = f"ip -n {operator}"
        sh(f"{inside} link set lo up; {inside} link add br0 type bridge; {inside} link set br0 up")
        sh(f"{inside} address add {NETWORK}.1/24 dev br0")
        for index, name in enumerate(names):
            netns = f"{tag}{name}"[-15:]
            machine = Machine(name, f"{NETWORK}.{10 + index}", port, folder / name, netns)
            machines[name] = machine
            _install(machine, folder)
            cable = netns[-8:]
            sh(
                f"ip netns add {netns}; {inside} link add {cable} type veth peer name eth0 netns {netns}; "
                f"{inside} link set {cable} master br0 up; ip -n {netns} link set eth0 up; "
                f"ip -n {netns} address add {machine.address}/24 dev eth0"
            )
        _enter(f"/run/netns/{operator}")
        for machine in machines.values():
            machine.boot()
        yield machines
    finally:
        _setns(own)
        os.close(own)
        for machine in machines.values():
            machine.shutdown()
        for netns in (operator, *(machine.netns for machine in machines.values())):
            subprocess.run(["ip", "netns", "delete", netns], check=False, capture_output=True)


def _install(machine: Machine, folder: Path) -> None:
    machine.folder.mkdir()
    make_key(machine.folder / "host_key")
    (machine.folder / "authorized_keys").write_bytes((folder / "id.pub").read_bytes())
    (machine.folder / "sshd_config").write_text(_CONFIG.format(folder=machine.folder, port=machine.port))
    lines = [f"{user}|{SUDO_PASSWORD}|{rule % user if rule else ''}\n" for user, rule in USERS.items()]
    (machine.folder / "users").write_text("".join(lines))


def _enter(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _setns(descriptor)
    finally:
        os.close(descriptor)


def _setns(descriptor: int) -> None:
    """Move this thread, and the threads and processes that it starts, to another network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")

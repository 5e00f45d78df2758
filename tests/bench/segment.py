"""A /24 in network namespaces: 200 owners, each with its own MAC, ten of which have a duplicate.

Every owner is a macvlan interface for which the kernel answers only for its own address (arp_ignore).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "192.0.2.0/24"
OWNERS = range(11, 211)
DUPLICATES = range(31, 41)
_QUIET = "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"


@dataclass(frozen=True)
class Segment:
    """The prober's namespace. owners: the expected MACs by address."""

    namespace: str
    owners: dict[str, set[str]]

    def command(self, *words: str) -> list[str]:
        """Return a command that runs in the prober's namespace."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def run(self, *words: str, ok: tuple[int, ...] = (0,)) -> tuple[float, str]:
        """Run a command there; return its wall time in seconds and its stdout."""
        begun = time.perf_counter()
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(self.command(*words), check=False, capture_output=True, text=True, env=env, cwd="/")
        seconds = time.perf_counter() - begun
        if done.returncode not in ok:
            raise RuntimeError(f"{' '.join(words)} exited with status {done.returncode}: {done.stderr.strip()}")
        return seconds, done.stdout

    def scan(self, *options: str) -> dict[str, set[str]]:
        """Run `provisioner -o json l2 scan` of the /24; return the MACs that it found by address."""
        words = (sys.executable, "-m", "provisioner", "-o", "json", "l2", "scan", NETWORK, *options)
        _, output = self.run(*words, ok=(0, 1))  # exit status 1: duplicates
        found = {one["ip"]: {owner["mac"] for owner in one["owners"]} for one in json.loads(output)["results"]}
        return {ip: macs for ip, macs in found.items() if macs}

    def frames(self) -> int:
        """Return the number of frames that the prober has sent."""
        _, text = self.run("cat", "/sys/class/net/eth1/statistics/tx_packets")
        return int(text)


@contextmanager
def segment(*, empty: bool = False) -> Iterator[Segment]:
    """Create the segment, and remove it afterwards. empty: without owners. Requires root."""
    hosts = {} if empty else {"owners": (OWNERS, 0x0A), "duplicates": (DUPLICATES, 0x0B)}
    with quiet_namespaces(*hosts) as (prober, *names):
        _ip("-n", prober, "address", "add", "192.0.2.1/24", "dev", "eth1")
        owners: dict[str, set[str]] = {}
        for name, (octets, number) in zip(names, hosts.values(), strict=True):
            # Otherwise each interface would answer for the addresses of all others in its namespace.
            answering = ("net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.rp_filter=0")
            subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", *answering], check=True)
            lines = []
            for octet in octets:
                mac, ip = f"02:00:00:00:{number:02x}:{octet:02x}", f"192.0.2.{octet}"
                lines += [
                    f"link add m{octet} link eth1 address {mac} type macvlan mode bridge",
                    f"link set m{octet} up",
                    f"address add {ip}/24 dev m{octet}",
                ]
                owners.setdefault(ip, set()).add(mac)
            _batch(name, *lines)
        yield Segment(prober, owners)


@contextmanager
def quiet_namespaces(*names: str) -> Iterator[tuple[str, ...]]:
    """Connect the prober and these hosts by a bridge, without IPv6; yield their namespaces, the prober's first."""
    prefix = f"pbench-{os.getpid()}-"
    bridge, *hosts = namespaces = [f"{prefix}{name}" for name in ("bridge", "prober", *names)]
    try:
        for name in namespaces:
            _ip("netns", "add", name)
            subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", *_QUIET], check=True)
        _batch(bridge, "link add br0 type bridge", "link set br0 up")
        for port, name in enumerate(hosts):
            _batch(
                bridge,
                f"link add p{port} type veth peer name eth1 netns {name}",
                f"link set p{port} master br0 up",
            )
            _ip("-n", name, "link", "set", "eth1", "up")
        yield tuple(hosts)
    finally:
        for name in namespaces:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _batch(namespace: str, *lines: str) -> None:
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines), text=True, check=True)

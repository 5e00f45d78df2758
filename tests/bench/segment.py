"""A /24 of its own in network namespaces: 200 owners, each with its own MAC, ten of whose addresses a second one has.

Every owner is a macvlan interface that answers for its own address alone (arp_ignore), by the kernel.
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
TWINS = range(31, 41)
_QUIET = "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"


@dataclass(frozen=True)
class Segment:
    """The prober's namespace. owners: the MACs that are to be found, by address."""

    namespace: str
    owners: dict[str, set[str]]

    def command(self, *words: str) -> list[str]:
        """Return a command line that runs in the prober's namespace."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def run(self, *words: str, ok: tuple[int, ...] = (0,)) -> tuple[float, str]:
        """Run a command there and return its wall time in seconds and its output."""
        begun = time.perf_counter()
        where = {**os.environ, "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(self.command(*words), check=False, capture_output=True, text=True, env=where, cwd="/")
        took = time.perf_counter() - begun
        if ended.returncode not in ok:
            raise RuntimeError(f"{' '.join(words)} ended with {ended.returncode}: {ended.stderr.strip()}")
        return took, ended.stdout

    def scan(self, *options: str) -> dict[str, set[str]]:
        """Run `provisioner -o json l2 scan` of the /24 and return the MACs that it found, by address."""
        words = (sys.executable, "-m", "provisioner", "-o", "json", "l2", "scan", NETWORK, *options)
        _, output = self.run(*words, ok=(0, 1))  # two owners are a fault
        found = {one["ip"]: {owner["mac"] for owner in one["owners"]} for one in json.loads(output)["results"]}
        return {ip: macs for ip, macs in found.items() if macs}

    def frames(self) -> int:
        """Return how many frames the prober has sent so far."""
        _, text = self.run("cat", "/sys/class/net/eth1/statistics/tx_packets")
        return int(text)


@contextmanager
def segment(*, empty: bool = False) -> Iterator[Segment]:
    """Make the segment, and remove it afterwards. empty: without any owner. Needs root."""
    prefix = f"pbench-{os.getpid()}-"
    bridge, prober = f"{prefix}bridge", f"{prefix}prober"
    hosts = {} if empty else {f"{prefix}owners": (OWNERS, 0x0A), f"{prefix}twins": (TWINS, 0x0B)}
    made = [bridge, prober, *hosts]
    try:
        for name in made:
            _ip("netns", "add", name)
            subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", *_QUIET], check=True)
        _batch(bridge, "link add br0 type bridge", "link set br0 up")
        for number, name in enumerate((prober, *hosts)):
            _batch(
                bridge,
                f"link add p{number} type veth peer name eth1 netns {name}",
                f"link set p{number} master br0 up",
            )
            _ip("-n", name, "link", "set", "eth1", "up")
        _ip("-n", prober, "address", "add", "192.0.2.1/24", "dev", "eth1")
        owners: dict[str, set[str]] = {}
        for name, (lasts, own) in hosts.items():
            # Otherwise each interface would answer for the addresses of all others of its namespace.
            answering = ("net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.rp_filter=0")
            subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", *answering], check=True)
            lines = []
            for last in lasts:
                mac, ip = f"02:00:00:00:{own:02x}:{last:02x}", f"192.0.2.{last}"
                lines += [
                    f"link add m{last} link eth1 address {mac} type macvlan mode bridge",
                    f"link set m{last} up",
                    f"address add {ip}/24 dev m{last}",
                ]
                owners.setdefault(ip, set()).add(mac)
            _batch(name, *lines)
        yield Segment(prober, owners)
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _batch(namespace: str, *lines: str) -> None:
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines), text=True, check=True)

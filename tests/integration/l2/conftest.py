"""A segment made of a bridge and hosts in network namespaces, and the real command run from one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.l2.watching import Rig

ROOT = Path(__file__).parents[3]


@dataclass
class Segment:
    """192.0.2.0/24 between namespaces; `prober` is .1. Host number n has the MAC 02:00:00:00:00:n.

    folder: the working directory of commands, without a hosts.toml, so that only the segment is asked.
    """

    prefix: str
    folder: Path
    names: list[str] = field(default_factory=list)

    def run(self, name: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in a host's namespace."""
        return subprocess.run(
            ["ip", "netns", "exec", f"{self.prefix}{name}", *command],
            capture_output=True,
            text=True,
            check=check,
            timeout=300,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def namespace(self, name: str) -> None:
        """Create an empty namespace."""
        subprocess.run(["ip", "netns", "add", f"{self.prefix}{name}"], check=True)
        self.names.append(name)

    def host(self, name: str, number: int, *addresses: str) -> None:
        """Connect a host with these addresses (each with its prefix length) to the segment."""
        self.namespace(name)
        here = f"{self.prefix}{name}"
        ports = ["ip", "-n", f"{self.prefix}bridge", "link"]
        subprocess.run(
            [*ports, "add", f"p{number}", "type", "veth", "peer", "name", "eth1", "netns", here], check=True
        )
        subprocess.run([*ports, "set", f"p{number}", "master", "br0", "up"], check=True)
        self.run(name, "ip", "link", "set", "eth1", "address", mac(number), "up")
        for address in addresses:
            self.run(name, "ip", "address", "add", address, "dev", "eth1")

    def neighbours(self, name: str) -> dict[str, str]:
        """Return a host's neighbor cache, address -> MAC, "" without a MAC."""
        entries = json.loads(self.run(name, "ip", "-json", "neigh", "show", "dev", "eth1").stdout)
        return {entry["dst"]: entry.get("lladdr", "") for entry in entries}

    def cli(self, *arguments: str, name: str = "prober") -> subprocess.CompletedProcess[str]:
        """Run `provisioner …` in a host's namespace."""
        return self.run(name, sys.executable, "-m", "provisioner", *arguments, check=False)

    def scan(self, *arguments: str) -> dict[str, list[dict[str, Any]]]:
        """Run `provisioner -o json l2 scan …` and return the owners by address; exit status 1 (faults) is fine."""
        ended = self.cli("-o", "json", "l2", "scan", *arguments)
        assert ended.returncode in (0, 1), ended.stderr
        return {result["ip"]: result["owners"] for result in json.loads(ended.stdout)["results"]}


def mac(number: int) -> str:
    """Return the MAC of host number n."""
    return f"02:00:00:00:00:{number:02x}"


def macs(owners: Sequence[dict[str, Any]]) -> set[str]:
    """Return the MACs among owners."""
    return {owner["mac"] for owner in owners}


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    """Yield a segment with a bridge and the prober on it."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    folder = tmp_path / "here"
    folder.mkdir()
    made = Segment(f"pl2-{os.getpid()}-", folder)
    try:
        made.namespace("bridge")
        made.run("bridge", "ip", "link", "add", "br0", "type", "bridge")
        made.run("bridge", "ip", "link", "set", "br0", "up")
        made.host("prober", 1, "192.0.2.1/24")
        made.run("prober", "ip", "link", "set", "lo", "up")
        yield made
    finally:
        for name in made.names:
            subprocess.run(["ip", "netns", "delete", f"{made.prefix}{name}"], check=False)


@pytest.fixture
def rig(segment: Segment, tmp_path: Path) -> Iterator[Rig]:
    """Yield a segment with two workers that serve, and a capture at the prober."""
    from tests.integration.l2.watching import rigged  # which imports this module

    with rigged(segment, tmp_path) as made:
        yield made

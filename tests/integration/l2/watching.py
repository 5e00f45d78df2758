"""Run `l2 watch` on the prober during a failover, and compare its report with a capture."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.l2 import capture
from tests.integration.l2.conftest import ROOT, Segment, mac

ACCURACY = 0.020  # seconds
IP, IP6 = "192.0.2.200", "2001:db8::200"
FACTS = {
    "schema": "l2facts/v1",
    "nodes": [{"name": f"worker{number}", "nics": [{"name": "eth1", "mac": mac(10 + number)}]} for number in (1, 2)],
    "pools": [{"name": "lab", "addresses": ["192.0.2.200-192.0.2.210"]}],
    "services": [
        {"namespace": "default", "name": "web", "ingress_ips": [IP], "ports": [{"port": 80, "protocol": "TCP"}]}
    ],
}
SERVER = (
    "import socket\n"
    "s = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)\n"
    "print('ready', flush=True)\n"
    "while True: s.accept()[0].close()\n"
)


def wait(condition: Callable[[], bool], limit: float = 30) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


@contextmanager
def watching(segment: Segment, ip: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `l2 watch` on the prober."""
    # A shell that runs the suite in the background ignores SIGINT, which child processes inherit.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "provisioner", "-o", "json", "l2", "watch", ip]
    process = subprocess.Popen(
        ["ip", "netns", "exec", f"{segment.prefix}prober", *command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def ended(process: subprocess.Popen[str], status: int, limit: float = 60) -> dict[str, Any]:
    """Wait for a watch and return its report."""
    output, errors = process.communicate(timeout=limit)
    assert process.returncode == status, errors + output
    told: dict[str, Any] = json.loads(output)
    assert told["schema"] == "l2watch/v1"
    return told


def same(figure: dict[str, Any] | None, truth: float) -> float:
    """Assert that a figure agrees with the capture, and return the difference."""
    assert figure is not None
    difference = abs(float(figure["unix"]) - truth)
    assert difference < ACCURACY, f"{figure['unix']} instead of {truth}"
    return difference


@dataclass
class Rig:
    """Two workers, a prober and a capture file."""

    segment: Segment
    folder: Path

    @property
    def pcap(self) -> Path:
        """Return the path of the capture."""
        return self.folder / "wire.pcap"

    def frames(self) -> list[capture.Frame]:
        """Return the frames captured so far."""
        return capture.frames(self.pcap)

    def give(self, worker: int, ip: str = IP) -> None:
        """Add the address to a worker."""
        words = ["nodad"] if ":" in ip else []
        self.segment.run(
            f"worker{worker}", "ip", "address", "add", f"{ip}/{128 if words else 32}", "dev", "eth1", *words
        )

    def take(self, worker: int, ip: str = IP) -> None:
        """Delete the address from a worker."""
        length = 128 if ":" in ip else 32
        self.segment.run(f"worker{worker}", "ip", "address", "del", f"{ip}/{length}", "dev", "eth1")

    def announce(self, worker: int, ip: str = IP, count: int = 5) -> subprocess.Popen[bytes]:
        """Send gratuitous frames from a worker, in the background."""
        words = [sys.executable, "-m", "tests.integration.l2.announcer", ip, mac(10 + worker), str(count)]
        return subprocess.Popen(["ip", "netns", "exec", f"{self.segment.prefix}worker{worker}", *words], cwd=ROOT)

    def answered(self, worker: int, more: int, ip: str = IP) -> None:
        """Wait until a worker has sent `more` more replies."""
        had = len(capture.replies(self.frames(), ip, 10 + worker))
        wait(lambda: len(capture.replies(self.frames(), ip, 10 + worker)) >= had + more)


def link_local(segment: Segment) -> str:
    """Return the prober's link-local address, "" while it is tentative (RFC 4862)."""
    words = ["ip", "-6", "-json", "address", "show", "dev", "eth1", "scope", "link", "-tentative"]
    entries = [own for one in json.loads(segment.run("prober", *words).stdout) for own in one.get("addr_info", ())]
    return next((str(entry["local"]) for entry in entries if "local" in entry), "")


@contextmanager
def rigged(segment: Segment, folder: Path) -> Iterator[Rig]:
    """Provide two workers that serve port 80 on all their addresses, and a capture on the prober."""
    (folder / "facts.json").write_text(json.dumps(FACTS))
    segment.run("prober", "ip", "address", "add", "2001:db8::1/64", "dev", "eth1", "nodad")
    with ExitStack() as stack:
        for number in (1, 2):
            name = f"worker{number}"
            segment.host(name, 10 + number, f"192.0.2.{10 + number}/24")
            segment.run(name, "ip", "address", "add", f"2001:db8::1{number}/64", "dev", "eth1", "nodad")
            server = subprocess.Popen(
                ["ip", "netns", "exec", f"{segment.prefix}{name}", sys.executable, "-c", SERVER],
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(server.communicate)
            stack.callback(server.terminate)
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
        wait(lambda: bool(link_local(segment)))
        stack.enter_context(capture.capturing(segment, "prober", folder / "wire.pcap"))
        yield Rig(segment, folder)

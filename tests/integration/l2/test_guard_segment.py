"""`l2 guard` on a real segment: real frames in, lines, file, metrics and hooks out."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration.l2 import vrrp_master
from tests.integration.l2.conftest import ROOT, Segment, mac
from tests.integration.l2.test_check_segment import VIP, facts
from tests.unit.l2.guard.test_outputs import SERVER, dhcp_frame

pytestmark = pytest.mark.integration

FREE = "192.0.2.202"


@dataclass
class Guard:
    """A running guard. events: those printed so far."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)
    notes: str = ""
    lines: queue.Queue[str] = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as opened:
            for line in opened:
                self.lines.put(line)

    def stop(self) -> None:
        """Stop it as systemd does."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stderr is not None
        with self.process.stderr as opened:
            self.notes = opened.read()
        self.process.wait(timeout=60)
        self._reader.join()

    def wait_for(self, code: str, timeout: float = 240) -> dict[str, Any]:
        """Return the next event with a code."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0 and self.process.poll() is None:
            try:
                self.events.append(json.loads(self.lines.get(timeout=min(left, 1.0))))
            except queue.Empty:
                continue
            if self.events[-1]["code"] == code:
                return self.events[-1]
        raise AssertionError(f"no {code} among {[event['code'] for event in self.events]}")


@contextmanager
def guarding(segment: Segment, *words: str) -> Iterator[Guard]:
    """Run `provisioner -o json l2 guard` in the prober's namespace."""
    process = subprocess.Popen(
        [
            *("ip", "netns", "exec", f"{segment.prefix}prober", sys.executable, "-m", "provisioner", "-o", "json"),
            *("l2", "guard", *words, "--every", "10", "--db", "guard.sqlite"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=segment.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    guard = Guard(process)
    try:
        yield guard
    finally:
        guard.stop()
    assert process.returncode == 0, guard.notes
    assert "Traceback" not in guard.notes


@pytest.fixture
def cluster(segment: Segment) -> Segment:
    segment.host("w1", 11, "192.0.2.11/24", f"{VIP}/32")
    segment.host("w2", 12, "192.0.2.12/24")
    (segment.folder / "facts.json").write_text(json.dumps(facts()))
    return segment


def test_a_conflict_a_move_and_silence_are_lines_and_a_history(cluster: Segment) -> None:
    with guarding(cluster, "--facts", "facts.json") as guard:
        found = guard.wait_for("FOUND")
        assert (found["subject"], found["service"], found["owners"]) == (VIP, "default/web", [mac(11)])
        assert found["text"] == f"w1 eth1 answers for {VIP}."
        cluster.run("w2", "ip", "address", "add", f"{VIP}/32", "dev", "eth1")
        assert set(guard.wait_for("SPLIT_BRAIN")["owners"]) == {mac(11), mac(12)}
        cluster.run("w1", "ip", "address", "del", f"{VIP}/32", "dev", "eth1")
        guard.wait_for("ALONE")
        cluster.run("w2", "ip", "address", "del", f"{VIP}/32", "dev", "eth1")
        guard.wait_for("SILENT")
    assert "watching 1 address and 1 pool from eth1, each asked every 10 s" in guard.notes
    shown = cluster.cli("l2", "guard", "history", VIP, "--db", "guard.sqlite")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"{VIP}  ·")
    assert "SPLIT_BRAIN  w1 eth1 and w2 eth1 answer" in shown.stdout
    listed = cluster.cli("-o", "json", "l2", "guard", "history", "--since", "1h", "--db", "guard.sqlite")
    codes = [event["code"] for event in json.loads(listed.stdout)["events"]]
    assert codes == [event["code"] for event in guard.events]


def test_what_others_say_is_heard_a_squatter_a_dhcp_server_and_two_vrrp_masters(cluster: Segment) -> None:
    cluster.host("printer", 77, f"{FREE}/24")
    frame = dhcp_frame(5, yours="192.0.2.203", options=SERVER)
    send = (
        "import socket,sys; s=socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth1',0)); "
        "s.send(bytes.fromhex(sys.argv[1]))"
    )
    running = []
    with guarding(cluster, "--facts", "facts.json") as guard:
        try:
            event = guard.wait_for("POOL_ADDRESS_IN_USE")  # found by asking: it says nothing by itself
            assert (event["subject"], event["owners"]) == (FREE, [mac(77)])
            cluster.run("printer", sys.executable, "-c", send, frame.hex())
            text = guard.wait_for("DHCP_IN_POOL")["text"]
            assert "The DHCP server 192.0.2.254 confirms 192.0.2.203 of pool lab" in text
            running.append(advertising(cluster, "w1", "192.0.2.11"))
            assert guard.wait_for("VRRP_FOUND")["subject"] == "VRRP virtual router 51"
            running.append(advertising(cluster, "w2", "192.0.2.12"))
            text = guard.wait_for("VRRP_TWO_MASTERS")["text"]
            assert text == "192.0.2.11 and 192.0.2.12 are both master of VRRP virtual router 51."
        finally:
            for one in running:
                one.kill()
                one.wait()


def advertising(segment: Segment, name: str, source: str) -> subprocess.Popen[bytes]:
    """Send a VRRP advertisement each second from a host."""
    program = [sys.executable, "-c", vrrp_master.PROGRAM, "eth1", source, "192.0.2.250", "100"]
    return subprocess.Popen(["ip", "netns", "exec", f"{segment.prefix}{name}", *program])


def test_without_a_cluster_addresses_and_a_pool_are_enough(segment: Segment) -> None:
    segment.host("one", 21, f"{VIP}/24")
    (segment.folder / "hook").write_text("#!/bin/sh\ncat >>told\n")
    (segment.folder / "hook").chmod(0o755)
    words = [VIP, "192.0.2.200-192.0.2.210", "--metrics-port", "9466", "--on-verdict", "./hook"]
    with guarding(segment, *words) as guard:
        assert guard.wait_for("FOUND")["text"] == f"{mac(21)} answers for {VIP}."
        segment.host("two", 22, f"{VIP}/24")
        guard.wait_for("DUPLICATE_OWNERS")
        told = segment.folder / "told"
        eventually(lambda: told.exists() and "DUPLICATE_OWNERS" in told.read_text())
        fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9466/metrics').read().decode())"
        conflict = f'l2_guard_address_state{{address="{VIP}",service="",state="conflict"}} 1'
        eventually(lambda: conflict in segment.run("prober", sys.executable, "-c", fetch).stdout)


def eventually(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["guard"], "there is nothing to watch"),
        (["guard", VIP, "--webhook", "ftp://x"], "is not a URL"),
        (["guard", "history"], "no such file"),
    ],
)
def test_bad_input_ends_before_anything_is_sent(segment: Segment, words: list[str], says: str) -> None:
    ended = segment.cli("l2", *words)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert says in ended.stderr

"""Failovers between MetalLB's real speakers, timed by `l2 watch` and by tcpdump on the same segment."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from tests.integration.l2 import capture
from tests.integration.l2.conftest import mac
from tests.integration.l2.stage import collected
from tests.integration.l2.stage.metallb import MetalLB
from tests.integration.l2.stage.stage import Stage
from tests.integration.l2.watching import ACCURACY, ended, same, wait, watching

pytestmark = pytest.mark.integration

NUMBERS = {"k1": 81, "k2": 82, "k3": 83}


@pytest.fixture(scope="module")
def watched(stage: Stage) -> Iterator[MetalLB]:
    """Yield three nodes whose speakers have found each other; each test removes one."""
    metallb = MetalLB(stage.api, stage.network, "metallb-watched", course="watched")
    for name, number in NUMBERS.items():
        stage.network.node(name, number, f"192.0.2.{number}/24", f"2001:db8::{number}/64")
        stage.network.serve(name)
        metallb.node(name, f"192.0.2.{number}")
    metallb.pool("watched", "192.0.2.145-192.0.2.149", "2001:db8::300-2001:db8::30f")
    metallb.advertise("watched")
    for name in NUMBERS:
        metallb.start(name)
    for name in NUMBERS:
        metallb.wait_for(name, "NodeJoin", times=3)
    yield metallb
    for name in NUMBERS:
        if f"speaker-{name}" in stage.network.programs:
            stage.network.kill(f"speaker-{name}")


def facts(metallb: MetalLB, folder: Path) -> str:
    """Write a facts file as `l2 collect` would, and return its name."""
    path = folder / "facts.json"
    path.write_text(json.dumps(collected.facts(metallb)))
    return str(path)


def owner_in(told: dict[str, Any], address: str) -> str:
    """Return the node that a report names for a MAC."""
    return next(str(owner["node"]) for owner in told["owners"] if owner["mac"] == address)


def compared(told: dict[str, Any], pcap: Path, ip: str, old: str) -> dict[str, Any]:
    """Assert that the one change agrees with the capture, to the frame, and return it."""
    (change,) = cast(list[dict[str, Any]], told["changes"])
    new = owner_in(told, change["to"])
    assert (change["kind"], owner_in(told, change["from"])) == ("moved", old)
    found = [frame for frame in capture.frames(pcap) if frame.time < told["run"]["ended"]]
    before, after = (capture.replies(found, ip, NUMBERS[name]) for name in (old, new))
    announced = capture.gratuitous(found, ip, NUMBERS[new])
    worst = max(
        same(change["old_last_reply"], before[-1]),
        same(change["new_first_reply"], after[0]),
        same(change["first_gratuitous"], announced[0]),
    )
    if ":" not in ip:
        worst = max(worst, same(change["first_tcp_answer"], capture.accepted(found, ip, NUMBERS[new])[0]))
    print(f"{told['title']}; differs from the capture by {worst * 1e6:.1f} us at most")
    assert change["silence_s"] == pytest.approx(max(0, after[0] - before[-1]), abs=ACCURACY)
    assert change["overlap_s"] == pytest.approx(max(0, before[-1] - after[0]), abs=ACCURACY)
    assert change["gratuitous_frames"] == len(announced)
    assert (change["gratuitous_pairs"], change["gratuitous_expected"], change["gratuitous_complete"]) == (5, 5, True)
    assert change["first_tcp_outcome"] == "open"
    assert told["verdict"] == "OK"
    return change


def _quiet(pcap: Path, ip: str, number: int) -> bool:
    """Return whether a node's five rounds are over: more than one period has passed since the last frame."""
    sent = capture.gratuitous(capture.frames(pcap), ip, number)
    return bool(sent) and time.time() - sent[-1] > 2


def test_connecting_through_a_node_corrects_no_neighbor_entry(stage: Stage, watched: MetalLB, tmp_path: Path) -> None:
    """A node whose kernel lacks the address would broadcast a request for the prober, from its own address."""
    ip = stage.free(145, 149, "k2", ("k1", "k2", "k3"))
    stage.announced(watched, ip, "k2")
    with capture.capturing(stage.network, "prober", tmp_path / "before.pcap", "arp"):
        # The speaker's own announcements correct entries, as intended; they have to be over first.
        wait(lambda: _quiet(tmp_path / "before.pcap", ip, NUMBERS["k2"]))
    # Only the prober's entry: otherwise the speakers resolve each other, and thereby announce themselves.
    stage.network.shell("k2", "ip neighbour flush to 192.0.2.1 dev eth1")
    stage.network.node("bystander", 89, "192.0.2.89/24")
    cache = {ip: mac(0xEE), f"192.0.2.{NUMBERS['k2']}": mac(0xED)}
    for address, lladdr in cache.items():
        entry = f"ip neighbour replace {address} lladdr {lladdr} dev eth1 nud stale"
        stage.network.shell("bystander", entry)
    time.sleep(1.1)  # the kernel locks an entry for a second (locktime)
    with watching(stage.network, ip, "--facts", facts(watched, tmp_path), "--timeout", "3") as process:
        told = ended(process, 0)
    assert told["tcp_outcomes"].get("open", 0) > 5
    assert {address: stage.network.neighbours("bystander").get(address) for address in cache} == cache


def test_a_speaker_that_leaves_the_memberlist(stage: Stage, watched: MetalLB, tmp_path: Path) -> None:
    """A deleted pod's speaker leaves the memberlist: the address moves at once, with hardly any outage."""
    ip = stage.free(145, 149, "k3", ("k1", "k2", "k3"))
    stage.announced(watched, ip, "k3")
    pcap = tmp_path / "wire.pcap"
    words = ("--until-stable", "--facts", facts(watched, tmp_path), "--timeout", "60")
    with capture.capturing(stage.network, "prober", pcap), watching(stage.network, ip, *words) as process:
        wait(lambda: len(capture.replies(capture.frames(pcap), ip, NUMBERS["k3"])) >= 15)
        stage.network.programs["speaker-k3"].terminate()
        told = ended(process, 0)
    change = compared(told, pcap, ip, "k3")
    assert change["silence_s"] < 4, "no detection was needed"


def test_a_node_that_loses_power(stage: Stage, watched: MetalLB, tmp_path: Path) -> None:
    """Its switch port goes down: memberlist notices, and the other speaker announces both families."""
    ips = [stage.free(145, 149, "k1", ("k1", "k2")), stage.free(300, 309, "k1", ("k1", "k2"), "2001:db8::")]
    for ip in ips:
        stage.announced(watched, ip, "k1")
    pcap = tmp_path / "wire.pcap"
    words = ("--until-stable", "--facts", facts(watched, tmp_path), "--timeout", "60")
    with ExitStack() as stack:
        stack.enter_context(capture.capturing(stage.network, "prober", pcap))
        watches = [stack.enter_context(watching(stage.network, ip, *words)) for ip in ips]
        for ip in ips:
            wait(lambda ip=ip: len(capture.replies(capture.frames(pcap), ip, NUMBERS["k1"])) >= 15)  # type: ignore[misc]
        stage.network.shell("bridge", f"ip link set p{NUMBERS['k1']} down")
        reports = [ended(process, 0) for process in watches]
    for ip, told in zip(ips, reports, strict=True):
        change = compared(told, pcap, ip, "k1")
        assert "moved from k1 to k2: silent for " in told["title"]
        assert 1 < change["silence_at_least_s"] < change["silence_s"] < 30
        assert change["tcp_outage_s"] > 1

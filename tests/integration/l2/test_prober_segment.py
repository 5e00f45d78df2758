"""Probes on a real segment: ARP, NDP, announcements, late and double answers, other VLANs."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.l2.conftest import Segment, mac
from tests.integration.l2.probing import background, kinds, outcomes, probe, wait_for_dad

pytestmark = pytest.mark.integration


def test_unicasts_follow_only_after_the_broadcasts_time_is_over(segment: Segment) -> None:
    """b loses broadcasts and answers unicasts only; c is asked too, but has no address."""
    segment.host("a", 11, "192.0.2.50/24")
    segment.host("b", 12, "192.0.2.51/24")
    segment.host("c", 13, "192.0.2.13/24")
    segment.run(
        "b", "nft", "add table netdev t; add chain netdev t in { type filter hook ingress device eth1 priority 0; }"
    )
    segment.run("b", "nft", "add rule netdev t in ether daddr ff:ff:ff:ff:ff:ff drop")
    nodes = [mac(11), mac(12), mac(13)]
    found = probe(segment, {"ip": "192.0.2.50", "to": nodes}, {"ip": "192.0.2.51", "to": nodes, "ports": [80]})
    assert kinds(found, "192.0.2.50") == {(mac(11), "Z"), (mac(11), "B"), (mac(11), "U")}
    assert kinds(found, "192.0.2.51") == {(mac(12), "U")}
    assert outcomes(found) == {(mac(12), 80): ("refused", mac(12))}
    asked = {one["kind"]: one["timestamp"] for one in found["answers"] if one["ip"] == "192.0.2.50"}
    assert asked["U"] - asked["B"] > 0.95
    assert all(0 < one["rtt"] < 0.5 for one in found["answers"])


def test_ndp(segment: Segment) -> None:
    """One owner, two owners, silence; the prober needs only its link-local address."""
    for number, name in ((11, "a"), (12, "b")):
        segment.host(name, number)
        segment.run(name, "ip", "address", "add", "fd00:2::52/64", "dev", "eth1", "nodad")
    segment.run("a", "ip", "address", "add", "fd00:2::50/64", "dev", "eth1", "nodad")
    wait_for_dad(segment, "a", "b", "prober")
    found = probe(
        segment,
        *({"ip": f"fd00:2::{last}", "to": [mac(11)], "ports": [80]} for last in (50, 51, 52)),
        {"ip": "192.0.2.1"},
    )
    assert kinds(found, "fd00:2::50") == {(mac(11), "B"), (mac(11), "U")}
    assert kinds(found, "fd00:2::51") == set()
    assert kinds(found, "fd00:2::52") == {(mac(11), "B"), (mac(12), "B"), (mac(11), "U")}
    assert found["asked"] == {f"fd00:2::{last}": ["B", "U"] for last in (50, 51, 52)}
    assert found["handshakes"] == []  # a link-local address reaches no service
    swept = probe(segment, others=[f"fd00:2::{last}" for last in range(50, 54)])
    assert kinds(swept, "fd00:2::52") == {(mac(11), "B"), (mac(12), "B")}
    assert {one["ip"] for one in swept["answers"]} == {"fd00:2::50", "fd00:2::52"}


def test_an_answer_to_a_solicitation_needs_the_source_link_layer_option(segment: Segment) -> None:
    """MetalLB's speaker ignores solicitations without it; checked with tcpdump."""
    segment.host("a", 11, "fd00:2::50/64")
    wait_for_dad(segment, "a", "prober")
    words = ["tcpdump", "--immediate-mode", "-nnvle", "-i", "eth1", "icmp6 and ip6[40] == 135"]
    with background(segment, "a", *words, ready="listening on") as capture:
        probe(segment, {"ip": "fd00:2::50", "to": [mac(11)]})
        capture.terminate()
        output, _ = capture.communicate(timeout=10)
    asked = [part for part in output.split("neighbor solicitation") if "fd00:2::50" in part.split("\n")[0]]
    ours = [part for part in asked if f"source link-address option (1), length 8 (1): {mac(1)}" in part]
    assert len(ours) >= 2
    assert len(ours) == len(asked)
    assert "33:33:ff:00:00:50" in output


def test_announcements_are_kept_apart_from_answers(segment: Segment, tmp_path: Path) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    found = []
    for number, ip in enumerate(("192.0.2.77", "fd00:2::77")):
        listening = tmp_path / f"listening{number}"
        announcing = (
            "import os, runpy, sys, time; import tests.integration.l2.announcer; print('ready', flush=True)\n"
            f"while not os.path.exists({str(listening)!r}): time.sleep(0.01)\n"
            f"sys.argv = ['', {ip!r}, {mac(11)!r}, '1']; tests.integration.l2.announcer.main()"
        )
        with (
            background(segment, "a", sys.executable, "-c", announcing, ready="ready"),
            ThreadPoolExecutor(1) as pool,
        ):
            asked = pool.submit(probe, segment, {"ip": ip, "echo": False})
            # Its packet socket, in a table with a line of headings, is what hears the announcement.
            while segment.run("prober", "cat", "/proc/net/packet").stdout.count("\n") < 2 and not asked.done():
                time.sleep(0.01)
            listening.touch()
            found.append(asked.result())
    four, six = found
    assert [(one["mac"], one["request"], one["broadcast_target"]) for one in four["announcements"]] == [
        (mac(11), True, True),
        (mac(11), False, True),
    ]
    assert [(one["ip"], one["mac"]) for one in six["announcements"]] == [("fd00:2::77", mac(11))]
    assert four["answers"] == six["answers"] == []


TWICE = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)); s.bind(("eth1", 0x0806))
print("ready", flush=True)
while True:
    f = s.recv(100)
    if f[20:22] == b"\\0\\1" and f[38:42] == bytes([192, 0, 2, 70]):
        own = bytes.fromhex("02000000000b")
        answer = f[6:12] + own + f[12:21] + b"\\2" + own + f[38:42] + f[22:32]
        s.send(answer); s.send(answer)
"""


def test_both_answers_of_one_mac_to_one_question_are_kept(segment: Segment) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    with background(segment, "a", sys.executable, "-c", TWICE, ready="ready"):
        found = probe(segment, {"ip": "192.0.2.70", "echo": False})
    assert [one["kind"] for one in found["answers"]] == ["Z", "Z", "B", "B"]
    assert {one["mac"] for one in found["answers"]} == {mac(11)}


SLOW = """
import socket, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)); s.bind(("eth1", 0x0806))
print("ready", flush=True)
due = []
while True:
    s.settimeout(0.01)
    try: f = s.recv(100)
    except TimeoutError: f = b""
    if f[20:22] == b"\\0\\1" and f[38:42] == bytes([192, 0, 2, 50]):
        own = bytes.fromhex("02000000000c")
        due.append((time.monotonic() + 0.9, f[6:12] + own + f[12:21] + b"\\2" + own + f[38:42] + f[22:32]))
    while due and due[0][0] <= time.monotonic(): s.send(due.pop(0)[1])
"""


def test_a_slow_second_owner_is_heard(segment: Segment) -> None:
    """It answers after 0.9 s, in a sweep too, and is never matched to a later question."""
    segment.host("a", 11, "192.0.2.50/24")
    segment.host("b", 12)
    with background(segment, "b", sys.executable, "-c", SLOW, ready="ready"):
        found = probe(segment, {"ip": "192.0.2.50", "to": [mac(12)], "echo": False})
        swept = probe(segment, others=["192.0.2.50"])
    assert kinds(found, "192.0.2.50") == {
        (mac(11), "Z"),
        (mac(11), "B"),
        (mac(12), "Z"),
        (mac(12), "B"),
        (mac(12), "U"),
    }
    assert all(0.85 < one["rtt"] < 1.05 for one in found["answers"] if one["mac"] == mac(12))
    assert {one["mac"] for one in swept["answers"]} == {mac(11), mac(12)}


TAGGED = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)); s.bind(("eth1", 0x0806))
print("ready", flush=True)
while True:
    f = s.recv(100)
    if f[20:22] == b"\\0\\1" and f[38:42] == bytes([192, 0, 2, 70]):
        own = bytes.fromhex("02000000000b")
        tag = b"\\x81\\0" + bytes([0, int(sys.argv[1])])
        s.send(f[6:12] + own + tag + f[12:21] + b"\\2" + own + f[38:42] + f[22:32])
"""


@pytest.mark.parametrize(("vlan", "heard"), [(5, False), (0, True)])
def test_answers_from_other_vlans_are_ignored(segment: Segment, vlan: int, heard: bool) -> None:
    """The kernel strips the tag before the frame is seen; VLAN 0 is priority tagging only (IEEE 802.1Q)."""
    segment.host("a", 11, "192.0.2.50/24")
    with background(segment, "a", sys.executable, "-c", TAGGED, str(vlan), ready="ready"):
        found = probe(segment, {"ip": "192.0.2.70", "echo": False})
    assert kinds(found, "192.0.2.70") == ({(mac(11), "Z"), (mac(11), "B")} if heard else set())


def test_the_vantage(segment: Segment) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    segment.run("prober", "ip", "neigh", "replace", "192.0.2.50", "lladdr", mac(0xEE), "dev", "eth1", "nud", "stale")
    segment.run("prober", "ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.50", "dev", "eth1")
    segment.run("prober", "ip", "link", "add", "other", "address", mac(0x77), "type", "veth", "peer", "name", "far")
    segment.run("prober", "ip", "address", "add", "203.0.113.1/24", "dev", "other")
    found = probe(segment, {"ip": "192.0.2.50"}, {"ip": "203.0.113.1"}, {"ip": "192.0.2.1"})
    assert found["neighbours"]["192.0.2.50"] == mac(0xEE)
    assert found["gateways"] == ["192.0.2.50"]
    assert {mac(1), mac(0x77)} <= set(found["own_macs"])
    assert {"192.0.2.1", "203.0.113.1"} <= set(found["own_addresses"])
    assert set(found["asked"]) == {"192.0.2.50"}

"""What a probe hears on a real segment: ARP, NDP, TCP through each owner, announcements, and what the kernel lost."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from .conftest import Segment, mac

pytestmark = pytest.mark.integration


def probe(segment: Segment, *asks: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Run a probe from the prober's namespace and return what it heard."""
    words = [sys.executable, "-m", "tests.integration.l2.probe_here", json.dumps({"asks": asks, **options})]
    ended = segment.run("prober", *words, check=False)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def kinds(found: dict[str, Any], ip: str) -> set[tuple[str, str]]:
    """Return who answered for an address, and in which way."""
    return {(one["mac"], one["kind"]) for one in found["answers"] if one["ip"] == ip}


def outcomes(found: dict[str, Any]) -> dict[tuple[str, int], tuple[str, str]]:
    """Return the outcome and the Ethernet source of its answer, by the MAC and port that was knocked at."""
    return {(one["mac"], one["port"]): (one["outcome"], one["answered_from"]) for one in found["handshakes"]}


@contextmanager
def background(segment: Segment, name: str, *command: str, ready: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a host's namespace for the length of a block, once it has said `ready`."""
    words = ["ip", "netns", "exec", f"{segment.prefix}{name}", *command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if ready in line:
                break
        else:
            pytest.fail(f"{' '.join(command)} ended with {process.wait()}")
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


LISTEN = """
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print("listening", flush=True)
while True: s.accept()
"""


def listening(segment: Segment, name: str, ip: str, port: int) -> Any:
    """Listen on a TCP port of a host."""
    return background(segment, name, sys.executable, "-uc", LISTEN, ip, str(port), ready="listening")


RULES = """
add table inet t
add chain inet t in {{ type filter hook input priority 0; }}
add rule inet t in tcp dport 82 {reject}
add rule inet t in tcp dport 83 drop
"""


def firewall(segment: Segment, name: str, reject: str) -> None:
    """Refuse port 82 with an ICMP error, and drop what comes for port 83."""
    rules = RULES.format(reject=reject)
    words = ["ip", "netns", "exec", f"{segment.prefix}{name}", "nft", "-f", "-"]
    subprocess.run(words, input=rules, text=True, check=True)


def half_open(segment: Segment, name: str) -> str:
    """Return the TCP connections of a host that are neither listening nor gone."""
    return segment.run(name, "ss", "-Htan", "state", "all", "exclude", "listening").stdout


@pytest.mark.parametrize(
    ("ip", "reject"),
    [
        ("192.0.2.50", "reject with icmp type port-unreachable"),
        ("fd00:2::50", "reject with icmpv6 type admin-prohibited"),
    ],
)
def test_tcp_open_refused_unreachable_and_silent(segment: Segment, ip: str, reject: str) -> None:
    prefix = 64 if ":" in ip else 24
    segment.host("a", 11, f"{ip}/{prefix}")
    if prefix == 64:
        segment.run("prober", "ip", "address", "add", "fd00:2::1/64", "dev", "eth1", "nodad")
        settled(segment, "a", "prober")
    firewall(segment, "a", reject)
    with listening(segment, "a", ip, 80):
        found = probe(segment, {"ip": ip, "ports": [80, 81, 82, 83]})
        # Half-open connections are gone on both sides, and nothing was ever accepted.
        assert half_open(segment, "a") == half_open(segment, "prober") == ""
    assert outcomes(found) == {
        (mac(11), 80): ("open", mac(11)),
        (mac(11), 81): ("refused", mac(11)),
        (mac(11), 82): ("unreachable", mac(11)),
        (mac(11), 83): ("silent", ""),
    }
    times = {one["port"]: one["rtt"] for one in found["handshakes"]}
    assert all(0 < times[port] < 0.5 for port in (80, 81, 82))
    assert times[83] is None
    assert found["echo"] == {ip: True}


def test_tcp_is_tried_through_each_owner_and_an_echo_is_no_criterion(segment: Segment) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    segment.host("b", 12, "192.0.2.50/24")
    for name in "ab":
        segment.run(name, "sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
    with listening(segment, "b", "192.0.2.50", 80):
        found = probe(segment, {"ip": "192.0.2.50", "ports": [80]})
    assert outcomes(found) == {(mac(11), 80): ("refused", mac(11)), (mac(12), 80): ("open", mac(12))}
    assert found["echo"] == {"192.0.2.50": False}


def test_a_connection_is_reset_even_where_a_firewall_hides_the_answer_from_our_kernel(segment: Segment) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    segment.run("prober", "nft", "add table inet t; add chain inet t in { type filter hook input priority 0; }")
    segment.run("prober", "nft", "add rule inet t in tcp flags syn,ack drop")
    with listening(segment, "a", "192.0.2.50", 80):
        found = probe(segment, {"ip": "192.0.2.50", "ports": [80]})
        assert outcomes(found) == {(mac(11), 80): ("open", mac(11))}
        assert half_open(segment, "a") == ""


def test_each_mac_is_asked_directly_only_when_the_others_time_is_over(segment: Segment) -> None:
    """Broadcasts to b are lost: it answers to its own MAC alone. c is asked too, and has nothing."""
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


def settled(segment: Segment, *names: str) -> None:
    """Wait until no address is tentative any more (IPv6 duplicate address detection)."""
    deadline = time.monotonic() + 20
    for name in names:
        while segment.run(name, "ip", "-6", "address", "show", "dev", "eth1", "tentative").stdout:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_ndp(segment: Segment) -> None:
    """Owners of an IPv6 address, two of one, silence; no address of our own but the link-local is needed."""
    for number, name in ((11, "a"), (12, "b")):
        segment.host(name, number)
        segment.run(name, "ip", "address", "add", "fd00:2::52/64", "dev", "eth1", "nodad")
    segment.run("a", "ip", "address", "add", "fd00:2::50/64", "dev", "eth1", "nodad")
    settled(segment, "a", "b", "prober")
    found = probe(
        segment,
        *({"ip": f"fd00:2::{last}", "to": [mac(11)], "ports": [80]} for last in (50, 51, 52)),
        {"ip": "192.0.2.1"},
    )
    assert kinds(found, "fd00:2::50") == {(mac(11), "B"), (mac(11), "U")}
    assert kinds(found, "fd00:2::51") == set()
    assert kinds(found, "fd00:2::52") == {(mac(11), "B"), (mac(12), "B"), (mac(11), "U")}
    assert found["asked"] == {f"fd00:2::{last}": ["B", "U"] for last in (50, 51, 52)}
    assert found["handshakes"] == []  # from a link-local address no service can be reached
    swept = probe(segment, others=[f"fd00:2::{last}" for last in range(50, 54)])
    assert kinds(swept, "fd00:2::52") == {(mac(11), "B"), (mac(12), "B")}
    assert {one["ip"] for one in swept["answers"]} == {"fd00:2::50", "fd00:2::52"}


def test_an_answer_to_a_solicitation_needs_the_source_link_layer_option(segment: Segment) -> None:
    """MetalLB's speaker answers no solicitation without it; seen here on the wire."""
    segment.host("a", 11, "fd00:2::50/64")
    settled(segment, "a", "prober")
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


def test_announcements_are_kept_and_taken_for_no_answer(segment: Segment) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    found = []
    for ip in ("192.0.2.77", "fd00:2::77"):
        announcing = f"import runpy, sys, time; print('ready', flush=True); time.sleep(0.7); sys.argv = ['', {ip!r}, "
        announcing += f"{mac(11)!r}, '1']; runpy.run_module('tests.integration.l2.announcer', run_name='__main__')"
        with background(segment, "a", sys.executable, "-c", announcing, ready="ready"):
            found.append(probe(segment, {"ip": ip, "echo": False}))
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


def test_two_answers_of_one_mac_to_one_question_are_both_kept(segment: Segment) -> None:
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


def test_a_second_owner_that_takes_its_time_is_heard(segment: Segment) -> None:
    """It answers after 0.9 s: in a sweep too, and never taken for an answer to a later question."""
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
def test_another_vlans_answers_are_not_this_segments(segment: Segment, vlan: int, heard: bool) -> None:
    """The kernel takes the tag off before the frame is seen; VLAN 0 is a priority and no VLAN (IEEE 802.1Q)."""
    segment.host("a", 11, "192.0.2.50/24")
    with background(segment, "a", sys.executable, "-c", TAGGED, str(vlan), ready="ready"):
        found = probe(segment, {"ip": "192.0.2.70", "echo": False})
    assert kinds(found, "192.0.2.70") == ({(mac(11), "Z"), (mac(11), "B")} if heard else set())


def test_where_it_was_asked_from(segment: Segment) -> None:
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


def test_timestamps_agree_with_a_capture(segment: Segment, tmp_path: Path) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    words = ["tcpdump", "--immediate-mode", "-nnltt", "-i", "eth1", "arp"]
    with background(segment, "prober", *words, ready="listening on") as capture:
        found = probe(
            segment, {"ip": "192.0.2.50", "echo": False}, others=[f"192.0.2.{last}" for last in range(60, 90)]
        )
        capture.terminate()
        output, _ = capture.communicate(timeout=10)
    seen = [float(line.split()[0]) for line in output.splitlines() if "Reply 192.0.2.50 is-at" in line]
    heard = [one["timestamp"] for one in found["answers"]]
    assert len(heard) == len(seen) == 2
    assert max(abs(one - other) for one, other in zip(heard, seen, strict=True)) < 0.001
    asked = [float(line.split()[0]) for line in output.splitlines() if "Request who-has 192.0.2.50 " in line]
    rtts = [one["rtt"] for one in found["answers"]]
    assert max(abs(reply - rtt - sent) for reply, rtt, sent in zip(heard, rtts, asked, strict=True)) < 0.02


@pytest.mark.parametrize("pps", [100, 200, 500])
def test_the_rate_on_the_wire_is_what_was_asked_for(segment: Segment, pps: int) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    words = ["tcpdump", "-nntt", "-c", "399", "-i", "eth1", "arp and src host 192.0.2.1"]
    with background(segment, "prober", *words, ready="listening on") as capture:
        probe(segment, others=[f"192.0.2.{last}" for last in range(50, 250)], pps=pps, zero=False)
        output, _ = capture.communicate(timeout=10)
    times = [float(line.split()[0]) for line in output.splitlines() if re.search(r"Request who-has \S+ tell", line)]
    assert len(times) == 399  # 200 as a client, and again all but the one that answered; tcpdump ends by itself
    rate = (len(times) - 1) / (times[-1] - times[0])
    # At the highest rate there is no catching up after the machine was busy elsewhere.
    assert pps * (0.9 if pps < 500 else 0.5) < rate < pps * 1.01
    assert all(later - earlier > 0.0015 for earlier, later in pairwise(times))


FLOOD = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth1", 0x0806))
reply = bytes.fromhex("020000000001" "02000000000b" "0806" "0001080006040002" "02000000000b" "c0000232"
                      "020000000001" "c0000201")
for _ in range(40000): s.send(reply)
"""
DEAF = """
import json, subprocess, sys
from ipaddress import IPv4Address
from provisioner.l2 import interfaces, questions
from provisioner.l2.prober import Prober
here = interfaces.choose(interfaces.read(), [], "eth1")
with Prober(here) as prober:
    prober.send([questions.client(here, IPv4Address("192.0.2.50"))])
    print("asked", flush=True)
    sys.stdin.readline()
    prober.listen(0.2)
    print(json.dumps([prober.received, prober.dropped]))
"""


def test_frames_that_the_kernel_had_no_room_for_are_counted(segment: Segment) -> None:
    """More answers than there is room for come while nobody reads them: it is said that some are missing."""
    segment.host("a", 11, "192.0.2.60/24")
    words = ["ip", "netns", "exec", f"{segment.prefix}prober", sys.executable, "-c", DEAF]
    deaf = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert deaf.stdout is not None
    assert deaf.stdout.readline() == "asked\n"
    segment.run("a", sys.executable, "-c", FLOOD)
    output, _ = deaf.communicate("go\n", timeout=60)
    received, dropped = json.loads(output)
    assert received > 1000
    assert dropped > 1000
    assert 39000 < received + dropped <= 40000


def test_an_interface_that_goes_away_meanwhile(segment: Segment) -> None:
    words = [sys.executable, "-m", "tests.integration.l2.probe_here"]
    wanted = {"asks": [], "others": [f"192.0.2.{last}" for last in range(10, 250)], "pps": 100}
    running = subprocess.Popen(
        ["ip", "netns", "exec", f"{segment.prefix}prober", *words, json.dumps(wanted)],
        stdout=subprocess.PIPE,
        text=True,
    )
    segment.host("a", 11)
    watch = ["tcpdump", "-nlc", "20", "-i", "eth1", "arp"]
    segment.run("a", *watch)  # it has begun
    segment.run("bridge", "ip", "link", "delete", "p1")
    output, _ = running.communicate(timeout=30)
    assert re.match(r"(eth1 went down|there is no interface eth1|cannot use eth1)", json.loads(output)["error"])


# Hostile in what it says, not in how much: a flood that the kernel has no room for is the test above.
HOSTILE = """
import os, random, socket, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth1", 0))
us, own, nobody = (bytes.fromhex(text) for text in ("020000000001", "02000000003c", "000000000000"))
arp = bytes.fromhex("0806" "0001080006040002")
four = bytes.fromhex("0800" "45000028000000004006") + bytes(2) + bytes([192, 0, 2, 50, 192, 0, 2, 1])
six = bytes.fromhex("86dd" "60000000002006ff") + bytes(32)
na = bytes.fromhex("86dd" "6000000000203aff") + bytes(32) + b"\\x88\\0"
pair = bytes([192, 0, 2, 51])
print("ready", flush=True)
while True:
    for body in (
        arp + us + pair + us + bytes([192, 0, 2, 1]),  # our own MAC has it, it says
        arp + nobody + pair + us + bytes([192, 0, 2, 1]),
        arp + b"\\xff" * 6 + pair + us + bytes([192, 0, 2, 1]),
        arp[:6] + b"\\x10\\x04" + arp[8:] + own + pair + us,  # a wrong length of addresses
        arp + own + pair,  # cut off
        b"\\x81\\0\\0\\x05" + arp + own + pair + us + bytes([192, 0, 2, 1]),
        arp + os.urandom(random.randrange(60)), four + os.urandom(random.randrange(60)),
        six + os.urandom(random.randrange(60)), na + os.urandom(random.randrange(60)),
        four[:11] + b"\\x01" + four[12:] + b"\\3" + os.urandom(random.randrange(60)),
        # A forged answer to a SYN: the right ports are guessed at, the sequence cannot be.
        four + b"\\0\\x50" + random.randrange(61000, 65536).to_bytes(2, "big") + bytes(8) + b"\\x50\\x12" + bytes(6),
    ):
        s.send(us + (us if random.random() < 0.1 else own) + body)
    time.sleep(0.005)
"""


def test_hostile_frames_neither_stop_nor_deceive_a_probe(segment: Segment) -> None:
    segment.host("a", 11, "192.0.2.50/24", "fd00:2::50/64")
    segment.host("hostile", 60)
    settled(segment, "a", "prober")
    words = [sys.executable, "-c", HOSTILE]
    with background(segment, "hostile", *words, ready="ready"):
        found = probe(
            segment,
            {"ip": "192.0.2.50", "ports": [80], "to": [mac(11)]},
            {"ip": "192.0.2.51", "ports": [80]},
            {"ip": "fd00:2::50"},
        )
    assert found["dropped"] == 0
    assert kinds(found, "192.0.2.50") == {(mac(11), "Z"), (mac(11), "B"), (mac(11), "U")}
    assert kinds(found, "192.0.2.51") == set()
    assert kinds(found, "fd00:2::50") == {(mac(11), "B")}
    assert outcomes(found) == {(mac(11), 80): ("refused", mac(11))}

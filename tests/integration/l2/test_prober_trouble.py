"""A probe in trouble: frames dropped by the kernel, a lost interface, hostile neighbors."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.integration.l2.conftest import Segment, mac
from tests.integration.l2.probing import background, kinds, outcomes, probe, wait_for_dad

pytestmark = pytest.mark.integration

FLOOD = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth1", 0x0806))
reply = bytes.fromhex("020000000001" "02000000000b" "0806" "0001080006040002" "02000000000b" "c0000232"
                      "020000000001" "c0000201")
for _ in range(40000): s.send(reply)
"""
UNREAD = """
import json, subprocess, sys
from ipaddress import IPv4Address
from provisioner.l2.probe import interfaces, questions
from provisioner.l2.probe.prober import Prober
here = interfaces.choose(interfaces.read(), [], "eth1")
with Prober(here) as prober:
    prober.send([questions.request(here, IPv4Address("192.0.2.50"))])
    print("asked", flush=True)
    sys.stdin.readline()
    prober.listen(0.2)
    print(json.dumps([prober.received, prober.dropped]))
"""


def test_frames_dropped_by_the_kernel_are_counted(segment: Segment) -> None:
    """More answers arrive than the buffer holds while nobody reads."""
    segment.host("a", 11, "192.0.2.60/24")
    words = ["ip", "netns", "exec", f"{segment.prefix}prober", sys.executable, "-c", UNREAD]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    segment.run("a", sys.executable, "-c", FLOOD)
    output, _ = process.communicate("go\n", timeout=60)
    received, dropped = json.loads(output)
    assert received > 1000
    assert dropped > 1000
    assert 39000 < received + dropped <= 40000


def test_an_interface_lost_during_a_probe(segment: Segment) -> None:
    words = [sys.executable, "-m", "tests.integration.l2.probe_here"]
    wanted = {"asks": [], "others": [f"192.0.2.{last}" for last in range(10, 250)], "pps": 100}
    running = subprocess.Popen(
        ["ip", "netns", "exec", f"{segment.prefix}prober", *words, json.dumps(wanted)],
        stdout=subprocess.PIPE,
        text=True,
    )
    segment.host("a", 11)
    watch = ["tcpdump", "-nlc", "20", "-i", "eth1", "arp"]
    segment.run("a", *watch)  # the probe has started
    segment.run("bridge", "ip", "link", "delete", "p1")
    output, _ = running.communicate(timeout=30)
    assert re.match(r"(eth1 went down|no interface eth1 on this machine|cannot use eth1)", json.loads(output)["error"])


# Hostile by content, not by volume: floods are tested above.
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
        arp + us + pair + us + bytes([192, 0, 2, 1]),  # claims the prober's own MAC
        arp + nobody + pair + us + bytes([192, 0, 2, 1]),
        arp + b"\\xff" * 6 + pair + us + bytes([192, 0, 2, 1]),
        arp[:6] + b"\\x10\\x04" + arp[8:] + own + pair + us,  # wrong address lengths
        arp + own + pair,  # truncated
        b"\\x81\\0\\0\\x05" + arp + own + pair + us + bytes([192, 0, 2, 1]),
        arp + os.urandom(random.randrange(60)), four + os.urandom(random.randrange(60)),
        six + os.urandom(random.randrange(60)), na + os.urandom(random.randrange(60)),
        four[:11] + b"\\x01" + four[12:] + b"\\3" + os.urandom(random.randrange(60)),
        # A forged answer to a SYN: ports can be guessed, the sequence cannot.
        four + b"\\0\\x50" + random.randrange(61000, 65536).to_bytes(2, "big") + bytes(8) + b"\\x50\\x12" + bytes(6),
    ):
        s.send(us + (us if random.random() < 0.1 else own) + body)
    time.sleep(0.005)
"""


def test_hostile_frames_neither_stop_nor_deceive_a_probe(segment: Segment) -> None:
    segment.host("a", 11, "192.0.2.50/24", "fd00:2::50/64")
    segment.host("hostile", 60)
    wait_for_dad(segment, "a", "prober")
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

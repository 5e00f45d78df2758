"""`l2 scan` on a real segment: owners found, bystanders undisturbed, errors that are inconclusive."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import hosts_toml
from tests.integration.l2.conftest import Segment, mac, macs

pytestmark = pytest.mark.integration

SITE = hosts_toml.hosts("master", "worker1") + hosts_toml.pool("lab", "192.0.2.200-192.0.2.203")


def test_owners_by_node_duplicates_and_silence(segment: Segment, tmp_path: Path) -> None:
    segment.host("master", 10, "192.0.2.10/24", "192.0.2.200/32")
    segment.host("worker1", 11, "192.0.2.11/24", "192.0.2.201/32", "192.0.2.202/32")
    segment.host("stranger", 99, "192.0.2.202/32")
    (tmp_path / "hosts.toml").write_text(SITE)
    ended = segment.cli("-f", str(tmp_path / "hosts.toml"), "-o", "json", "l2", "scan", "--offline")
    assert ended.returncode == 1, ended.stderr  # two owners of one address
    report = json.loads(ended.stdout)
    found = {result["ip"]: result["owners"] for result in report["results"]}
    assert list(found) == [f"192.0.2.{last}" for last in range(200, 204)]
    (first,) = found["192.0.2.200"]
    assert (first["mac"], first["node"], first["matched_by"]) == (mac(10), "master", "arp")
    assert set(first["answered"]) == {"Z", "B"}
    assert all(0 < rtt < 1_000_000 for rtt in first["rtt_us"])
    assert {(owner["mac"], owner["node"]) for owner in found["192.0.2.202"]} == {
        (mac(11), "worker1"),
        (mac(99), ""),
    }
    assert found["192.0.2.203"] == []
    assert {result["pool"] for result in report["results"]} == {"lab"}
    assert report["run"]["interface"] == "eth1"


def test_the_table_names_owners_and_counts_the_silent(segment: Segment) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    segment.host("b", 12, "192.0.2.50/24")
    ended = segment.cli("l2", "scan", "192.0.2.1", "192.0.2.50-192.0.2.52")
    assert ended.returncode == 1, ended.stderr  # two owners of one address
    lines = [line.split() for line in ended.stdout.splitlines()]
    assert lines[0] == ["ADDRESS", "STATE", "OWNER", "MAC", "ANSWERED"]
    assert lines[1] == ["192.0.2.1", "this", "machine", "-"]
    assert sorted([line[0], line[-3], *sorted(line[-2:])] for line in lines[2:4]) == [
        ["192.0.2.50", mac(number), "B", "Z"] for number in (11, 12)
    ]
    *_, silent, faults, following = ended.stdout.splitlines()
    assert silent == "2 of 4 addresses silent."
    assert faults == "Faults: duplicate owners (1)."
    assert re.fullmatch(r"next: \S+ -m provisioner l2 check 192\.0\.2\.50", following)


def test_every_owner_and_every_duplicate_of_a_large_sweep(segment: Segment) -> None:
    addresses = [f"192.0.2.{last}" for last in range(20, 120)]
    segment.host("many", 20, *(f"{address}/24" for address in addresses))
    segment.host("twins", 21, *(f"{address}/24" for address in addresses[::10]))
    for _ in range(3):
        began = time.monotonic()
        found = segment.scan("192.0.2.20-192.0.2.119", "--pps", "500")
        assert time.monotonic() - began > 1 + 200 / 500 * 0.9
        for number, address in enumerate(addresses):
            assert macs(found[address]) == ({mac(20), mac(21)} if number % 10 == 0 else {mac(20)})


def test_proxy_arp_answers_requests_but_not_probes(segment: Segment) -> None:
    segment.host("router", 30, "192.0.2.30/24")
    segment.run("router", "ip", "link", "add", "behind0", "type", "veth", "peer", "name", "behind1")
    for name in ("behind0", "behind1"):
        segment.run("router", "ip", "link", "set", name, "up")
    segment.run("router", "ip", "route", "add", "192.0.2.77/32", "dev", "behind0")
    segment.run("router", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.eth1.proxy_arp=1")
    (owner,) = segment.scan("192.0.2.77")["192.0.2.77"]
    assert owner["mac"] == mac(30)
    assert owner["answered"] == ["B"]


def test_no_zero_sends_requests_only(segment: Segment) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    (owner,) = segment.scan("192.0.2.50", "--no-zero")["192.0.2.50"]
    assert owner["answered"] == ["B"]


CACHE = {"192.0.2.1": mac(1), "192.0.2.50": mac(0xEE), "192.0.2.51": mac(0xEF)}


def fill_cache(segment: Segment, name: str) -> None:
    """Fill a host's cache: a correct entry, a wrong one, and one for an address without an owner."""
    for address, lladdr in CACHE.items():
        entry = ["ip", "neigh", "replace", address, "lladdr", lladdr, "dev", "eth1", "nud", "stale"]
        segment.run(name, *entry)


def test_a_bystander_keeps_its_neighbor_cache(segment: Segment) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    segment.host("bystander", 40, "192.0.2.40/24")
    fill_cache(segment, "bystander")
    time.sleep(1.1)  # the kernel locks an entry for a second (locktime)
    found = segment.scan("192.0.2.50-192.0.2.52")
    assert macs(found["192.0.2.50"]) == {mac(11)}
    assert segment.neighbours("bystander") == CACHE

    # The same comparison notices a request whose sender is its target.
    gratuitous = (
        "from scapy.all import ARP, Ether, sendp; "
        f"sendp(Ether(src='{mac(1)}', dst='ff:ff:ff:ff:ff:ff')/ARP(op=1, hwsrc='{mac(1)}', psrc='192.0.2.51',"
        " pdst='192.0.2.51'), iface='eth1', verbose=0)"
    )
    segment.run("prober", sys.executable, "-c", gratuitous)
    deadline = time.monotonic() + 5
    while segment.neighbours("bystander") == CACHE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert segment.neighbours("bystander") == {**CACHE, "192.0.2.51": mac(1)}


def test_no_request_has_its_target_as_sender(segment: Segment) -> None:
    """Checked with tcpdump on another host."""
    segment.host("bystander", 40, "192.0.2.40/24")
    capture = subprocess.Popen(
        ["ip", "netns", "exec", f"{segment.prefix}bystander", "tcpdump", "-nnle", "-i", "eth1", "arp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert capture.stderr is not None
    for line in capture.stderr:
        if line.startswith("listening on"):
            break
    segment.scan("192.0.2.1-192.0.2.9")
    capture.terminate()
    output, _ = capture.communicate(timeout=10)
    asked = re.findall(r"Request who-has (\S+) tell (\S+),", output)
    assert {target for target, _ in asked} == {f"192.0.2.{last}" for last in range(2, 10)}
    assert {sender for _, sender in asked} == {"0.0.0.0", "192.0.2.1"}
    assert all(target != sender for target, sender in asked)
    assert len(asked) == 16


def test_garbage_frames_neither_stop_nor_deceive_a_scan(segment: Segment) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    segment.host("noise", 60, "192.0.2.60/24")
    flood = (
        "import os, random, socket, time\n"
        "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth1', 0x0806))\n"
        f"head = bytes.fromhex('{mac(1)}{mac(60)}'.replace(':', '')) + b'\\x08\\x06'\n"
        "end = time.monotonic() + 4\n"
        "while time.monotonic() < end:\n"
        "    s.send(head + os.urandom(random.randrange(0, 90)))\n"
        "    s.send(head + bytes.fromhex('0001080006040002') + os.urandom(20))\n"
        "    time.sleep(0.002)\n"
    )
    noise = subprocess.Popen(
        ["ip", "netns", "exec", f"{segment.prefix}noise", sys.executable, "-c", flood], stderr=subprocess.PIPE
    )
    found = segment.scan("192.0.2.50-192.0.2.51")
    assert macs(found["192.0.2.50"]) == {mac(11)}
    assert found["192.0.2.51"] == []
    _, errors = noise.communicate(timeout=30)
    assert noise.returncode == 0, errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("192.0.2.50", "--interface", "eth7"), "no interface eth7 on this machine; choose one of: eth1"),
        (("192.0.2.50", "--interface", "lo"), "lo does not use ARP"),
        (("198.51.100.7",), "this machine is not on the segment of 198.51.100.7 (its segments: 192.0.2.0/24"),
    ],
)
def test_addresses_out_of_reach_are_inconclusive(segment: Segment, arguments: tuple[str, ...], message: str) -> None:
    ended = segment.cli("l2", "scan", *arguments)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_an_interface_that_is_down(segment: Segment) -> None:
    segment.run("prober", "ip", "link", "set", "eth1", "down")
    ended = segment.cli("l2", "scan", "192.0.2.50", "--interface", "eth1")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "eth1 is down" in ended.stderr


def test_a_scan_from_a_node_is_inconclusive(segment: Segment, tmp_path: Path) -> None:
    segment.host("worker1", 11, "192.0.2.11/24")
    (tmp_path / "hosts.toml").write_text(SITE)
    ended = segment.cli("-f", str(tmp_path / "hosts.toml"), "l2", "scan", "--offline", name="worker1")
    assert ended.returncode == 2
    assert "This machine's address 192.0.2.11 is worker1's" in ended.stderr


def test_without_cap_net_raw_the_printed_command_works(segment: Segment) -> None:
    """The error names a command; run as printed (without sudo: this is root), it works."""
    segment.host("a", 11, "192.0.2.50/24")
    command = [sys.executable, "-m", "provisioner", "l2", "scan", "192.0.2.50"]
    unprivileged = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    refused = segment.run("prober", *unprivileged, *command, check=False)
    assert refused.returncode == 2, refused.stderr
    assert refused.stdout == ""
    printed = re.search(r"run: (sudo -E setpriv --reuid=65534 .*)$", refused.stderr, re.MULTILINE)
    assert printed is not None, refused.stderr
    given = printed[1].split()
    options = [word for word in given[2:] if word.startswith("--") and word != "--init-groups"]
    granted = segment.run("prober", "setpriv", *options, "--clear-groups", *command, check=False)
    assert granted.returncode == 0, granted.stderr
    assert mac(11) in granted.stdout

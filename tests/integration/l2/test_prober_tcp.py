"""TCP through each owner of an address: outcomes, and no connection left behind."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.integration.l2.conftest import Segment, mac
from tests.integration.l2.probing import background, outcomes, probe, wait_for_dad

pytestmark = pytest.mark.integration

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
    """Reject port 82 with an ICMP error and drop port 83."""
    rules = RULES.format(reject=reject)
    words = ["ip", "netns", "exec", f"{segment.prefix}{name}", "nft", "-f", "-"]
    subprocess.run(words, input=rules, text=True, check=True)


def half_open(segment: Segment, name: str) -> str:
    """Return a host's TCP connections, listening sockets excluded."""
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
        wait_for_dad(segment, "a", "prober")
    firewall(segment, "a", reject)
    with listening(segment, "a", ip, 80):
        found = probe(segment, {"ip": ip, "ports": [80, 81, 82, 83]})
        # No half-open connection is left on either side, and none was accepted.
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


def test_tcp_is_tried_through_each_owner_even_without_an_echo(segment: Segment) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    segment.host("b", 12, "192.0.2.50/24")
    for name in "ab":
        segment.run(name, "sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
    with listening(segment, "b", "192.0.2.50", 80):
        found = probe(segment, {"ip": "192.0.2.50", "ports": [80]})
    assert outcomes(found) == {(mac(11), 80): ("refused", mac(11)), (mac(12), 80): ("open", mac(12))}
    assert found["echo"] == {"192.0.2.50": False}


def test_a_connection_is_reset_even_if_a_firewall_hides_the_answer_from_the_kernel(segment: Segment) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    segment.run("prober", "nft", "add table inet t; add chain inet t in { type filter hook input priority 0; }")
    segment.run("prober", "nft", "add rule inet t in tcp flags syn,ack drop")
    with listening(segment, "a", "192.0.2.50", 80):
        found = probe(segment, {"ip": "192.0.2.50", "ports": [80]})
        assert outcomes(found) == {(mac(11), 80): ("open", mac(11))}
        assert half_open(segment, "a") == ""


def test_connections_fill_no_neighbor_table(segment: Segment) -> None:
    """The kernel's own resets would: an entry and a broadcast for each address, in a table of 1024 by default."""
    ips = [f"192.0.2.{number}" for number in range(50, 60)]
    segment.host("a", 11, "192.0.2.11/24", *(f"{ip}/32" for ip in ips))
    with listening(segment, "a", "0.0.0.0", 80):
        found = probe(segment, *({"ip": ip, "ports": [80, 81]} for ip in ips))
        assert {one["ip"] for one in found["handshakes"] if one["outcome"] == "open"} == set(ips)
        assert half_open(segment, "a") == half_open(segment, "prober") == ""
    # One entry at most: of the address from which the host asks for the prober.
    assert segment.run("prober", "ip", "neighbour", "show").stdout.count("192.0.2.") <= 1

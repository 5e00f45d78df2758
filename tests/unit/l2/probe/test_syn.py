"""A SYN through an owner, and its answers: forged, foreign and broken frames do not count."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, IPerror
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, IPerror6, IPv6
from scapy.layers.l2 import Ether

from provisioner.l2.probe import syn
from provisioner.l2.probe.packets import Address
from provisioner.l2.probe.syn import EchoReply, SynResponse

ME, THEM, ROUTER = "02:00:00:00:00:01", "02:00:00:00:00:0b", "02:00:00:00:00:fe"
FOUR, SIX = ip_address("192.0.2.200"), ip_address("fd00:2::200")
OWN = {4: ip_address("192.0.2.1"), 6: ip_address("fd00:2::1")}


def built(ip: Address, sequence: int = 7) -> syn.Syn:
    return syn.syn(ip, 80, THEM, (ME, OWN[ip.version]), local_port=61234, sequence=sequence)


def read(frame: bytes) -> Any:
    """Parse a frame with Scapy."""
    return Ether(frame)


def network(ip: Address, source: str = THEM) -> Any:
    """Return the headers of a frame from an owner to this machine."""
    kind = IP if ip.version == 4 else IPv6
    return Ether(src=source, dst=ME) / kind(src=str(ip), dst=str(OWN[ip.version]))


@pytest.mark.parametrize("ip", [FOUR, SIX])
def test_a_syn_and_its_reset(ip: Address) -> None:
    made = built(ip)
    first, last = read(made.frame), read(made.reset)
    assert (first.dst, first.src) == (last.dst, last.src) == (THEM, ME)
    assert (first[1].src, first[1].dst) == (str(OWN[ip.version]), str(ip))
    assert (first[TCP].sport, first[TCP].dport, first[TCP].seq, str(first[TCP].flags)) == (61234, 80, 7, "S")
    assert (last[TCP].sport, last[TCP].dport, last[TCP].seq, str(last[TCP].flags)) == (61234, 80, 8, "R")
    given_sum = first[TCP].chksum
    del first[TCP].chksum
    assert Ether(bytes(first))[TCP].chksum == given_sum != 0


def test_the_sequence_wraps() -> None:
    assert Ether(built(FOUR, 2**32 - 1).reset)[TCP].seq == 0


@pytest.mark.parametrize("ip", [FOUR, SIX])
@pytest.mark.parametrize(
    ("flags", "outcome"), [("SA", "open"), ("RA", "refused"), ("R", None), ("A", None), ("S", None), ("FA", None)]
)
def test_the_outcome_of_a_segment(ip: Address, flags: str, outcome: str | None) -> None:
    frame = bytes(network(ip) / TCP(sport=80, dport=61234, seq=99, ack=8, flags=flags))
    found = syn.parse(frame)
    if outcome is None:
        assert found is None
    else:
        assert found == SynResponse(ip, 80, 61234, outcome, 8, THEM)  # type: ignore[arg-type]


def test_ip_options_are_skipped_and_later_fragments_ignored() -> None:
    head = Ether(src=THEM, dst=ME) / IP(src=str(FOUR), dst=str(OWN[4]), options=[b"\x01"] * 4)
    frame = bytes(head / TCP(sport=80, dport=61234, ack=8, flags="SA"))
    assert frame[14] == 0x46
    assert syn.parse(frame) == SynResponse(FOUR, 80, 61234, "open", 8, THEM)
    assert syn.parse(frame[:20] + b"\x00\x01" + frame[22:]) is None


@pytest.mark.parametrize("ip", [FOUR, SIX])
def test_a_routers_error_is_matched_to_its_syn(ip: Address) -> None:
    made = read(built(ip).frame)
    if ip.version == 4:
        error: Any = ICMP(type=3, code=13) / IPerror(bytes(made[IP])[:28])
        head = Ether(src=ROUTER, dst=ME) / IP(src="192.0.2.254", dst=str(OWN[4]))
    else:
        error = ICMPv6DestUnreach(code=1) / IPerror6(bytes(made[IPv6]))
        head = Ether(src=ROUTER, dst=ME) / IPv6(src="fd00:2::fe", dst=str(OWN[6]))
    frame = bytes(head / error)
    assert syn.parse(frame) == SynResponse(ip, 80, 61234, "unreachable", None, ROUTER)
    for length in range(len(frame)):
        found = syn.parse(frame[:length])
        assert found in (None, SynResponse(ip, 80, 61234, "unreachable", None, ROUTER))


@pytest.mark.parametrize("ip", [FOUR, SIX])
def test_echo(ip: Address) -> None:
    made = read(syn.echo(ip, THEM, (ME, OWN[ip.version]), 4711).frame)
    assert (made.dst, made[1].dst) == (THEM, str(ip))
    asked = made[ICMP] if ip.version == 4 else made[ICMPv6EchoRequest]
    assert asked.id == 4711
    answer = ICMP(type=0, id=4711, seq=1) if ip.version == 4 else ICMPv6EchoReply(id=4711, seq=1)
    assert syn.parse(bytes(network(ip) / answer)) == EchoReply(ip, 4711)
    assert syn.parse(bytes(made)) is None  # a request is not an answer


HEADS = [bytes(network(FOUR) / TCP()), bytes(network(FOUR) / ICMP(type=3)), bytes(network(SIX) / TCP())]
HEADS += [bytes(network(SIX) / ICMPv6DestUnreach())]


@given(
    st.binary(max_size=140)
    | st.tuples(st.sampled_from(HEADS), st.integers(12, 70), st.binary(max_size=80)).map(
        lambda parts: parts[0][: parts[1]] + parts[2]
    )
)
@example(HEADS[0][:14] + b"\x4f" + HEADS[0][15:])  # a header longer than the frame
@example(HEADS[0][:14] + b"\x41" + HEADS[0][15:])  # and one shorter than it can be
def test_no_bytes_crash_the_parser(frame: bytes) -> None:
    found = syn.parse(frame)
    if isinstance(found, SynResponse):
        assert isinstance(found.ip, IPv4Address | IPv6Address)
        assert (found.acknowledged is None) == (found.outcome == "unreachable")

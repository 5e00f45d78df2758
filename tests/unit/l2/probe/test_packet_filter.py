"""The packet filter, run by the kernel on a pair of sockets: it passes possible answers, and nothing else."""

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether

from provisioner.l2.probe import arp, ndp, packet_filter, syn

ME, THEM = "02:00:00:00:00:01", "02:00:00:00:00:0b"
FOUR, SIX = IPv4Address("192.0.2.200"), IPv6Address("fd00:2::200")
Pair = tuple[socket.socket, socket.socket]


def reply(head: str = "0001 0800 06 04", op: int = 2, to_ip: str = "192.0.2.1") -> bytes:
    ips = bytes.fromhex(THEM.replace(":", "")) + FOUR.packed, bytes(6) + IPv4Address(to_ip).packed
    return bytes(Ether(src=THEM, dst=ME, type=0x0806)) + bytes.fromhex(head) + op.to_bytes(2) + b"".join(ips)


def advertisement(to: str = "fe80::1", solicited: int = 1) -> bytes:
    head = Ether(src=THEM, dst=ME) / IPv6(src="fe80::b", dst=to, hlim=255)
    return bytes(head / ICMPv6ND_NA(tgt=str(SIX), S=solicited) / ICMPv6NDOptDstLLAddr(lladdr=THEM))


def network(ip: IPv4Address | IPv6Address) -> Any:
    """Return the headers of a frame from an owner to this machine."""
    to = "192.0.2.1" if ip.version == 4 else "fd00:2::1"
    return Ether(src=THEM, dst=ME) / (IP if ip.version == 4 else IPv6)(src=str(ip), dst=to)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Yield two connected sockets; what is sent on the first passes the filter to the second."""
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with first, second:
        packet_filter.attach(second)
        yield first, second


def kept(pair: Pair, frame: bytes) -> bool:
    """Return whether the kernel passes a frame, unchanged."""
    first, second = pair
    try:
        first.send(frame)
    except PermissionError:  # EPERM: the kernel's answer to a local sender whose frame the filter dropped
        return False
    try:
        got = second.recv(4096, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    assert got == frame
    return True


TAGGED = Ether(bytes(Ether(reply()))[:12] + b"\x81\x00\x00\x05" + reply()[12:])
LONG = IP(src=str(FOUR), dst="192.0.2.1", options=[b"\x01"] * 8)


@pytest.mark.parametrize(
    "frame",
    [
        reply(),
        reply() + bytes(18),
        reply(to_ip=str(FOUR)),
        reply(to_ip=str(FOUR), op=1),
        advertisement(),
        advertisement(to="ff02::1", solicited=0),
        bytes(network(FOUR) / TCP(sport=80, dport=61000, flags="SA")),
        bytes(network(SIX) / TCP(sport=80, dport=65535, flags="RA")),
        bytes(Ether() / LONG / TCP(sport=80, dport=61000, flags="SA")),
        bytes(Ether() / LONG / ICMP(type=3)),
        bytes(network(FOUR) / UDP(sport=53, dport=61000)),
        bytes(network(SIX) / UDP(sport=53, dport=65535)),
        bytes(network(FOUR) / ICMP(type=0)),
        bytes(network(FOUR) / ICMP(type=11)),
        bytes(network(SIX) / ICMPv6EchoReply()),
        bytes(network(SIX) / ICMPv6DestUnreach()),
    ],
)
def test_possible_answers_pass(pair: Pair, frame: bytes) -> None:
    assert kept(pair, frame)


@pytest.mark.parametrize(
    "frame",
    [
        b"\0",
        reply()[:20],
        reply(op=1),  # others' requests: the flood of a busy segment
        reply(op=3),
        reply(head="0001 0800 06 10"),
        reply(head="0006 0800 06 04"),
        bytes(TAGGED),
        bytes(Ether() / Dot1Q(vlan=5) / ARP(op=2)),
        bytes(network(FOUR) / TCP(sport=80, dport=60999, flags="SA")),  # another connection
        bytes(network(SIX) / TCP(sport=80, dport=443, flags="SA")),
        bytes(Ether() / LONG / TCP(sport=80, dport=443, flags="SA")),
        bytes(network(FOUR) / UDP(dport=60999)),
        bytes(network(SIX) / UDP(dport=53)),
        bytes(network(FOUR) / ICMP(type=8)),
        bytes(network(SIX) / ICMPv6EchoRequest()),
        bytes(Ether() / IP(frag=1) / TCP(dport=61000, flags="SA")),
        syn.syn(FOUR, 80, THEM, (ME, FOUR), local_port=61234, sequence=7).frame,  # our own
        ndp.request(SIX, ME, IPv6Address("fe80::1")).frame,
        bytes(Ether(type=0x88CC)) + bytes(60),
    ],
)
def test_everything_else_is_dropped(pair: Pair, frame: bytes) -> None:
    assert not kept(pair, frame)


WHOLE = [reply(), advertisement(), bytes(network(FOUR) / TCP(dport=61000)), bytes(network(SIX) / TCP(dport=61000))]


@settings(max_examples=400)
@given(st.sampled_from(WHOLE), st.integers(12, 60), st.binary(min_size=1, max_size=40))
def test_every_frame_a_parser_accepts_passes(whole: bytes, at: int, changed: bytes) -> None:
    """The filter only saves work: if it were stricter than the parsers, answers would be lost."""
    frame = (whole[:at] + changed + whole[at + len(changed) :])[: len(whole)]
    found = arp.parse(frame) or ndp.parse(frame) or syn.parse(frame)
    ours = not isinstance(found, syn.SynResponse) or found.local_port >= syn.LOWEST_PORT
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with first, second:
        packet_filter.attach(second)
        if found is not None and ours:
            assert kept((first, second), frame)

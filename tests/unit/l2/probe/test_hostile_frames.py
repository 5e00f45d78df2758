"""Whatever bytes arrive, the parsers return something or None; and no question for an impossible address is built."""

from __future__ import annotations

import struct
from ipaddress import IPv4Interface, IPv6Interface, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.l2.probe import arp, ndp, questions, syn
from provisioner.l2.probe.interfaces import Interface

HERE = Interface(
    "eth1",
    "02:00:00:00:00:01",
    True,
    True,
    (IPv4Interface("192.0.2.1/24"), IPv6Interface("fe80::1/64"), IPv6Interface("2001:db8::1/64")),
)
MAC = bytes.fromhex("525400000011")


def _ipv4(protocol: int, body: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0, b"\xc0\0\2\xc8", b"\xc0\0\2\1")
    return MAC * 2 + b"\x08\x00" + head + body


def _ipv6(following: int, body: bytes) -> bytes:
    addresses = ip_address("2001:db8::200").packed + ip_address("fe80::1").packed
    return MAC * 2 + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(body), following, 255) + addresses + body


GOOD = (
    MAC * 2 + b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02" + MAC + b"\xc0\0\2\xc8" + MAC + b"\xc0\0\2\1",
    _ipv4(6, struct.pack("!HHIIBBHHH", 80, 61000, 1, 2, 0x50, 0x12, 100, 0, 0)),
    _ipv4(1, b"\x03\x01\0\0\0\0\0\0" + _ipv4(6, b"\xee\x48\0\x50\0\0\0\1")[14:]),
    _ipv4(1, b"\x00\0\0\0\0\7\0\1"),
    _ipv6(58, b"\x88\0\0\0\x60\0\0\0" + ip_address("2001:db8::200").packed + b"\2\1" + MAC),
    _ipv6(6, struct.pack("!HHIIBBHHH", 80, 61000, 1, 2, 0x50, 0x12, 100, 0, 0)),
    _ipv6(58, b"\x01\x04\0\0\0\0\0\0" + _ipv6(6, b"\xee\x48\0\x50\0\0\0\1")[14:]),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    frame = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(0, 6))):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(0, len(frame)))]) + draw(st.binary(max_size=20))


@settings(deadline=None, max_examples=400)
@given(damaged() | st.binary(max_size=120))
def test_no_frame_raises(frame: bytes) -> None:
    for parse in (arp.parse, ndp.parse, syn.parse):
        parse(frame)


@pytest.mark.parametrize(
    "text", ["0.0.0.0", "224.0.0.1", "127.0.0.1", "255.255.255.255", "::", "::1", "ff02::1", "192.0.2.1", "fe80::1"]
)
def test_an_address_that_no_other_host_can_have_is_not_asked_for(text: str) -> None:
    ip = ip_address(text)
    assert questions.request(HERE, ip) is None
    assert questions.unicast(HERE, ip, "52:54:00:00:00:11") is None
    if text != "192.0.2.1":
        assert questions.arp_probe(HERE, ip) is None

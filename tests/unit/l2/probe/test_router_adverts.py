"""VRRP, HSRP and CARP frames: built by Scapy or by the documents' field tables, and every cut of them."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.l2.probe.router_adverts import RouterAdvert, parse

VRRP_MAC = "00:00:5e:00:01:33"


def ipv4(protocol: int, body: bytes, *, hops: int = 255, to: str = "224.0.0.18", options: bytes = b"") -> bytes:
    """Return an Ethernet frame from 192.0.2.11; options: of the IPv4 header."""
    words = 5 + len(options) // 4
    length = words * 4 + len(body)
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0xC0, length, 1, 0, hops, protocol, 0)
    header += ip_address("192.0.2.11").packed + ip_address(to).packed + options
    return (bytes.fromhex("01005e000012") + bytes.fromhex("00005e000133") + b"\x08\x00" + header + body).ljust(
        60, b"\0"
    )


def ipv6(protocol: int, body: bytes, hops: int = 255) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(body), protocol, hops)
    header += ip_address("fe80::11").packed + ip_address("ff02::12").packed
    return bytes.fromhex("333300000012") + bytes.fromhex("00005e000233") + b"\x86\xdd" + header + body


def vrrp2(*addresses: str, priority: int = 150, group: int = 51, authentication: int = 0) -> bytes:
    body = struct.pack("!BBBBBBH", 0x21, group, priority, len(addresses), authentication, 1, 0)
    return body + b"".join(ip_address(text).packed for text in addresses) + bytes(8)


def vrrp3(*addresses: str, priority: int = 100, group: int = 51, centiseconds: int = 250) -> bytes:
    body = struct.pack("!BBBBHH", 0x31, group, priority, len(addresses), centiseconds, 0)
    return body + b"".join(ip_address(text).packed for text in addresses)


CARP = struct.pack("!BBBBBBH8s20s", 0x21, 7, 100, 7, 0, 1, 0, bytes(8), bytes(20))
HSRP1 = struct.pack("!BBBBBBBB8s4s", 0, 0, 16, 3, 10, 110, 5, 0, b"cisco", ip_address("192.0.2.254").packed)
HSRP2 = b"\x01\x28" + struct.pack(
    "!BBBBH6sIII16s", 2, 0, 6, 4, 300, bytes(6), 120, 3000, 10000, ip_address("192.0.2.253").packed
)


def udp(port: int, body: bytes) -> bytes:
    return struct.pack("!HHHH", port, port, 8 + len(body), 0) + body


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (ipv4(112, vrrp2("192.0.2.100")), ("VRRP", 2, 51, 150, ["192.0.2.100"], 1.0)),
        (ipv4(112, vrrp2("192.0.2.100", "192.0.2.101")), ("VRRP", 2, 51, 150, ["192.0.2.100", "192.0.2.101"], 1.0)),
        (
            ipv4(112, vrrp2("192.0.2.100", priority=0), options=b"\x94\x04\0\0"),
            ("VRRP", 2, 51, 0, ["192.0.2.100"], 1.0),
        ),
        (ipv4(112, vrrp3("192.0.2.100")), ("VRRP", 3, 51, 100, ["192.0.2.100"], 2.5)),
        (ipv6(112, vrrp3("fe80::100", "2001:db8::100")), ("VRRP", 3, 51, 100, ["fe80::100", "2001:db8::100"], 2.5)),
        (ipv4(112, CARP), ("CARP", 2, 7, -1, [], 1 + 100 / 256)),
        (ipv4(17, udp(1985, HSRP1), hops=1, to="224.0.0.2"), ("HSRP", 1, 5, 110, ["192.0.2.254"], 3.0)),
        (ipv4(17, udp(1985, HSRP2), hops=1, to="224.0.0.102"), ("HSRP", 2, 300, 120, ["192.0.2.253"], 3.0)),
    ],
)
def test_a_frame_is_read(frame: bytes, expected: tuple[str, int, int, int, list[str], float]) -> None:
    found = parse(frame, 12.5)
    assert found is not None
    protocol, version, group, priority, addresses, interval = expected
    assert (found.protocol, found.version, found.group, found.priority) == (protocol, version, group, priority)
    assert [*map(str, found.addresses)] == addresses
    assert found.interval == pytest.approx(interval)
    assert found.timestamp == 12.5
    assert str(found.source) in ("192.0.2.11", "fe80::11")


def test_scapys_vrrp_is_read() -> None:
    from scapy.layers.inet import IP
    from scapy.layers.l2 import Ether
    from scapy.layers.vrrp import VRRP, VRRPv3

    for layer, version in ((VRRP(vrid=9, addrlist=["192.0.2.100"]), 2), (VRRPv3(vrid=9, addrlist=["192.0.2.100"]), 3)):
        frame = bytes(
            Ether(src=VRRP_MAC, dst="01:00:5e:00:00:12") / IP(src="192.0.2.11", dst="224.0.0.18", ttl=255) / layer
        )
        found = parse(frame)
        assert found is not None
        assert found == RouterAdvert(
            "VRRP", version, 9, ip_address("192.0.2.11"), VRRP_MAC, 100, (ip_address("192.0.2.100"),), 1.0
        )


@pytest.mark.parametrize(
    "frame",
    [
        ipv4(112, vrrp2("192.0.2.100"), hops=254),  # through a router
        ipv4(112, vrrp2()),  # no address
        ipv4(112, vrrp2("192.0.2.100", group=0)),
        ipv4(112, b"\x22" + vrrp2("192.0.2.100")[1:]),  # not an advertisement
        ipv4(17, udp(1985, b"\0\0\x08" + HSRP1[3:])),  # standby
        ipv4(17, udp(1985, b"\0\1" + HSRP1[2:])),  # a coup
        ipv4(17, udp(53, HSRP1)),
        b"",
    ],
)
def test_anything_else_is_nothing(frame: bytes) -> None:
    assert parse(frame) is None


@given(
    st.sampled_from([ipv4(112, vrrp3("192.0.2.100")), ipv6(112, vrrp3("fe80::1")), ipv4(17, udp(1985, HSRP2))]),
    st.data(),
)
def test_a_cut_or_changed_frame_never_raises(frame: bytes, data: st.DataObject) -> None:
    parse(frame[: data.draw(st.integers(0, len(frame)))])
    changed = bytearray(frame)
    for place in data.draw(st.lists(st.integers(12, len(frame) - 1), max_size=4)):
        changed[place] = data.draw(st.integers(0, 255))
    parse(bytes(changed))

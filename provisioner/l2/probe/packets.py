"""IP packets in Ethernet frames, built and taken apart byte by byte: TCP, UDP and ICMP to and from one address.

Built without Scapy, which takes a millisecond a frame: a check of a thousand Services sends tens of thousands.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address
Place = tuple[str, Address]  # the MAC and the address of one end

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
TYPE_IPV4, TYPE_IPV6 = b"\x08\x00", b"\x86\xdd"
SYN, RST, PSH, ACK, FIN = 0x02, 0x04, 0x08, 0x10, 0x01

_ETHERNET, _IPV6_HEADER = 14, 40
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_SEGMENT = struct.Struct(
    "!HHIIBBHHH"
)  # ports, sequence, acknowledgment, header length, flags, window, checksum, urgent
_DATAGRAM = struct.Struct("!HHHH")
_DONT_FRAGMENT = 0x4000
_HOPS = 64


@dataclass(frozen=True)
class Packet:
    """A received packet's protocol, addresses and payload. frame_source: the MAC that sent the frame."""

    protocol: int
    source: Address
    destination: Address
    payload: bytes
    frame_source: str


@dataclass(frozen=True)
class Segment:
    """A received TCP segment. data: its payload; mss: its option, 0 without one."""

    source: Address
    port: int
    local_port: int
    sequence: int
    acknowledged: int
    flags: int
    data: bytes
    frame_source: str
    mss: int = 0


def tcp(
    own: Place,
    to: Place,
    ports: tuple[int, int],
    flags: int,
    *,
    sequence: int,
    acknowledged: int = 0,
    window: int = 64240,
    mss: int = 0,
    data: bytes = b"",
) -> bytes:
    """Build a TCP segment. ports: local and remote; mss: the option of a SYN, 0 for none."""
    options = struct.pack("!BBH", 2, 4, mss) if mss else b""
    length = (_SEGMENT.size + len(options)) // 4 << 4
    head = _SEGMENT.pack(
        *ports, sequence % 2**32, acknowledged % 2**32 if flags & ACK else 0, length, flags, window, 0, 0
    )
    return _frame(own, to, TCP, head + options + data, 16)


def udp(own: Place, to: Place, ports: tuple[int, int], data: bytes) -> bytes:
    """Build a UDP datagram. ports: local and remote."""
    return _frame(own, to, UDP, _DATAGRAM.pack(*ports, _DATAGRAM.size + len(data), 0) + data, 6)


def echo(own: Place, to: Place, identifier: int) -> bytes:
    """Build an ICMP echo request."""
    kind, protocol = (8, ICMP) if to[1].version == 4 else (128, ICMPV6)
    return _frame(own, to, protocol, struct.pack("!BBHHH", kind, 0, 0, identifier, 1), 2)


def _frame(own: Place, to: Place, protocol: int, message: bytes, checksum_at: int) -> bytes:
    """Return a frame with the message, its checksum at that offset. IPv4 gets DF: nothing fragments it."""
    source, destination = own[1], to[1]
    if protocol == ICMP:
        pseudo = b""
    elif destination.version == 4:
        pseudo = source.packed + destination.packed + struct.pack("!HH", protocol, len(message))
    else:
        pseudo = source.packed + destination.packed + struct.pack("!II", len(message), protocol)
    total = checksum(pseudo + message)
    if protocol == UDP and not total:
        total = 0xFFFF  # zero means none (RFC 768)
    message = message[:checksum_at] + total.to_bytes(2) + message[checksum_at + 2 :]
    macs = bytes.fromhex((to[0] + own[0]).replace(":", ""))
    if destination.version == 6:
        head = struct.pack("!IHBB", 6 << 28, len(message), protocol, _HOPS)
        return macs + TYPE_IPV6 + head + source.packed + destination.packed + message
    length = _IPV4.size + len(message)
    head = _IPV4.pack(0x45, 0, length, 0, _DONT_FRAGMENT, _HOPS, protocol, 0, source.packed, destination.packed)
    return macs + TYPE_IPV4 + head[:10] + checksum(head).to_bytes(2) + head[12:] + message


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    total = int.from_bytes(data + b"\0" * (len(data) % 2)) % 0xFFFF if any(data) else 0
    # A sum of 16-bit words modulo 0xffff is the number modulo 0xffff, because 0x10000 is 1; only all zeros sum to 0.
    return 0xFFFF - (total or (0xFFFF if any(data) else 0))


def unpack(data: bytes, kind: bytes, frame_source: str = "") -> Packet | None:
    """Return the packet in a frame's payload of that Ethernet type, None for a later fragment or anything else.

    Never raises.
    """
    if kind == TYPE_IPV4 and len(data) >= _IPV4.size and data[0] >> 4 == 4:
        header, length = (data[0] & 0xF) * 4, int.from_bytes(data[2:4])
        if header < _IPV4.size or int.from_bytes(data[6:8]) & 0x1FFF:
            return None
        end = length if header <= length <= len(data) else len(data)  # short frames are padded
        source, destination = IPv4Address(data[12:16]), IPv4Address(data[16:20])
        return Packet(data[9], source, destination, data[header:end], frame_source)
    if kind == TYPE_IPV6 and len(data) >= _IPV6_HEADER and data[0] >> 4 == 6:
        end = _IPV6_HEADER + int.from_bytes(data[4:6])
        payload = data[_IPV6_HEADER : end if _IPV6_HEADER < end <= len(data) else len(data)]
        return Packet(data[6], IPv6Address(data[8:24]), IPv6Address(data[24:40]), payload, frame_source)
    return None


def in_frame(frame: bytes) -> Packet | None:
    """Return the packet in a frame, None if there is none."""
    return unpack(frame[_ETHERNET:], frame[12:14], frame[6:12].hex(":"))


def segment(packet: Packet) -> Segment | None:
    """Return the TCP segment in a packet, None if there is none or it is truncated."""
    if packet.protocol != TCP or len(packet.payload) < _SEGMENT.size:
        return None
    port, local_port, sequence, acknowledged, length, flags, *_ = _SEGMENT.unpack_from(packet.payload)
    start = max(_SEGMENT.size, (length >> 4) * 4)
    data, mss = packet.payload[start:], _mss(packet.payload[_SEGMENT.size : start])
    return Segment(packet.source, port, local_port, sequence, acknowledged, flags, data, packet.frame_source, mss)


def _mss(options: bytes) -> int:
    """Return the maximum segment size among a segment's options, 0 without one."""
    while options and options[0] != 0:
        if options[0] == 1:
            options = options[1:]
            continue
        if len(options) < 2 or options[1] < 2:
            return 0
        if options[:2] == b"\x02\x04" and len(options) >= 4:
            return int.from_bytes(options[2:4])
        options = options[options[1] :]
    return 0

"""NDP frames (RFC 4861): build the solicitation every announcer answers, parse advertisements.

A solicitation carries the sender's MAC (source link-layer option): MetalLB's speaker ignores one without. It goes from
the link-local address to the target's solicited-node group, so only candidate holders of the target receive it. One
from the unspecified address is never sent, since its answer goes to all nodes; nor is an advertisement.
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

from provisioner.l2.probe import scapy_light
from provisioner.l2.probe.arp import GratuitousFrame, Kind, Question, Reply, is_owner, text

TYPE_IPV6 = b"\x86\xdd"
ICMPV6 = 58
ADVERTISEMENT = 136
TARGET_MAC = 2  # option: target link-layer address

_ETHERNET = 14
_ADDRESSES, _RECEIVER = slice(22, 54), 38  # in a frame: source and destination; the destination's first byte
_IPV6 = struct.Struct("!IHBB16s16s")  # version, class and flow; payload length, next header, hop limit; from, to
_ADVERTISEMENT = struct.Struct("!BBHI16s")  # type, code, checksum, flags, target
_SOLICITED = 0x40000000
_PSEUDO = struct.Struct("!16s16sII")


def group(target: IPv6Address) -> IPv6Address:
    """Return the solicited-node group of an address (RFC 4291, 2.7.1)."""
    return IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | int(target) & 0xFFFFFF)


def request(target: IPv6Address, mac: str, source: IPv6Address) -> Question:
    """Build a solicitation for `target` to its solicited-node group, from the link-local `source`."""
    to = group(target)
    ethernet = f"33:33:{to.packed[12:].hex(':')}"  # RFC 2464, 7
    return Question(target, Kind.REQUEST, _solicitation(ethernet, to, target, mac, source))


def unicast(target: IPv6Address, mac: str, source: IPv6Address, to: str) -> Question:
    """Build a solicitation for `target` to the target itself, in a frame to the MAC `to`."""
    return Question(target, Kind.UNICAST, _solicitation(to, target, target, mac, source), to.lower())


def _solicitation(ethernet: str, to: IPv6Address, target: IPv6Address, mac: str, source: IPv6Address) -> bytes:
    if source == target or source.is_unspecified:
        raise ValueError(f"a solicitation for {target} from {source} would disturb others")
    l2, inet6 = scapy_light.layer("l2"), scapy_light.layer("inet6")
    frame = (
        l2.Ether(dst=ethernet, src=mac, type=0x86DD)
        / inet6.IPv6(src=str(source), dst=str(to), hlim=255)
        / inet6.ICMPv6ND_NS(tgt=str(target))
        / inet6.ICMPv6NDOptSrcLLAddr(lladdr=mac)
    )
    return bytes(frame)


def parse(frame: bytes) -> Reply | GratuitousFrame | None:
    """Return the neighbor advertisement in `frame`, None for anything else or if invalid (RFC 4861, 7.1.2).

    Never raises. Without a target link-layer option, which an answer to a unicast may omit, the frame's source is the
    MAC. An unsolicited advertisement is a gratuitous frame.
    """
    message = _message(frame)
    if len(message) < _ADVERTISEMENT.size:
        return None
    kind, code, _, flags, packed = _ADVERTISEMENT.unpack_from(message)
    target, solicited = IPv6Address(packed), bool(flags & _SOLICITED)
    found = options(message[_ADVERTISEMENT.size :])
    to_many = frame[_RECEIVER] == 0xFF
    invalid = target.is_multicast or target.is_unspecified or (to_many and solicited)
    if kind != ADVERTISEMENT or code or invalid or found is None or checksum(frame[_ADDRESSES], message):
        return None
    mac = found.get(TARGET_MAC, frame[6:12])[:6]
    if len(mac) != 6 or not is_owner(mac):
        return None
    source = text(frame[6:12])
    if not solicited:
        return GratuitousFrame(target, text(mac), source, request=False, broadcast_target=False, length=len(frame))
    return Reply(target, text(mac), source, text(frame[0:6]), None, len(frame))


def _message(frame: bytes) -> bytes:
    """Return a frame's ICMPv6 message if it was sent on this segment (hop limit 255), else b""."""
    start = _ETHERNET + _IPV6.size
    if len(frame) < start or frame[12:14] != TYPE_IPV6:
        return b""
    first, length, following, hops, _, _ = _IPV6.unpack_from(frame, _ETHERNET)
    message = frame[start : start + length]
    whole = first >> 28 == 6 and following == ICMPV6 and hops == 255 and len(message) == length
    return message if whole else b""


def options(data: bytes) -> dict[int, bytes] | None:
    """Return the first option of each type, without type and length; None if one has no length or is truncated."""
    found: dict[int, bytes] = {}
    while data:
        if len(data) < 2 or not data[1] or len(data) < data[1] * 8:
            return None
        found.setdefault(data[0], data[2 : data[1] * 8])
        data = data[data[1] * 8 :]
    return found


def checksum(addresses: bytes, message: bytes) -> int:
    """Return the Internet checksum of an ICMPv6 message and its pseudo-header, 0 if correct (RFC 4443, 2.3).

    addresses: source and destination, 32 bytes.
    """
    data = _PSEUDO.pack(addresses[:16], addresses[16:], len(message), ICMPV6) + message + b"\0" * (len(message) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total

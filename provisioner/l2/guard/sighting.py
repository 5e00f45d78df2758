"""What one frame says about an address: who has it, who asks, what a DHCP server hands out, who is a VRRP master."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from provisioner.l2.probe import arp, dhcp, ndp, router_adverts
from provisioner.l2.probe.arp import GratuitousFrame, Reply
from provisioner.l2.probe.capture import Address
from provisioner.l2.probe.dhcp import Lease
from provisioner.l2.probe.router_adverts import RouterAdvert

Said = Literal["answers", "announces", "uses"]
_HEAD = b"\x00\x01\x08\x00\x06\x04\x00\x01"  # an ARP request over Ethernet for IPv4
_SOLICITATION = 135
_SOURCE_MAC = 1  # option: source link-layer address


@dataclass(frozen=True)
class Sighting:
    """One MAC that has an address. said: it answers for it, announces it unasked, or uses it as a sender."""

    ip: Address
    mac: str
    said: Said
    time: float


def parse(frame: bytes, timestamp: float) -> Sighting | Lease | RouterAdvert | None:
    """Return what a frame says, None if nothing of interest. Never raises."""
    kind = frame[12:14]
    if kind == arp.TYPE_ARP:
        return _of(arp.parse(frame), timestamp) or _asker(frame, timestamp)
    if kind == ndp.TYPE_IPV6:
        found = _of(ndp.parse(frame), timestamp) or _solicitor(frame, timestamp)
        return found or router_adverts.parse(frame, timestamp)
    return dhcp.parse(frame) or router_adverts.parse(frame, timestamp)


def _of(found: Reply | GratuitousFrame | None, timestamp: float) -> Sighting | None:
    if found is None:
        return None
    return Sighting(found.ip, found.mac, "answers" if isinstance(found, Reply) else "announces", timestamp)


def _asker(frame: bytes, timestamp: float) -> Sighting | None:
    """Return the sender of an ARP request, who has the address that it asks from (RFC 826)."""
    if len(frame) < 42 or frame[14:22] != _HEAD:
        return None
    mac, ip = frame[22:28], IPv4Address(frame[28:32])
    if ip == arp.NOBODY or not arp.is_owner(mac):
        return None
    return Sighting(ip, arp.text(mac), "uses", timestamp)


def _solicitor(frame: bytes, timestamp: float) -> Sighting | None:
    """Return the sender of a neighbor solicitation with its MAC; one from :: only claims its target (RFC 4862)."""
    if len(frame) < 78 or frame[20] != ndp.ICMPV6 or frame[21] != 255 or frame[54] != _SOLICITATION:
        return None
    length = struct.unpack_from("!H", frame, 18)[0]
    message = frame[54 : 54 + length]
    if len(message) != length or length < 24 or ndp.checksum(frame[22:54], message):
        return None
    source = IPv6Address(frame[22:38])
    if source.is_unspecified:
        return Sighting(IPv6Address(message[8:24]), arp.text(frame[6:12]), "uses", timestamp)
    mac = (ndp.options(message[24:]) or {}).get(_SOURCE_MAC, b"")[:6]
    return Sighting(source, arp.text(mac), "uses", timestamp) if len(mac) == 6 and arp.is_owner(mac) else None

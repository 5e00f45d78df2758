"""What routers and keepalived say of a shared address: VRRP, HSRP and CARP advertisements, parsed and never sent.

VRRP: RFC 3768 (version 2), RFC 9568 (version 3; before, RFC 5798). HSRP: RFC 2281 (version 1); version 2 by Cisco's
documents, as Wireshark reads it. CARP: ip_carp.h of OpenBSD; it has VRRP's protocol number and names no addresses.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

Address = IPv4Address | IPv6Address
Protocol = Literal["VRRP", "HSRP", "CARP"]
NUMBER = 112  # IP protocol of VRRP and CARP
HSRP_PORT = 1985  # UDP; 2029 for IPv6
HSRP_PORT_V6 = 2029
# Ethernet groups to join: VRRP and CARP (IPv4, IPv6), HSRP version 1, 2 and for IPv6.
GROUPS = ("01:00:5e:00:00:12", "33:33:00:00:00:12", "01:00:5e:00:00:02", "01:00:5e:00:00:66", "33:33:00:00:00:66")
_CARP_WORDS = 7  # its authlen field, where VRRP counts addresses
_CARP_LENGTH = 36
_HSRP_ACTIVE = {1: 16, 2: 6}  # by version; the other states do not own the address


@dataclass(frozen=True)
class RouterAdvert:
    """One advertisement of a master (VRRP), an active router (HSRP) or a CARP host.

    group: virtual router id, HSRP group or CARP vhid; priority: higher wins, 0 is a VRRP master that gives up, -1
    stands for CARP's lack of one. addresses: the shared ones, empty if the protocol names none. interval: seconds
    until the next one. mac: the Ethernet source. authentication: VRRP 2's type, 0 for none.
    """

    protocol: Protocol
    version: int
    group: int
    source: Address
    mac: str
    priority: int
    addresses: tuple[Address, ...]
    interval: float
    timestamp: float = 0.0
    authentication: int = 0

    @property
    def name(self) -> str:
        """Return what the group is called: "VRRP virtual router 51"."""
        words = {"VRRP": "virtual router", "HSRP": "group", "CARP": "vhid"}
        return f"{self.protocol} {words[self.protocol]} {self.group}"


def parse(frame: bytes, timestamp: float = 0.0) -> RouterAdvert | None:
    """Return the advertisement in a frame, None for anything else. Never raises."""
    try:
        return _parse(frame, timestamp)
    except (IndexError, struct.error, ValueError):  # cut short
        return None


def _parse(frame: bytes, timestamp: float) -> RouterAdvert | None:
    mac, kind = frame[6:12].hex(":"), frame[12:14]
    if kind == b"\x08\x00" and frame[14] >> 4 == 4:
        start = 14 + (frame[14] & 0x0F) * 4
        total = struct.unpack_from("!H", frame, 16)[0]
        if struct.unpack_from("!H", frame, 20)[0] & 0x1FFF or start < 34:
            return None  # a later fragment
        source: Address = IPv4Address(frame[26:30])
        protocol, hops, body = frame[23], frame[22], frame[start : 14 + total]
    elif kind == b"\x86\xdd" and frame[14] >> 4 == 6:
        source = IPv6Address(frame[22:38])
        length = struct.unpack_from("!H", frame, 18)[0]
        protocol, hops, body = frame[20], frame[21], frame[54 : 54 + length]
    else:
        return None
    if protocol == NUMBER and hops == 255:  # RFC 9568, 7.1: anything else came through a router
        return _vrrp(body, source, mac, timestamp)
    if protocol == 17 and struct.unpack_from("!H", body, 2)[0] in (HSRP_PORT, HSRP_PORT_V6):
        return _hsrp(body[8:], source, mac, timestamp)
    return None


def _vrrp(body: bytes, source: Address, mac: str, timestamp: float) -> RouterAdvert | None:
    version, kind = body[0] >> 4, body[0] & 0x0F
    group, priority, count = body[1], body[2], body[3]
    if version == 2 and kind == 1 and count == _CARP_WORDS and len(body) == _CARP_LENGTH:
        return RouterAdvert("CARP", version, group, source, mac, -1, (), body[5] + priority / 256, timestamp)
    if version not in (2, 3) or kind != 1 or not count or not group:
        return None
    size = 4 if source.version == 4 else 16
    parts = [body[8 + size * number : 8 + size * (number + 1)] for number in range(count)]
    if len(parts[-1]) != size:
        return None
    addresses: tuple[Address, ...] = tuple(IPv4Address(part) if size == 4 else IPv6Address(part) for part in parts)
    interval = float(body[5]) if version == 2 else (struct.unpack_from("!H", body, 4)[0] & 0x0FFF) / 100
    authentication = body[4] if version == 2 else 0
    return RouterAdvert("VRRP", version, group, source, mac, priority, addresses, interval, timestamp, authentication)


def _hsrp(body: bytes, source: Address, mac: str, timestamp: float) -> RouterAdvert | None:
    if body[0] == 0:  # version 1 has 0 here
        opcode, state, hello = body[1], body[2], float(body[3])
        address: Address = IPv4Address(body[16:20])
        version, group, priority = 1, body[6], body[5]
    elif body[:2] == b"\x01\x28":  # the group state TLV
        own_version, opcode, state, family, group = struct.unpack_from("!BBBBH", body, 2)
        priority, milliseconds = struct.unpack_from("!II", body, 14)
        version, hello = own_version, milliseconds / 1000
        address = IPv4Address(body[26:30]) if family == 4 else IPv6Address(body[26:42])
    else:
        return None
    if opcode != 0 or state != _HSRP_ACTIVE.get(version):
        return None
    return RouterAdvert("HSRP", version, group, source, mac, priority, (address,), hello, timestamp)

"""ARP frames: the three questions that disturb nobody, and what an answer says.

Scapy builds each kind of question once, ahead of time; the target's four bytes are then set for every address. What
is never built here: a gratuitous frame, or a request whose sender is its target. Either overwrites the neighbour
caches of bystanders (RFC 826 merges the sender's pair into every cache that has an entry for it).

Frames that came are read without Scapy: measured, that is sixty times faster, and no frame can make it raise.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from provisioner.l2.probe import scapy_light

BROADCAST = "ff:ff:ff:ff:ff:ff"
NO_MAC = "00:00:00:00:00:00"
NOBODY = IPv4Address("0.0.0.0")
SHORTEST = 60  # IEEE 802.3 without the checksum; a virtual link does not pad by itself
TYPE_ARP = b"\x08\x06"

_HEAD = b"\x00\x01\x08\x00\x06\x04"  # Ethernet, IPv4, and the lengths of their addresses (RFC 826)
_TARGET = slice(38, 42)  # of a request, the address that is asked for
_BODY = struct.Struct("!6s6s2s6sH6s4s6s4s")  # to, from, type; head, operation; sender's MAC, IP; target's MAC, IP


class Kind(Enum):
    """How it was asked.

    ZERO: broadcast, from 0.0.0.0 (an RFC 5227 probe): leaves no neighbour entry anywhere, and Linux proxy ARP keeps
    silent. CLIENT: broadcast, from the prober's own address, as any client asks. UNICAST: the same, to one MAC.
    In IPv6, CLIENT is a solicitation to the solicited-node group, and there is no ZERO.
    """

    PROBE = "Z"
    REQUEST = "B"
    UNICAST = "U"


@dataclass(frozen=True)
class Question:
    """A frame that is ready to be sent, and what it asks. to: the one MAC that is asked, "" for everybody."""

    target: IPv4Address | IPv6Address
    kind: Kind
    frame: bytes
    to: str = ""


@dataclass(frozen=True)
class Reply:
    """An answer as it came: `ip` is said to be at `mac`. length: bytes of the frame, without its checksum.

    source, destination: the frame's own. asked_from: whom it answers; None where the protocol does not say (NDP).
    """

    ip: IPv4Address | IPv6Address
    mac: str
    source: str
    destination: str
    asked_from: IPv4Address | None
    length: int


@dataclass(frozen=True)
class GratuitousFrame:
    """A gratuitous frame as it came: nobody asked. See `wire.Announcement` for `request` and `broadcast_target`."""

    ip: IPv4Address | IPv6Address
    mac: str
    source: str
    request: bool
    broadcast_target: bool
    length: int


def probe(target: IPv4Address, mac: str) -> Question:
    """Build a Z question: a broadcast request for `target` from 0.0.0.0 by the interface with `mac`."""
    return Question(target, Kind.PROBE, _request(BROADCAST, mac, NOBODY, target))


def request(target: IPv4Address, mac: str, source: IPv4Address) -> Question:
    """Build a B question: a broadcast request for `target` from `source`, an address of this machine."""
    return Question(target, Kind.REQUEST, _request(BROADCAST, mac, source, target))


def unicast(target: IPv4Address, mac: str, source: IPv4Address, to: str) -> Question:
    """Build a U question: as B, but in a frame to the one MAC `to`."""
    return Question(target, Kind.UNICAST, _request(to, mac, source, target), to.lower())


def _request(to: str, mac: str, source: IPv4Address, target: IPv4Address) -> bytes:
    if source == target:
        raise ValueError(f"a request for {target} from {target} would overwrite the caches of others")
    made = bytearray(_template(to, mac, source))
    made[_TARGET] = target.packed
    return bytes(made)


@lru_cache(maxsize=256)
def _template(to: str, mac: str, source: IPv4Address) -> bytes:
    l2 = scapy_light.layer("l2")
    arp = l2.ARP(op=1, hwsrc=mac, psrc=str(source), hwdst=NO_MAC, pdst="0.0.0.0")
    return bytes(l2.Ether(dst=to, src=mac, type=0x0806) / arp).ljust(SHORTEST, b"\0")


def parse(frame: bytes) -> Reply | GratuitousFrame | None:
    """Return the ARP reply or the gratuitous frame that this is, None for anything else and what is malformed.

    Never raises. A frame with a VLAN tag is another network's; a sender without a MAC or an address says nothing.
    """
    if len(frame) < _BODY.size:
        return None
    to, source, kind, head, operation, mac, ip, target_mac, target = _BODY.unpack_from(frame)
    if kind != TYPE_ARP or head != _HEAD or operation not in (1, 2) or not is_owner(mac) or ip == NOBODY.packed:
        return None
    # kube-vip announces by replies to 255.255.255.255, as Seesaw did (ncc/arp.go).
    if target == ip or (operation == 2 and target == b"\xff" * 4):
        return GratuitousFrame(
            IPv4Address(ip), text(mac), text(source), operation == 1, target_mac == b"\xff" * 6, len(frame)
        )
    if operation == 1:
        return None
    return Reply(IPv4Address(ip), text(mac), text(source), text(to), IPv4Address(target), len(frame))


def is_owner(mac: bytes) -> bool:
    """Tell whether six bytes can be somebody's MAC: neither zeros nor the broadcast address.

    A group address can: Microsoft's network load balancing answers with one.
    """
    return mac not in (b"\0" * 6, b"\xff" * 6)


def text(mac: bytes) -> str:
    """Return six bytes as a MAC in lower case."""
    return mac.hex(":")

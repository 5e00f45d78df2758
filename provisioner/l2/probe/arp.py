"""ARP frames: build the three questions that disturb nobody, parse the answers.

Scapy builds each kind of question once; after that only the target's four bytes change. Two frames are never built: a
gratuitous ARP, and a request whose sender is its target. Either overwrites the neighbor caches of bystanders (RFC 826
merges the sender's pair into every cache that has an entry for it).

Received frames are parsed without Scapy, which is sixty times faster (measured) and cannot raise.
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
NOBODY = IPv4Address("0.0.0.0")  # the sender of an ARP probe
SHORTEST = 60  # IEEE 802.3 without the checksum; a virtual link does not pad by itself
TYPE_ARP = b"\x08\x06"

_HEAD = b"\x00\x01\x08\x00\x06\x04"  # Ethernet, IPv4, and the lengths of their addresses (RFC 826)
_TARGET = slice(38, 42)  # the target IP of a request
_BODY = struct.Struct("!6s6s2s6sH6s4s6s4s")  # Ethernet to, from, type; head, operation; sender MAC, IP; target MAC, IP


class Kind(Enum):
    """How an address was asked for; the letter is the code in reports.

    PROBE: broadcast from 0.0.0.0 (RFC 5227), which leaves no neighbor entry anywhere and which Linux proxy ARP does
    not answer. REQUEST: broadcast from the prober's own address, as any client sends. UNICAST: a request to one MAC.
    In IPv6, REQUEST is a solicitation to the solicited-node group, and there is no PROBE.
    """

    PROBE = "Z"
    REQUEST = "B"
    UNICAST = "U"


@dataclass(frozen=True)
class Question:
    """A frame ready to send. target: the address it asks for; to: the MAC of a unicast, "" for a broadcast."""

    target: IPv4Address | IPv6Address
    kind: Kind
    frame: bytes
    to: str = ""


@dataclass(frozen=True)
class Reply:
    """An answer as received: `ip` is at `mac`. length: bytes of the frame, without its checksum.

    source, destination: the frame's Ethernet addresses. asked_from: the sender it answers; None in NDP, which does not
    say.
    """

    ip: IPv4Address | IPv6Address
    mac: str
    source: str
    destination: str
    asked_from: IPv4Address | None
    length: int


@dataclass(frozen=True)
class GratuitousFrame:
    """An unsolicited frame as received. See `capture.Announcement` for `request` and `broadcast_target`."""

    ip: IPv4Address | IPv6Address
    mac: str
    source: str
    request: bool
    broadcast_target: bool
    length: int


def probe(target: IPv4Address, mac: str) -> Question:
    """Build an ARP probe: a broadcast request for `target` from 0.0.0.0 by the interface with `mac`."""
    return Question(target, Kind.PROBE, _request(BROADCAST, mac, NOBODY, target))


def request(target: IPv4Address, mac: str, source: IPv4Address) -> Question:
    """Build a broadcast request for `target` from `source`, an address of this machine."""
    return Question(target, Kind.REQUEST, _request(BROADCAST, mac, source, target))


def unicast(target: IPv4Address, mac: str, source: IPv4Address, to: str) -> Question:
    """Build a unicast request: the same as `request`, in a frame to the MAC `to`."""
    return Question(target, Kind.UNICAST, _request(to, mac, source, target), to.lower())


def _request(to: str, mac: str, source: IPv4Address, target: IPv4Address) -> bytes:
    if source == target:
        raise ValueError(f"a request for {target} from {target} would overwrite neighbor caches")
    made = bytearray(_template(to, mac, source))
    made[_TARGET] = target.packed
    return bytes(made)


@lru_cache(maxsize=256)
def _template(to: str, mac: str, source: IPv4Address) -> bytes:
    l2 = scapy_light.layer("l2")
    arp = l2.ARP(op=1, hwsrc=mac, psrc=str(source), hwdst=NO_MAC, pdst="0.0.0.0")
    return bytes(l2.Ether(dst=to, src=mac, type=0x0806) / arp).ljust(SHORTEST, b"\0")


def parse(frame: bytes) -> Reply | GratuitousFrame | None:
    """Return the ARP reply or gratuitous frame in `frame`, None for anything else. Never raises.

    A VLAN tag means another network. A frame whose sender has no MAC or no address is ignored.
    """
    if len(frame) < _BODY.size:
        return None
    to, source, kind, head, operation, mac, ip, target_mac, target = _BODY.unpack_from(frame)
    if kind != TYPE_ARP or head != _HEAD or operation not in (1, 2) or not is_owner(mac) or ip == NOBODY.packed:
        return None
    # kube-vip announces with replies to 255.255.255.255, as Seesaw did (ncc/arp.go).
    if target == ip or (operation == 2 and target == b"\xff" * 4):
        return GratuitousFrame(
            IPv4Address(ip), text(mac), text(source), operation == 1, target_mac == b"\xff" * 6, len(frame)
        )
    if operation == 1:
        return None
    return Reply(IPv4Address(ip), text(mac), text(source), text(to), IPv4Address(target), len(frame))


def is_owner(mac: bytes) -> bool:
    """Return whether six bytes can be a host's MAC: neither zeros nor broadcast.

    Group addresses count: Microsoft Network Load Balancing answers with one.
    """
    return mac not in (b"\0" * 6, b"\xff" * 6)


def text(mac: bytes) -> str:
    """Return six bytes as a lower-case MAC."""
    return mac.hex(":")

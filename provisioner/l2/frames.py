"""ARP frames: the three questions that disturb nobody, and what an answer says.

Scapy builds and parses; it is imported where it is needed, since it takes longer to load than a frame to travel.
What is never built here: a gratuitous frame, or a request whose sender is its target. Either overwrites the
neighbour caches of bystanders (RFC 826 merges the sender's pair into every cache that has an entry for it).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import AddressValueError, IPv4Address
from typing import Any

BROADCAST = "ff:ff:ff:ff:ff:ff"
NOBODY = IPv4Address("0.0.0.0")
SHORTEST = 60  # IEEE 802.3 without the checksum; a virtual link does not pad by itself


class Kind(Enum):
    """How it was asked.

    ZERO: broadcast, from 0.0.0.0 (an RFC 5227 probe): leaves no neighbour entry anywhere, and Linux proxy ARP keeps
    silent. CLIENT: broadcast, from the prober's own address, as any client asks. UNICAST: the same, to one MAC.
    """

    ZERO = "Z"
    CLIENT = "B"
    UNICAST = "U"


@dataclass(frozen=True)
class Question:
    """A frame that is ready to be sent, and what it asks."""

    target: IPv4Address
    kind: Kind
    frame: bytes


@dataclass(frozen=True)
class Reply:
    """An ARP reply as it came: `ip` is said to be at `mac`. length: bytes of the frame, without its checksum."""

    ip: IPv4Address
    mac: str
    source: str
    destination: str
    asked_from: IPv4Address
    length: int


def zero(target: IPv4Address, mac: str) -> Question:
    """Build a Z question: a broadcast request for `target` from 0.0.0.0 by the interface with `mac`."""
    return Question(target, Kind.ZERO, _request(BROADCAST, mac, NOBODY, target))


def client(target: IPv4Address, mac: str, source: IPv4Address) -> Question:
    """Build a B question: a broadcast request for `target` from `source`, an address of this machine."""
    return Question(target, Kind.CLIENT, _request(BROADCAST, mac, source, target))


def unicast(target: IPv4Address, mac: str, source: IPv4Address, to: str) -> Question:
    """Build a U question: as B, but in a frame to the one MAC `to`."""
    return Question(target, Kind.UNICAST, _request(to, mac, source, target))


def _request(to: str, mac: str, source: IPv4Address, target: IPv4Address) -> bytes:
    from scapy.layers.l2 import ARP, Ether

    if source == target:
        raise ValueError(f"a request for {target} from {target} would overwrite the caches of others")
    arp = ARP(op=1, hwsrc=mac, psrc=str(source), hwdst="00:00:00:00:00:00", pdst=str(target))
    return bytes(Ether(dst=to, src=mac, type=0x0806) / arp).ljust(SHORTEST, b"\0")


def parse(frame: bytes) -> Reply | None:
    """Return the ARP reply in an Ethernet frame, None for anything else and for one that is malformed.

    A gratuitous reply (it tells, nobody asked: sender and target address are the same) is no answer either.
    """
    from scapy.error import Scapy_Exception
    from scapy.layers.l2 import ARP, Ether

    if len(frame) < 42 or frame[12:14] != b"\x08\x06":
        return None
    try:
        ether = Ether(frame)
        arp: Any = ether.getlayer(ARP)
        if arp is None or (arp.hwtype, arp.ptype, arp.hwlen, arp.plen, arp.op) != (1, 0x0800, 6, 4, 2):
            return None
        ip, asked_from = IPv4Address(arp.psrc), IPv4Address(arp.pdst)
    except (AddressValueError, Scapy_Exception):
        return None
    if ip in (NOBODY, asked_from):
        return None
    return Reply(ip, str(arp.hwsrc), str(ether.src), str(ether.dst), asked_from, len(frame))

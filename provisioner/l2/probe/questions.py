"""The questions for an address of either family, from an interface: ARP for IPv4, NDP for IPv6.

None where the interface cannot ask so: without an address of its own, and IPv6 has no question from nobody.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from provisioner.l2.probe import arp, ndp
from provisioner.l2.probe.arp import Question
from provisioner.l2.probe.capture import Address
from provisioner.l2.probe.interfaces import Interface


def arp_probe(interface: Interface, ip: Address) -> Question | None:
    """Build a Z question."""
    return arp.probe(ip, interface.mac) if isinstance(ip, IPv4Address) else None


def request(interface: Interface, ip: Address) -> Question | None:
    """Build a B question."""
    source = interface.source_for(ip)
    if source is None or source == ip:
        return None
    if isinstance(ip, IPv4Address):
        return arp.request(ip, interface.mac, source) if isinstance(source, IPv4Address) else None
    return None if isinstance(source, IPv4Address) else ndp.request(ip, interface.mac, source)


def unicast(interface: Interface, ip: Address, to: str) -> Question | None:
    """Build a U question to the MAC `to`."""
    source = interface.source_for(ip)
    if source is None or source == ip:
        return None
    if isinstance(ip, IPv4Address):
        return arp.unicast(ip, interface.mac, source, to) if isinstance(source, IPv4Address) else None
    return None if isinstance(source, IPv4Address) else ndp.unicast(ip, interface.mac, source, to)

"""Questions for an address of either family, from an interface: ARP for IPv4, NDP for IPv6.

None where the interface cannot ask: it has no source address, no host can have the address, or IPv6 has no such
question.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from provisioner.addresses import why_unusable
from provisioner.l2.probe import arp, ndp
from provisioner.l2.probe.arp import Question
from provisioner.l2.probe.capture import Address
from provisioner.l2.probe.interfaces import Interface


def arp_probe(interface: Interface, ip: Address) -> Question | None:
    """Build an ARP probe, from 0.0.0.0."""
    return arp.probe(ip, interface.mac) if isinstance(ip, IPv4Address) and not why_unusable(ip) else None


def request(interface: Interface, ip: Address) -> Question | None:
    """Build a request to all hosts, from the interface's own address."""
    source = interface.source_for(ip)
    if source is None or source == ip or why_unusable(ip):
        return None
    if isinstance(ip, IPv4Address):
        return arp.request(ip, interface.mac, source) if isinstance(source, IPv4Address) else None
    return None if isinstance(source, IPv4Address) else ndp.request(ip, interface.mac, source)


def unicast(interface: Interface, ip: Address, to: str) -> Question | None:
    """Build a request to the MAC `to` only."""
    source = interface.source_for(ip)
    if source is None or source == ip or why_unusable(ip):
        return None
    if isinstance(ip, IPv4Address):
        return arp.unicast(ip, interface.mac, source, to) if isinstance(source, IPv4Address) else None
    return None if isinstance(source, IPv4Address) else ndp.unicast(ip, interface.mac, source, to)

"""Say whose a MAC is: which node's and which interface's, and how that is known.

The nodes' own lists of interfaces come first; the answers for the nodes' own addresses in the same sweep come
second. A MAC that several nodes share is said to be ambiguous, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioner.facts import Nic
    from provisioner.l2.prober import Answer


@dataclass(frozen=True)
class Owner:
    """Whose a MAC is. nodes: empty for a stranger, several when ambiguous; matched_by: "inventory", "arp" or ""."""

    mac: str
    nodes: tuple[str, ...] = ()
    nic: str = ""
    matched_by: str = ""

    @property
    def node(self) -> str:
        """Return the node's name, empty for a stranger and for an ambiguous MAC."""
        return self.nodes[0] if len(self.nodes) == 1 else ""

    def __str__(self) -> str:
        if not self.nodes:
            return f"{self.mac} (no node's)"
        if len(self.nodes) > 1:
            return f"{self.mac} (shared by {' and '.join(self.nodes)})"
        return f"{self.mac} ({self.node}{f' {self.nic}' if self.nic else ''})"


@dataclass(frozen=True)
class Known:
    """What is known of the nodes' MACs. inventory: MAC -> (node, interface)…; by_arp: MAC -> nodes."""

    inventory: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    by_arp: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def owner(self, mac: str) -> Owner:
        """Return whose a MAC is."""
        mac = mac.lower()
        if entries := self.inventory.get(mac):
            nodes = tuple(dict.fromkeys(node for node, _ in entries))
            return Owner(mac, nodes, entries[0][1] if len(nodes) == 1 else "", "inventory")
        if nodes := self.by_arp.get(mac, ()):
            return Owner(mac, nodes, "", "arp")
        return Owner(mac)

    def __contains__(self, mac: str) -> bool:
        return bool(self.owner(mac).nodes)


def from_nics(nics: Mapping[str, Iterable[Nic]]) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the inventory of `Known` from each node's interfaces (`Facts.nics`).

    Of several interfaces of one node that share a MAC (a bridge or bond and its ports) the one that carries
    addresses comes first: that is the one which answers.
    """
    found: dict[str, list[tuple[bool, bool, str, str]]] = {}
    for node, own in nics.items():
        for nic in own:
            if nic.mac and nic.mac != "00:00:00:00:00:00":
                entry = (not nic.addresses, bool(nic.master), node, nic.name)
                found.setdefault(nic.mac.lower(), []).append(entry)
    return {mac: tuple((node, nic) for _, _, node, nic in sorted(entries)) for mac, entries in found.items()}


def from_answers(answers: Iterable[Answer], nodes: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return `by_arp` of `Known`: who answered for the nodes' own addresses. nodes: name -> address.

    An address that two MACs answer for proves neither of them.
    """
    names = {ip_address(address): name for name, address in nodes.items()}
    macs: dict[IPv4Address, set[str]] = {}
    for answer in answers:
        if answer.ip in names:
            macs.setdefault(answer.ip, set()).add(answer.mac.lower())
    found: dict[str, tuple[str, ...]] = {}
    for address, heard in macs.items():
        if len(heard) == 1:
            (mac,) = heard
            found[mac] = (*found.get(mac, ()), names[address])
    return found

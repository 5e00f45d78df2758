"""Whose a MAC is: which node's and interface's, how that is known, and whether kernel or speaker answers.

The nodes' own lists of interfaces come first, then answers for the nodes' addresses in the same run, then the MACs in
nodes' EUI-64 addresses. A MAC shared by nodes is ambiguous, never guessed; a NIC's vendor hints at the machine, but
never proves a node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_interface
from typing import Protocol, TypeVar

from provisioner.l2.facts import Facts
from provisioner.l2.probe.arp import SHORTEST
from provisioner.l2.probe.capture import Address, Answer
from provisioner.l2.result import OwnerClass

_NO_MAC = "00:00:00:00:00:00"
_Name = TypeVar("_Name")


class _Nic(Protocol):
    """The attributes of an interface needed here; NICs in the hosts' and in the cluster's facts both have them."""

    @property
    def name(self) -> str: ...
    @property
    def mac(self) -> str: ...
    @property
    def addresses(self) -> tuple[str, ...]: ...
    @property
    def master(self) -> str | None: ...


@dataclass(frozen=True)
class Owner:
    """Whose a MAC is. nodes: empty if foreign, several if ambiguous; matched_by: inventory, arp, eui64 or ""."""

    mac: str
    nodes: tuple[str, ...] = ()
    nic: str = ""
    matched_by: str = ""

    @property
    def node(self) -> str:
        """Return the node's name, "" if foreign or ambiguous."""
        return self.nodes[0] if len(self.nodes) == 1 else ""

    def __str__(self) -> str:
        if not self.nodes:
            return f"{self.mac} (not a node)"
        if len(self.nodes) > 1:
            return f"{self.mac} (shared by {' and '.join(self.nodes)})"
        return f"{self.mac} ({self.node}{f' {self.nic}' if self.nic else ''})"


@dataclass(frozen=True)
class NodeMacs:
    """The nodes' known MACs. inventory, by_eui64: MAC -> (node, interface)…; by_arp: MAC -> nodes.

    all_nodes: every node's name; listed: the nodes whose interfaces are known.
    """

    inventory: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    by_arp: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_eui64: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    all_nodes: tuple[str, ...] = ()
    listed: frozenset[str] = frozenset()

    def owner(self, mac: str) -> Owner:
        """Return whose a MAC is."""
        mac = mac.lower()
        if entries := self.inventory.get(mac):
            return _owner(mac, entries, "inventory")
        if nodes := self.by_arp.get(mac, ()):
            return Owner(mac, nodes, "", "arp")
        if entries := self.by_eui64.get(mac):
            return _owner(mac, entries, "eui64")
        return Owner(mac)

    def __contains__(self, mac: str) -> bool:
        return bool(self.owner(mac).nodes)

    def is_foreign(self, mac: str) -> bool | None:
        """Return whether a MAC belongs to no node; None if some node's MACs are unknown, so it may be that node's."""
        if mac in self:
            return False
        heard = {node for nodes in self.by_arp.values() for node in nodes}
        return True if self.all_nodes and set(self.all_nodes) <= self.listed | heard else None

    @property
    def complete(self) -> bool:
        """Return whether every node's interfaces are known."""
        return bool(self.all_nodes) and set(self.all_nodes) <= self.listed


def _owner(mac: str, entries: tuple[tuple[str, str], ...], matched_by: str) -> Owner:
    nodes = tuple(dict.fromkeys(node for node, _ in entries))
    return Owner(mac, nodes, entries[0][1] if len(nodes) == 1 else "", matched_by)


def from_facts(facts: Facts, answers: Iterable[Answer], not_by_arp: Collection[str] = ()) -> NodeMacs:
    """Return all that the cluster's facts and a run's answers reveal of the nodes' MACs.

    not_by_arp: MACs whose answers prove nothing, such as a router's, which may answer for others.
    """
    by_arp = from_answers(answers, {(node.name, ip): ip for node in facts.nodes for ip in node.internal_ips})
    return NodeMacs(
        from_nics({node.name: node.nics for node in facts.nodes if node.nics}),
        {
            mac: tuple(dict.fromkeys(node for node, _ in entries))
            for mac, entries in by_arp.items()
            if mac not in not_by_arp
        },
        _from_eui64(facts),
        tuple(node.name for node in facts.nodes),
        frozenset(node.name for node in facts.nodes if node.nics),
    )


def from_nics(nics: Mapping[str, Iterable[_Nic]]) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the inventory of `NodeMacs` from each node's interfaces.

    Where interfaces of a node share a MAC (a bridge or bond and its ports), the one with addresses comes first: it is
    the one that answers.
    """
    found: dict[str, list[tuple[bool, bool, str, str]]] = {}
    for node, own in nics.items():
        for nic in own:
            if nic.mac and nic.mac != _NO_MAC:
                entry = (not nic.addresses, bool(nic.master), node, nic.name)
                found.setdefault(nic.mac.lower(), []).append(entry)
    return {mac: tuple((node, nic) for _, _, node, nic in sorted(entries)) for mac, entries in found.items()}


def from_answers(answers: Iterable[Answer], nodes: Mapping[_Name, str]) -> dict[str, tuple[_Name, ...]]:
    """Return `by_arp` of `NodeMacs`: who answered for the nodes' own addresses. nodes: name -> address.

    Two MACs answering for one address prove nothing.
    """
    names: dict[Address, list[_Name]] = {}
    for name, text in nodes.items():
        names.setdefault(ip_address(text), []).append(name)
    macs: dict[Address, set[str]] = {}
    for answer in answers:
        if answer.ip in names:
            macs.setdefault(answer.ip, set()).add(answer.mac.lower())
    found: dict[str, tuple[_Name, ...]] = {}
    for address, heard in macs.items():
        if len(heard) == 1:
            (mac,) = heard
            found[mac] = (*found.get(mac, ()), *names[address])
    return found


def eui64_mac(ip: Address) -> str:
    """Return the MAC embedded in an IPv6 address (RFC 4291, appendix A), "" if there is none.

    >>> eui64_mac(ip_address("fe80::5054:ff:fe00:11"))
    '52:54:00:00:00:11'
    """
    if not isinstance(ip, IPv6Address):
        return ""
    tail = ip.packed[8:]
    if tail[3:5] != b"\xff\xfe":
        return ""
    return bytes([tail[0] ^ 0x02, *tail[1:3], *tail[5:]]).hex(":")


def link_local(mac: str) -> IPv6Address:
    """Return the IPv6 link-local address derived from a MAC.

    >>> link_local("52:54:00:00:00:11")
    IPv6Address('fe80::5054:ff:fe00:11')
    """
    first, *others = bytes.fromhex(mac.replace(":", ""))
    return IPv6Address(bytes([0xFE, 0x80, *[0] * 6, first ^ 2, *others[:2], 0xFF, 0xFE, *others[2:]]))


def _from_eui64(facts: Facts) -> dict[str, tuple[tuple[str, str], ...]]:
    found: dict[str, dict[tuple[str, str], None]] = {}
    for node in facts.nodes:
        own = [(ip_address(text), "") for text in node.internal_ips]
        # An interface with a known MAC is in the inventory; its addresses add nothing.
        own += [(ip_interface(text).ip, nic.name) for nic in node.nics or () if not nic.mac for text in nic.addresses]
        for ip, nic_name in own:
            if mac := eui64_mac(ip):
                found.setdefault(mac, {})[(node.name, nic_name)] = None
    return {mac: tuple(entries) for mac, entries in found.items()}


def kind(
    lengths: Collection[int], own_lengths: Collection[int], *, holds: bool | None, speaks: bool | None
) -> OwnerClass:
    """Return whether a node's kernel or MetalLB's speaker answers, "unknown" if nothing tells them apart.

    lengths: of the ARP replies for the address, in bytes without checksum; none for IPv6, whose replies are alike.
    own_lengths: of the node's kernel in the same run, for its own address. The kernel does not pad, the speaker does;
    a physical NIC pads both to 60. holds: the kernel has the address; speaks: the speaker reports that it answers.
    """
    if lengths:
        if max(lengths) < SHORTEST:
            return "kernel"  # the speaker pads every frame, and nothing on the way shortens one
        if own_lengths and max(own_lengths) < SHORTEST:
            return "speaker"  # the link does not pad, so the sender did
    if speaks:
        return "speaker"
    return "kernel" if holds else "unknown"

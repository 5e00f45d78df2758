"""What all addresses of a run share: known MACs, frames by address, the segment's subnets.

Built once per run, so that a sweep of thousands of addresses looks at each frame only once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import chain
from typing import Any, TypeVar

from provisioner.addresses import Range
from provisioner.l2 import owners, pools
from provisioner.l2.facts import Facts, Nic, Node, Service
from provisioner.l2.facts_values import interface
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Address, Announcement, Answer, Capture, Exchange, Handshake
from provisioner.l2.redundancy import Group, Master, groups

_Frame = TypeVar("_Frame", Answer, Announcement, Handshake, Exchange)
IPVS_NIC = "kube-ipvs0"  # where kube-proxy in IPVS mode assigns every Service's addresses


@dataclass(frozen=True)
class Segment:
    """A run's frames by address, and the facts. informed: whether there are any facts."""

    capture: Capture
    facts: Facts
    informed: bool
    answers: Mapping[Address, tuple[Answer, ...]] = field(default_factory=dict)
    announcements: Mapping[Address, tuple[Announcement, ...]] = field(default_factory=dict)
    handshakes: Mapping[Address, tuple[Handshake, ...]] = field(default_factory=dict)
    services: Mapping[Address, tuple[Service, ...]] = field(default_factory=dict)
    exchanges: Mapping[Address, tuple[Exchange, ...]] = field(default_factory=dict)
    cases: dict[Address, Any] = field(default_factory=dict, compare=False, repr=False)  # built so far, by `build_case`

    @cached_property
    def probes_work(self) -> bool:
        """Tell whether any host answered a probe from 0.0.0.0 (Z); ARP inspection drops them all."""
        return any(answer.kind is Kind.PROBE for answer in self.capture.answers)

    def unanswered_probes(self, mac: str) -> int:
        """Return how many probes from 0.0.0.0 a MAC left unanswered, about addresses for which it answers requests.

        0 if it answered any.
        """
        return self._unanswered_probes.get(mac, 0)

    @cached_property
    def _unanswered_probes(self) -> Mapping[str, int]:
        heard = {answer.mac for answer in self.capture.answers if answer.kind is Kind.PROBE}
        about = {(answer.mac, answer.ip) for answer in self.capture.answers if answer.kind is Kind.REQUEST}
        counts: Counter[str] = Counter()
        for mac, ip in about:
            if mac not in heard and Kind.PROBE in self.capture.asked.get(ip, ()):
                counts[mac] += self.capture.times.get(ip, {}).get(Kind.PROBE, 1)
        return counts

    @cached_property
    def gateways(self) -> Mapping[str, Address]:
        """Return the MACs of this machine's routers on the segment, from its neighbor cache and from the run."""
        found: dict[str, Address] = {}
        for router in self.capture.vantage.gateways:
            if mac := self.capture.vantage.neighbours.get(router, ""):
                found[mac.lower()] = router
            found.update({answer.mac: router for answer in self.answers.get(router, ())})
        return found

    @cached_property
    def known(self) -> owners.NodeMacs:
        """Return the known MACs of the nodes.

        A router or a proxy may answer for a node's address too, so its replies do not show whose the address is.
        """
        direct = [
            answer
            for answer in self.capture.answers
            if not (
                self.probes_work
                and Kind.PROBE in self.capture.asked.get(answer.ip, ())
                and not self.answered(answer.ip, answer.mac, Kind.PROBE)
            )
        ]
        return owners.from_facts(self.facts, direct, self.gateways)

    @cached_property
    def router_groups(self) -> tuple[Group, ...]:
        """Return the groups of VRRP, HSRP and CARP that were heard."""
        return groups(self.capture.routers)

    def masters_of(self, ip: Address) -> tuple[tuple[Group, Master], ...]:
        """Return who advertised an address, with the group."""
        return tuple((one, own) for one in self.router_groups for own in one.masters if ip in own.addresses)

    def node_at(self, ip: Address) -> str:
        """Return the name of the node that has an address of its own, "" for none."""
        return next((name for name, own in self.addresses.items() if ip in own), "")

    def answered(self, ip: Address, mac: str, kind: Kind) -> bool:
        """Tell whether a MAC answered that kind of request for an address."""
        return any(answer.mac == mac and answer.kind is kind for answer in self.answers.get(ip, ()))

    @cached_property
    def nodes_heard(self) -> bool:
        """Tell whether a node answered for any address, so that this is a segment of the nodes."""
        return any(self.known.owner(mac).nodes for mac in self._heard)

    @cached_property
    def overlapping_pools(self) -> tuple[str, str, Range] | None:
        """Return two pools that share addresses, and which, None if no two do."""
        return pools.overlap(self.facts.pools or ())

    def silent_nodes(self, version: int) -> tuple[tuple[str, Address], ...]:
        """Return the nodes with their own addresses of a family if all of them are silent; empty if one is not.

        Empty as well if none was asked, or if frames were dropped here.
        """
        own = [
            (node, ip) for node, ips in self.addresses.items() for ip in sorted(ips, key=int) if ip.version == version
        ]
        asked = [(node, ip) for node, ip in own if Kind.REQUEST in self.capture.asked.get(ip, ())]
        heard = any(self.answers.get(ip) for _, ip in asked)
        return () if heard or self.capture.dropped else tuple(asked)

    @cached_property
    def _heard(self) -> frozenset[str]:
        return frozenset(answer.mac for answer in self.capture.answers)

    @cached_property
    def addresses(self) -> Mapping[str, frozenset[Address]]:
        """Return each node's own addresses, without those that kube-proxy assigns for Services."""
        return {
            node.name: frozenset(
                chain(
                    (ip_address(text) for text in node.internal_ips),
                    (interface(text).ip for nic in node.nics or () if nic.name != IPVS_NIC for text in nic.addresses),
                )
            )
            for node in self.facts.nodes
        }

    def nic_here(self, nic: Nic) -> bool | None:
        """Tell whether a node's interface is on the probed segment; None if unknown."""
        vantage = self.capture.vantage
        if nic.mac and nic.mac in self._heard and len(self.known.owner(nic.mac).nodes) == 1:
            return True
        own = [interface(text) for text in nic.addresses]
        routed = [one for one in own if not one.ip.is_link_local and not one.ip.is_loopback]
        if any(vantage.on_link(one.ip) for one in routed):
            return True
        versions = {one.version for one in vantage.addresses if not one.ip.is_link_local}
        return False if any(one.version in versions for one in routed) else None

    def nics_here(self, node: Node) -> tuple[Nic, ...]:
        """Return the node's interfaces that are up and known to be on the segment, without bridge or bond ports."""
        return tuple(nic for nic in node.nics or () if not nic.master and nic.up is not False and self.nic_here(nic))

    @cached_property
    def subnets(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Return the subnets of the segment: this machine's, and those of the nodes' interfaces on it."""
        here = [nic for node in self.facts.nodes for nic in self.nics_here(node)]
        found = [one.network for one in self.capture.vantage.addresses]
        found += [own.network for own in (interface(text) for nic in here for text in nic.addresses)]
        # A /32 or /128 is not a subnet, and every interface has fe80::/64.
        return tuple(
            dict.fromkeys(net for net in found if net.prefixlen < net.max_prefixlen and not net.is_link_local)
        )

    def own_address(self, node: str) -> tuple[Address, bool] | None:
        """Return a probed address of a node's own, and whether it answered; None if none was probed."""
        probed = [ip for ip in sorted(self.addresses.get(node, ()), key=str) if self.capture.asked.get(ip)]
        answered = [ip for ip in probed if self.answers.get(ip)]
        return (answered[0], True) if answered else (probed[0], False) if probed else None

    def kernel_lengths(self, node: str, mac: str) -> tuple[int, ...]:
        """Return the lengths of the ARP replies of a node's kernel, which answers for the node's own addresses."""
        return tuple(
            answer.length
            for ip in self.addresses.get(node, ())
            if ip.version == 4 and ip not in self.services
            for answer in self.answers.get(ip, ())
            if answer.mac == mac
        )


def build_segment(capture: Capture, facts: Facts | None) -> Segment:
    """Return the segment of a run. facts: None if nothing is known about the cluster."""
    known = facts if facts is not None else Facts()
    services: dict[Address, tuple[Service, ...]] = {}
    for service in known.services or ():
        for ip in map(ip_address, service.ingress_ips):
            services[ip] = (*services.get(ip, ()), service)
    return Segment(
        capture,
        known,
        facts is not None,
        answers=_by_address(capture.answers),
        announcements=_by_address(capture.announcements),
        handshakes=_by_address(capture.handshakes),
        services=services,
        exchanges=_by_address(capture.exchanges),
    )


def _by_address(frames: Iterable[_Frame]) -> dict[Address, tuple[_Frame, ...]]:
    found: dict[Address, list[_Frame]] = {}
    for frame in frames:
        found.setdefault(frame.ip, []).append(frame)
    return {ip: tuple(own) for ip, own in found.items()}

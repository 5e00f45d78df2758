"""One address as the causes see it: who answers, who should, and what became of a connection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_interface

from provisioner.l2 import owners
from provisioner.l2.diagnosis import handover
from provisioner.l2.diagnosis.handover import Handover
from provisioner.l2.diagnosis.segment import IPVS_NIC, Segment
from provisioner.l2.election import predictor
from provisioner.l2.election.predictor import Prediction
from provisioner.l2.facts import Advertisement, Facts, Node, Pool, Service
from provisioner.l2.gratuitous import by_metallb
from provisioner.l2.pools import pool_of
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Address, Answer, Capture, Handshake, Outcome
from provisioner.l2.result import AddressOwner, OwnerClass


@dataclass(frozen=True)
class Case:
    """An address within a run. owners: those that answer now; left: who handed it over while it was asked for."""

    segment: Segment
    ip: Address
    services: tuple[Service, ...]
    pool: Pool | None
    prediction: Prediction
    owners: tuple[AddressOwner, ...]
    handover: Handover | None
    left: AddressOwner | None

    @property
    def facts(self) -> Facts:
        """Return the cluster's side."""
        return self.segment.facts

    @property
    def capture(self) -> Capture:
        """Return the run."""
        return self.segment.capture

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Return the answers for this address."""
        return self.segment.answers.get(self.ip, ())

    @property
    def asked(self) -> frozenset[Kind]:
        """Return the kinds of question that were asked."""
        return self.capture.asked.get(self.ip, frozenset())

    @property
    def questions(self) -> int:
        """Return how many questions went to everybody, of which a speaker that hears them counts each.

        Those from nobody are left out where nobody answers any: networks that inspect ARP drop them. So are direct
        ones, which makes up for one that is lost.
        """
        often = self.capture.times.get(self.ip) or dict.fromkeys(self.asked, 1)
        nobody = often.get(Kind.PROBE, 0) if self.segment.zero_works else 0
        return often.get(Kind.REQUEST, 0) + nobody

    @property
    def broadcast(self) -> bool:
        """Tell whether it was asked for by broadcast or multicast."""
        return bool(self.asked & {Kind.PROBE, Kind.REQUEST})

    @property
    def silent(self) -> bool:
        """Tell whether it was asked for and nobody answered in any way, and no frame of ours was lost here."""
        return self.broadcast and not self.answers and not self.capture.dropped

    @property
    def owner(self) -> AddressOwner | None:
        """Return the one owner, None for none and for several."""
        return self.owners[0] if len(self.owners) == 1 else None

    @property
    def source(self) -> Address | None:
        """Return the prober's address from which it asked as a client."""
        own = [one for one in self.capture.vantage.addresses if one.version == self.ip.version]
        local = [one for one in own if one.ip.is_link_local]
        near = [one for one in own if self.ip in one.network]
        ordered = [*local, *near, *own] if self.ip.version == 6 else [*near, *own]
        return ordered[0].ip if ordered else None

    @property
    def client(self) -> Address | None:
        """Return the prober's address from which its connections come; None when that is not clear."""
        own = [one for one in self.capture.vantage.addresses if one.version == self.ip.version]
        own = [one for one in own if not one.ip.is_link_local]
        near = [one for one in own if self.ip in one.network]
        return next((one.ip for one in [*near, *own]), None)

    @property
    def service(self) -> Service | None:
        """Return the first of the Services that have the address."""
        return self.services[0] if self.services else None

    @property
    def unassigned(self) -> bool:
        """Tell whether it is known that no Service has the address."""
        return self.facts.services is not None and not self.services

    @property
    def leader(self) -> str:
        """Return the node that should announce it, its speaker being up; "" for nobody and for unknown.

        Speakers may run on some nodes only. So one without is left out where another node answers, unless there is
        evidence that a speaker is due there.
        """
        would = self.prediction.would_lead
        answered = any(seen.node for seen in self.owners)
        return self.prediction.leader if not would or (answered and not self.speaker_due(would)) else would

    def speaker_due(self, node: str) -> bool:
        """Tell whether a speaker should run on a node: it has one, or the DaemonSets want more than there are."""
        known = self.facts.node(node)
        return known is None or known.speaker != "missing" or self.speakers_lacking > 0

    @property
    def speakers_lacking(self) -> int:
        """Return how many speakers more MetalLB's DaemonSets want than there are; 0 where it is not known."""
        wanted = self.facts.metallb.speakers_wanted
        there = sum(node.speaker in ("ready", "failing") for node in self.facts.nodes)
        return max(0, wanted - there) if wanted is not None else 0

    @property
    def leading(self) -> Node | None:
        """Return that node."""
        return self.facts.node(self.leader) if self.leader else None

    @cached_property
    def advertisements(self) -> tuple[Advertisement, ...] | None:
        """Return the advertisements that announce it; None when unknown."""
        return predictor.advertisements_for(self.facts, self.ip, self.service)

    @cached_property
    def endpoints(self) -> frozenset[str] | None:
        """Return the nodes with a ready endpoint of any of its Services ("" for none); None when unknown."""
        if not self.services or any(service.endpoints is None for service in self.services):
            return None
        return frozenset(one.node for service in self.services for one in service.endpoints or () if one.ready)

    @property
    def tcp_ports(self) -> tuple[int, ...] | None:
        """Return its Services' TCP ports, empty when all are UDP or SCTP; None when the ports are unknown."""
        ports = [port for service in self.services for port in service.ports]
        if not self.services or any(not service.ports for service in self.services):
            return None
        return tuple(dict.fromkeys(port.port for port in ports if port.protocol.upper() == "TCP"))

    def outcomes(self, mac: str) -> dict[int, Outcome]:
        """Return what became of the connections through an owner, the best outcome of each port.

        Of other ports than its Services' nothing is said.
        """
        order: tuple[Outcome, ...] = ("open", "refused", "unreachable", "silent")
        found: dict[int, Outcome] = {}
        for one in self.handshakes(mac):
            before = found.get(one.port, "silent")
            found[one.port] = min(before, one.outcome, key=order.index)
        wanted = self.tcp_ports
        return {port: outcome for port, outcome in sorted(found.items()) if wanted is None or port in wanted}

    def handshakes(self, mac: str) -> tuple[Handshake, ...]:
        """Return the connections that were tried through an owner."""
        return tuple(one for one in self.segment.handshakes.get(self.ip, ()) if one.mac == mac)

    def served(self, mac: str) -> bool | None:
        """Tell whether every port that was tried through an owner is open; None when none was tried."""
        outcomes = self.outcomes(mac)
        return all(outcome == "open" for outcome in outcomes.values()) if outcomes else None

    def holds(self, node: str) -> bool | None:
        """Tell whether a node's kernel has the address, so that it answers for it; None when unknown."""
        known, proxy = self.facts.node(node), self.facts.kube_proxy
        if self.carriers(node) or (self.services and proxy.mode == "ipvs" and proxy.strict_arp is False):
            return True
        if known is None or known.nics is None:
            return None
        by_proxy = any(
            nic.name == IPVS_NIC and any(ip_interface(text).ip == self.ip for text in nic.addresses)
            for nic in known.nics
        )
        return None if by_proxy and proxy.strict_arp is None else False

    def carriers(self, node: str) -> tuple[tuple[str, str], ...]:
        """Return a node's interfaces that have the address configured, with its prefix; kube-proxy's is left out."""
        known = self.facts.node(node)
        return tuple(
            (nic.name, text)
            for nic in (known.nics if known is not None else None) or ()
            for text in nic.addresses
            if nic.name != IPVS_NIC and ip_interface(text).ip == self.ip
        )

    def speaks(self, node: str, mac: str) -> bool:
        """Tell whether MetalLB says, or shows by its kind of announcement, that it answers from a node."""
        said = any(
            one.node == node and one.service in {service.key for service in self.services}
            for one in self.facts.l2_status or ()
        )
        sent = (self.responses(node) or 0) > 0
        own = self.segment.announcements.get(self.ip, ())
        return said or sent or by_metallb([one for one in own if one.mac == mac])

    def responses(self, node: str) -> int | None:
        """Return how many responses a node's speaker says it sent during the run; None when it is unknown."""
        return self._counted(node, "responses_sent")

    def requests(self, node: str) -> int | None:
        """Return how many requests a node's speaker says it received during the run; None when it is unknown."""
        return self._counted(node, "requests_received")

    def _counted(self, node: str, name: str) -> int | None:
        before, after = self.facts.metrics, self.facts.metrics_after
        if before is None or after is None or node not in before or node not in after:
            return None
        # A counter appears with its first event; until then it is 0.
        first, last = before[node].get(str(self.ip)), after[node].get(str(self.ip))
        grown = (getattr(last, name) if last else 0) - (getattr(first, name) if first else 0)
        return grown if grown >= 0 else None  # the speaker was restarted in between


def build_case(segment: Segment, ip: Address) -> Case:
    """Return an address's case."""
    services = segment.services.get(ip, ())
    pool = pool_of(segment.facts, ip)
    if segment.informed:
        prediction = predictor.predict(segment.facts, ip, services[0] if services else None)
    else:
        prediction = Prediction(None, unknown=("nothing is known of the cluster",))
    bare = Case(segment, ip, services, pool, prediction, (), None, None)
    seen = tuple(_seen(bare, mac) for mac in dict.fromkeys(answer.mac for answer in bare.answers))
    moved = handover.find(bare.answers, segment.announcements.get(ip, ())) if _both_nodes(seen) else None
    left = next((one for one in seen if moved and one.mac == moved.old), None)
    stay = tuple(one for one in seen if one is not left)
    return Case(segment, ip, services, pool, prediction, stay, moved, left)


def _both_nodes(seen: tuple[AddressOwner, ...]) -> bool:
    """Tell whether two different nodes answered: only between nodes is an address handed over."""
    nodes = [one.node for one in seen]
    return len(nodes) == 2 and all(nodes) and nodes[0] != nodes[1]


def _seen(case: Case, mac: str) -> AddressOwner:
    known = case.segment.known
    whose = known.owner(mac)
    own = [answer for answer in case.answers if answer.mac == mac]
    maker = "" if whose.nodes else owners.vendor(mac)
    kind: OwnerClass
    if known.is_foreign(mac):
        kind = "foreign"
    elif whose.node:
        lengths = [answer.length for answer in own] if case.ip.version == 4 else []
        kind = owners.kind(
            lengths,
            case.segment.kernel_lengths(whose.node, mac),
            holds=case.holds(whose.node),
            speaks=case.speaks(whose.node, mac),
        )
    else:
        kind = "unknown"
    return AddressOwner(
        mac,
        whose.node,
        whose.nic,
        whose.nodes,
        kind,
        whose.matched_by or ("vendor" if maker else ""),
        maker,
        tuple(dict.fromkeys(answer.kind.value for answer in own)),
        tuple(round(answer.rtt * 1e6) for answer in own),
    )

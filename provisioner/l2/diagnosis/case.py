"""One address with everything a cause may ask about it: owners, the predicted leader, TCP outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from provisioner.l2 import macs, owners
from provisioner.l2.diagnosis import handover
from provisioner.l2.diagnosis.handover import Handover
from provisioner.l2.diagnosis.segment import IPVS_NIC, Segment
from provisioner.l2.election import elsewhere, predictor
from provisioner.l2.election.predictor import Prediction
from provisioner.l2.facts import Advertisement, Facts, Node, Pool, Service
from provisioner.l2.facts_values import interface
from provisioner.l2.gratuitous import by_metallb
from provisioner.l2.pools import pool_of
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Address, Answer, Capture, Handshake, Outcome
from provisioner.l2.result import AddressOwner, OwnerClass
from provisioner.l2.targets import API_KEY


@dataclass(frozen=True)
class Case:
    """An address within a run. owners: who answers now; previous_owner: who handed it over during the run.

    services: all that have the address; judged: those in question.
    """

    segment: Segment
    ip: Address
    services: tuple[Service, ...]
    pool: Pool | None
    prediction: Prediction
    owners: tuple[AddressOwner, ...]
    handover: Handover | None
    previous_owner: AddressOwner | None
    judged: tuple[Service, ...] = ()

    @property
    def facts(self) -> Facts:
        """Return the cluster's facts."""
        return self.segment.facts

    @property
    def capture(self) -> Capture:
        """Return the run's capture."""
        return self.segment.capture

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Return the replies for this address."""
        return self.segment.answers.get(self.ip, ())

    @property
    def kinds_sent(self) -> frozenset[Kind]:
        """Return the kinds of request that were sent."""
        return self.capture.asked.get(self.ip, frozenset())

    @property
    def request_count(self) -> int:
        """Return the number of broadcast requests, each of which a speaker that receives it counts.

        Probes from 0.0.0.0 are left out if no host answers any: ARP inspection drops them. So are unicast requests,
        which allows for one lost frame.
        """
        counts = self.capture.times.get(self.ip) or dict.fromkeys(self.kinds_sent, 1)
        probes = counts.get(Kind.PROBE, 0) if self.segment.probes_work else 0
        return counts.get(Kind.REQUEST, 0) + probes

    @property
    def probed(self) -> bool:
        """Tell whether a request was sent by broadcast or multicast."""
        return bool(self.kinds_sent & {Kind.PROBE, Kind.REQUEST})

    @property
    def silent(self) -> bool:
        """Tell whether it was probed without any reply, and this machine's kernel dropped no frame."""
        return self.probed and not self.answers and not self.capture.dropped

    @property
    def owner(self) -> AddressOwner | None:
        """Return the only owner, None for none or several."""
        return self.owners[0] if len(self.owners) == 1 else None

    @property
    def source(self) -> Address | None:
        """Return the source address of this machine's requests."""
        own = [one for one in self.capture.vantage.addresses if one.version == self.ip.version]
        local = [one for one in own if one.ip.is_link_local]
        near = [one for one in own if self.ip in one.network]
        ordered = [*local, *near, *own] if self.ip.version == 6 else [*near, *own]
        return ordered[0].ip if ordered else None

    @property
    def client(self) -> Address | None:
        """Return the source address of this machine's TCP connections, None if it is ambiguous."""
        own = [one for one in self.capture.vantage.addresses if one.version == self.ip.version]
        own = [one for one in own if not one.ip.is_link_local]
        near = [one for one in own if self.ip in one.network]
        return next((one.ip for one in [*near, *own]), None)

    @property
    def service(self) -> Service | None:
        """Return the first Service that has the address."""
        return self.services[0] if self.services else None

    @property
    def by_metallb(self) -> bool:
        """Tell whether MetalLB announces it, as far as is known."""
        return all(elsewhere.by_metallb(self.facts, service) for service in self.services)

    @property
    def is_api(self) -> bool:
        """Tell whether it is the API's own address."""
        return any(service.key == API_KEY for service in self.services)

    @property
    def unassigned(self) -> bool:
        """Tell whether the Services are known and none has the address."""
        return self.facts.services is not None and not self.services

    @property
    def leader(self) -> str:
        """Return the node that should announce the address if its speaker is up; "" for none and for unknown.

        Speakers may be limited to some nodes. If another node answers, a node without a speaker does not count, unless
        a speaker is due there.
        """
        would = self.prediction.would_lead
        answered = any(owner.node for owner in self.owners)
        return self.prediction.leader if not would or (answered and not self.speaker_due(would)) else would

    def speaker_due(self, node: str) -> bool:
        """Tell whether a speaker should run on a node: it has one, or the DaemonSets want more than exist."""
        known = self.facts.node(node)
        return known is None or known.speaker != "missing" or self.speakers_lacking > 0

    @property
    def speakers_lacking(self) -> int:
        """Return how many speakers MetalLB's DaemonSets are short of; 0 if unknown."""
        wanted = self.facts.metallb.speakers_wanted
        running = sum(node.speaker in ("ready", "failing") for node in self.facts.nodes)
        return max(0, wanted - running) if wanted is not None else 0

    @property
    def leader_node(self) -> Node | None:
        """Return the facts of the leader, None without one."""
        return self.facts.node(self.leader) if self.leader else None

    @cached_property
    def advertisements(self) -> tuple[Advertisement, ...] | None:
        """Return the L2Advertisements that cover it; None if unknown."""
        return predictor.advertisements_for(self.facts, self.ip, self.service)

    @cached_property
    def endpoints(self) -> frozenset[str] | None:
        """Return the nodes with a ready endpoint of any of its Services ("" for no node); None if unknown."""
        if not self.services or any(service.endpoints is None for service in self.services):
            return None
        return frozenset(one.node for service in self.services for one in service.endpoints or () if one.ready)

    @property
    def tcp_ports(self) -> tuple[int, ...] | None:
        """Return the judged Services' TCP ports, empty if all are UDP or SCTP; None if the ports are unknown."""
        ports = [port for service in self.judged for port in service.ports]
        if not self.judged or any(not service.ports for service in self.judged):
            return None
        return tuple(dict.fromkeys(port.port for port in ports if port.protocol.upper() == "TCP"))

    def outcomes(self, mac: str) -> dict[int, Outcome]:
        """Return the best outcome of each TCP port of the judged Services, of the connections through an owner."""
        order: tuple[Outcome, ...] = ("open", "refused", "unreachable", "silent")
        found: dict[int, Outcome] = {}
        for one in self.handshakes(mac):
            if one.protocol != "TCP":
                continue
            before = found.get(one.port, "silent")
            found[one.port] = min(before, one.outcome, key=order.index)
        wanted = self.tcp_ports
        return {port: outcome for port, outcome in sorted(found.items()) if wanted is None or port in wanted}

    def handshakes(self, mac: str) -> tuple[Handshake, ...]:
        """Return the connections tried through an owner."""
        return tuple(one for one in self.segment.handshakes.get(self.ip, ()) if one.mac == mac)

    def served(self, mac: str) -> bool | None:
        """Tell whether every port tried through an owner is open; None if none was tried."""
        outcomes = self.outcomes(mac)
        return all(outcome == "open" for outcome in outcomes.values()) if outcomes else None

    def kernel_has(self, node: str) -> bool | None:
        """Tell whether a node's kernel has the address, and therefore answers for it; None if unknown."""
        known, proxy = self.facts.node(node), self.facts.kube_proxy
        if self.configured_on(node) or (self.services and proxy.mode == "ipvs" and proxy.strict_arp is False):
            return True
        if known is None or known.nics is None:
            return None
        by_proxy = any(
            nic.name == IPVS_NIC and any(interface(text).ip == self.ip for text in nic.addresses) for nic in known.nics
        )
        return None if by_proxy and proxy.strict_arp is None else False

    def configured_on(self, node: str) -> tuple[tuple[str, str], ...]:
        """Return a node's interfaces with the address, and it with its prefix; kube-proxy's interface is excluded."""
        known = self.facts.node(node)
        return tuple(
            (nic.name, text)
            for nic in (known.nics if known is not None else None) or ()
            for text in nic.addresses
            if nic.name != IPVS_NIC and interface(text).ip == self.ip
        )

    def speaker_answers(self, node: str, mac: str) -> bool:
        """Tell whether MetalLB's status, counters or gratuitous ARP show that it announces from a node."""
        keys = {service.key for service in self.services}
        status = any(one.node == node and one.service in keys for one in self.facts.l2_status or ())
        sent = (self.responses_sent(node) or 0) > 0
        frames = self.segment.announcements.get(self.ip, ())
        return status or sent or by_metallb([frame for frame in frames if frame.mac == mac])

    def asked_times(self, owner: AddressOwner) -> dict[Kind, int]:
        """Return how many requests of each kind an owner should have answered."""
        counts = self.capture.times.get(self.ip) or {}
        broadcast = [kind for kind in (Kind.PROBE, Kind.REQUEST) if kind in self.kinds_sent]
        found: dict[Kind, int] = {kind: counts.get(kind, 1) for kind in broadcast}
        if owner.mac in self.capture.unicast_to.get(self.ip, ()):
            found[Kind.UNICAST] = self.capture.unicast_times.get(self.ip, {}).get(owner.mac, 1)
        return found

    def answered_times(self, owner: AddressOwner) -> dict[Kind, int]:
        """Return how many of `asked_times` an owner answered."""
        heard = handover.answered_times(self.capture, self.ip, owner.mac)
        return {kind: min(asked, heard[kind]) for kind, asked in self.asked_times(owner).items()}

    def responses_sent(self, node: str) -> int | None:
        """Return how many responses a node's speaker sent during the run, by its counters; None if unknown."""
        return self._counted(node, "responses_sent")

    def requests_received(self, node: str) -> int | None:
        """Return how many requests a node's speaker received during the run, by its counters; None if unknown."""
        return self._counted(node, "requests_received")

    def _counted(self, node: str, name: str) -> int | None:
        before, after = self.facts.metrics, self.facts.metrics_after
        if before is None or after is None or node not in before or node not in after:
            return None
        # A counter is absent until its first event.
        first, last = before[node].get(str(self.ip)), after[node].get(str(self.ip))
        increase = (getattr(last, name) if last else 0) - (getattr(first, name) if first else 0)
        return increase if increase >= 0 else None  # the speaker restarted in between


def build_case(segment: Segment, ip: Address, judged: tuple[str, ...] = ()) -> Case:
    """Return the case of one address. judged: namespace/name of the Services in question; all without any."""
    if judged:
        return _build(segment, ip, judged)
    if ip not in segment.cases:
        segment.cases[ip] = _build(segment, ip, judged)
    found: Case = segment.cases[ip]
    return found


def _build(segment: Segment, ip: Address, judged: tuple[str, ...]) -> Case:
    services = segment.services.get(ip, ())
    pool = pool_of(segment.facts, ip)
    if segment.informed:
        # A Service without a ready endpoint is not announced, whatever the others do that share the address.
        active = [one for one in services if one.endpoints is None or any(point.ready for point in one.endpoints)]
        prediction = predictor.predict(segment.facts, ip, next(iter([*active, *services]), None))
    else:
        prediction = Prediction(None, unknown=("nothing is known about the cluster",))
    chosen = tuple(one for one in services if one.key in judged) or services
    bare = Case(segment, ip, services, pool, prediction, (), None, None, chosen)
    heard = tuple(_owner(bare, mac) for mac in dict.fromkeys(answer.mac for answer in bare.answers))
    steady = _two_nodes(heard) and not handover.takes_turns(bare.answers)
    moved = handover.find(bare.answers, segment.announcements.get(ip, ())) if steady else None
    previous = next((owner for owner in heard if moved and owner.mac == moved.old), None)
    current = tuple(owner for owner in heard if owner is not previous)
    return Case(segment, ip, services, pool, prediction, current, moved, previous, chosen)


def _two_nodes(heard: tuple[AddressOwner, ...]) -> bool:
    """Tell whether two different nodes answered: an address is handed over between nodes only."""
    nodes = [owner.node for owner in heard]
    return len(nodes) == 2 and all(nodes) and nodes[0] != nodes[1]


def _owner(case: Case, mac: str) -> AddressOwner:
    known = case.segment.known
    whose = known.owner(mac)
    own = [answer for answer in case.answers if answer.mac == mac]
    vendor = "" if whose.nodes else macs.vendor(mac)
    kind: OwnerClass
    if known.is_foreign(mac):
        kind = "foreign"
    elif whose.node:
        lengths = [answer.length for answer in own] if case.ip.version == 4 else []
        kind = owners.kind(
            lengths,
            case.segment.kernel_lengths(whose.node, mac),
            holds=case.kernel_has(whose.node),
            speaks=case.speaker_answers(whose.node, mac),
        )
    else:
        kind = "unknown"
    if kind == "speaker" and not case.by_metallb:
        kind = "unknown"  # another program sends such replies too
    return AddressOwner(
        mac,
        whose.node,
        whose.nic,
        whose.nodes,
        kind,
        whose.matched_by or ("vendor" if vendor else ""),
        vendor,
        tuple(dict.fromkeys(answer.kind.value for answer in own)),
        tuple(round(answer.rtt * 1e6) for answer in own),
    )

"""Whether each Service in question is reached on each of its ports: several connections a port, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import name
from provisioner.l2.facts import Port, Service
from provisioner.l2.probe import udp_questions
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Handshake
from provisioner.l2.result import AddressOwner
from provisioner.text import join_words, pluralize

_DIRECTIONS = {"refused": "refused", "unreachable": "answered by an ICMP error", "silent": "unanswered"}


@dataclass(frozen=True)
class PortState:
    """What became of the connections to one port of a Service through an owner; none: it was not tried."""

    service: Service
    port: Port
    tried: tuple[Handshake, ...]

    @property
    def label(self) -> str:
        """Return protocol and number: "UDP port 53"."""
        return f"{self.port.protocol.upper()} port {self.port.port}"

    @property
    def asked(self) -> str:
        """Return the protocol that a UDP port was asked in."""
        return udp_questions.protocol_of(self.port.port, self.port.name, self.port.app_protocol)

    @property
    def opened(self) -> int:
        """Return how many connections were accepted, or questions answered."""
        return sum(one.outcome == "open" for one in self.tried)

    @property
    def resent(self) -> int:
        """Return how many connections were accepted only after their SYN or question was sent again.

        A refusal may be late without a loss: hosts limit the rate of ICMP errors.
        """
        return sum(one.tries > 1 and one.outcome == "open" for one in self.tried)

    @property
    def failed(self) -> Counter[str]:
        """Return how many connections failed, by outcome."""
        return Counter(one.outcome for one in self.tried if one.outcome != "open")

    @property
    def works(self) -> bool:
        """Tell whether every connection worked, at the first try."""
        return bool(self.tried) and self.opened == len(self.tried) and not self.resent

    @property
    def sentence(self) -> str:
        """Return how often it opened: "TCP port 80 opened 9 of 10 times (1 refused)"."""
        verb = "answered" if self.port.protocol.upper() == "UDP" else "opened"
        asked = f" ({self.asked})" if self.asked and verb == "answered" else ""
        count = len(self.tried)
        if not self.tried:
            return f"{self.label} was not tried"
        notes = [f"{many} {_DIRECTIONS[outcome]}" for outcome, many in sorted(self.failed.items())]
        notes += [f"{self.resent} only when asked again"] if self.resent else []
        often = f"{self.opened} of {pluralize(count, 'time')}"
        return f"{self.label}{asked} {verb} {often}{f' ({join_words(notes)})' if notes else ''}"


def port_states(case: Case, owner: AddressOwner) -> tuple[PortState, ...]:
    """Return the state of each port of the Services in question, through an owner."""
    shakes = case.handshakes(owner.mac)
    return tuple(
        PortState(
            service,
            port,
            tuple(one for one in shakes if (one.port, one.protocol) == (port.port, port.protocol.upper())),
        )
        for service in case.judged
        for port in service.ports
    )


def covered(states: Iterable[PortState]) -> str:
    """Return what was tried and what not, ports alike together: "TCP 80 and 443 opened 10 of 10 times; …"."""
    grouped: dict[tuple[str, str], list[int]] = {}
    for state in states:
        protocol, count = state.port.protocol.upper(), len(state.tried)
        verb = f"answered {state.asked}" if protocol == "UDP" else "opened"
        how = f"{verb} {state.opened} of {pluralize(count, 'time')}" if count else "not tried"
        ports = grouped.setdefault((protocol, how), [])
        if state.port.port not in ports:
            ports.append(state.port.port)
    return "; ".join(f"{protocol} {join_words(_short(ports))} {how}" for (protocol, how), ports in grouped.items())


def _short(ports: list[int]) -> list[str]:
    return [*map(str, ports[:8]), *([f"{len(ports) - 8} more"] if len(ports) > 8 else [])]


def service_without_endpoints(case: Case) -> Cause | None:
    """NO_ENDPOINTS: a Service in question has no ready endpoint and no port that answers, though the address does.

    The address is announced for another Service that shares it, or by a program that does not look at endpoints.
    """
    owner = case.owner
    if owner is None or not (owner.nodes or case.is_api):
        return None
    states = port_states(case, owner)
    for service in case.judged:
        own = [state for state in states if state.service is service]
        if service.endpoints is None or any(one.ready for one in service.endpoints) or any(one.opened for one in own):
            continue
        count = len(service.endpoints)
        what = f"{pluralize(count, 'endpoint')}, none ready" if count else "no endpoints"
        others = [one.key for one in case.services if one is not service]
        shared = f"{name(owner)} answers for {case.ip}, which {join_words(others)} shares." if others else ""
        tried = [f"Through {name(owner)}, {state.sentence}." for state in own]
        evidence = (f"Service {service.key} has {what}.", *tried, *([shared] if shared else []))
        return Cause("NO_ENDPOINTS", "certain", evidence, fields=service_fields(service), explains=("NOT_SERVING",))
    return None


def backend_partly_dead(case: Case) -> Cause | None:
    """BACKEND_PARTLY_DEAD: some connections to a port succeed, and others are refused or stay silent throughout.

    A SYN that is sent again within its connection goes to the same endpoint, so loss does not explain the silence.
    """
    owner = case.owner
    if owner is None or not (owner.nodes or case.is_api):
        return None
    for state in port_states(case, owner):
        failed, silent = sum(state.failed.values()), state.failed["silent"]
        if not state.opened or not failed or (silent == failed and state.resent >= silent):
            continue
        where = sorted({one.node for one in state.service.endpoints or () if one.ready and one.node})
        evidence = [f"Through {name(owner)}, {state.sentence}."]
        if where:
            evidence.append(f"The ready endpoints of {state.service.key} are on {join_words(where)}.")
        others = ("LOSSY",) if silent == failed else ("NOT_SERVING",)
        return Cause(
            "BACKEND_PARTLY_DEAD",
            "likely",
            tuple(evidence),
            others,
            service_fields(state.service),
            explains=("LOSSY",),
        )
    return None


def lossy(case: Case) -> Cause | None:
    """LOSSY: connections or requests are answered only when sent again, or some of the requests are not answered."""
    owner = case.owner
    if owner is None or not (owner.nodes or case.is_api):
        return None
    states = [state for state in port_states(case, owner) if state.tried]
    lost = [state for state in states if state.opened and (state.resent or state.failed["silent"])]
    asked, heard = counted_requests(case, owner)
    requests = asked - heard > 1 and case.handover is None  # the new owner cannot have answered the old one's
    if not lost and not requests:
        return None
    evidence = [f"Through {name(owner)}, {state.sentence}." for state in lost]
    if requests:
        evidence.append(requests_sentence(case, owner))
    evidence += [f"Through {name(owner)}, {state.sentence}." for state in states if state not in lost]
    fields = {"node": owner.node, **({"nic": owner.nic} if owner.nic else {})} if owner.node else {}
    return Cause("LOSSY", "likely", tuple(evidence), fields=fields)


def counted_requests(case: Case, owner: AddressOwner) -> tuple[int, int]:
    """Return how many ARP or NDP requests an owner should have answered, and how many it did.

    A kind that it never answers is not lost: it does not answer that kind.
    """
    asked, heard = case.asked_times(owner), case.answered_times(owner)
    kinds = [kind for kind in asked if heard[kind]]
    return sum(asked[kind] for kind in kinds), sum(heard[kind] for kind in kinds)


def requests_sentence(case: Case, owner: AddressOwner) -> str:
    """Return how many requests an owner answered."""
    asked, heard = counted_requests(case, owner)
    what = "ARP requests" if case.ip.version == 4 else "neighbor solicitations"
    return f"{name(owner)} answered {heard} of {asked} {what} for {case.ip}."


def is_served(case: Case, owner: AddressOwner) -> bool:
    """Tell whether it is proven that the Services in question are reached.

    Every port that can be tried was, each time with success. Ports that cannot be tried are named, never counted; a
    Service with only such must have an endpoint.
    """
    states = port_states(case, owner)
    if not case.judged:  # the Services are unknown
        return case.served(owner.mac) is True
    tried = [state for state in states if state.tried]
    if any(not state.works for state in tried):
        return False
    for service in case.judged:
        own = [state for state in states if state.service is service]
        if any(state.tried for state in own):
            continue
        triable = any(state.port.protocol.upper() == "TCP" or state.asked for state in own)
        if not own or triable or not (service.endpoints is None or any(one.ready for one in service.endpoints)):
            return False
    return True


def requests_lost(case: Case) -> str:
    """Return the sentence on a single request that was not answered; "" without one."""
    owner = case.owner
    if owner is None or case.handover is not None or not {Kind.PROBE.value, Kind.REQUEST.value} & set(owner.answered):
        return ""
    asked, heard = counted_requests(case, owner)
    return requests_sentence(case, owner) if heard < asked else ""


def service_fields(service: Service) -> dict[str, str]:
    """Return the placeholders that name one of the Services."""
    return {"namespace": service.namespace, "name": service.name, "service": service.key}

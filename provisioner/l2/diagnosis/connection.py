"""Addresses that the right node answers for, but whose Service is unreachable."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import name
from provisioner.l2.diagnosis.serving import PortState, port_states, service_fields
from provisioner.l2.facts_values import interface
from provisioner.l2.result import AddressOwner, Confidence
from provisioner.text import join_words

_OUTCOMES = {
    "open": "is open",
    "refused": "is refused",
    "unreachable": "is unreachable (ICMP error)",
    "silent": "does not answer",
}


def connections(case: Case, owner: AddressOwner) -> str:
    """Return what became of the connections through an owner: "TCP port 80 is open (10 of 10)"; "" for none."""
    found = [_outcome(state) for state in port_states(case, owner) if state.tried]
    if not case.judged:
        found = [f"TCP port {port} {_OUTCOMES[outcome]}" for port, outcome in case.outcomes(owner.mac).items()]
    return f"Through {name(owner)}, {join_words(dict.fromkeys(found))}." if found else ""


def _outcome(state: PortState) -> str:
    """Return the outcome of a port: in words if all its connections had the same, else counted."""
    outcomes = {one.outcome for one in state.tried}
    if len(outcomes) > 1 or state.resent:
        return state.sentence
    (outcome,) = outcomes
    count = len(state.tried)
    answered = state.port.protocol.upper() == "UDP" and outcome == "open"
    verb = f"answers {state.asked} questions" if answered else _OUTCOMES[outcome]
    often = f" ({0 if outcome == 'silent' else count} of {count})" if count > 1 else ""
    return f"{state.label} {verb}{often}"


def return_path(case: Case) -> Cause | None:
    """RETURN_PATH: the right node answers ARP, and connections are lost, most often on the way back."""
    owner = case.owner
    if owner is None or not owner.node or _blocked(case, owner):
        return None
    if set(case.outcomes(owner.mac).values()) != {"silent"}:
        return None  # a port that answers, even by a RST, shows that the path works
    fields = {"node": owner.node, **({"nic": owner.nic} if owner.nic else {})}
    node = case.facts.node(owner.node)
    nic = next((one for one in (node.nics if node else None) or () if one.name == owner.nic), None)
    tried = connections(case, owner)
    if nic is not None:
        own = [interface(text) for text in nic.addresses]
        if not any(one.version == case.ip.version for one in own):
            why = f"{owner.node}'s {owner.nic} has no IPv{case.ip.version} address of its own."
            return Cause("RETURN_PATH", "certain", (why, tried), fields=fields)
        source = case.client
        if source is not None and not any(one.version == source.version and source in one.network for one in own):
            why = f"{source}, this machine, is in no subnet of {owner.node}'s {owner.nic}, so replies are routed."
            return Cause("RETURN_PATH", "likely", (why, tried), ("NOT_SERVING",), fields)
    return Cause("RETURN_PATH", "possible", (tried,), ("NOT_SERVING",), fields)


def not_serving(case: Case) -> Cause | None:
    """NOT_SERVING: the right node answers ARP, and connections are refused, or dropped for a known reason.

    A UDP port that answers no question of its protocol is not served either, or another protocol is spoken there.
    """
    owner = case.owner
    if owner is None or not owner.node:
        return None
    tried = connections(case, owner)
    states = [state for state in port_states(case, owner) if state.tried]
    failing = [state for state in states if not state.opened]
    if not failing:
        return None
    fields = service_fields(failing[0].service)
    if why := _blocked(case, owner):
        return Cause("NOT_SERVING", "certain", (tried, why), fields=fields, explains=_PATH)
    udp = [state for state in failing if state.port.protocol.upper() == "UDP"]
    refused = any(state.failed["silent"] < len(state.tried) for state in failing)
    if refused or len(failing) < len(states):
        sure: Confidence = "certain" if refused or len(udp) < len(failing) else "likely"
        return Cause("NOT_SERVING", sure, (tried, *_other_protocol(udp)), fields=fields, explains=_PATH)
    sure = "likely" if len(udp) == len(states) else "possible"
    return Cause("NOT_SERVING", sure, (tried, *_other_protocol(udp)), ("RETURN_PATH",), fields)


_PATH = ("RETURN_PATH", "SPOOF_GUARD", "LOSSY")


def _other_protocol(states: Sequence[PortState]) -> tuple[str, ...]:
    named = [f"{state.asked} on {state.port.port}" for state in states]
    return (f"Or it does not speak {join_words(named, 'or')}.",) if named else ()


def _blocked(case: Case, owner: AddressOwner) -> str:
    """Return why the Service itself admits no connection from here through that node, "" without a reason."""
    for service in case.judged:
        source = case.client
        ranges = [ip_network(text, strict=False) for text in service.source_ranges]
        if ranges and source is not None and not any(source in net for net in ranges if net.version == source.version):
            admitted = join_words(service.source_ranges)
            return f"Service {service.key} admits only {admitted} (loadBalancerSourceRanges), not {source}."
    if case.endpoints is not None and not case.endpoints:
        return f"Service {join_words(service.key for service in case.services)} has no ready endpoints."
    local = bool(case.judged) and all(one.external_traffic_policy == "Local" for one in case.judged)
    if local and case.endpoints is not None and owner.node not in case.endpoints:
        return f"externalTrafficPolicy is Local, and {owner.node} has no ready endpoint."
    return ""


def stale_cache(case: Case) -> Cause | None:
    """STALE_CACHE: the right node answers, and this machine's neighbor cache still has another MAC."""
    cached, owner = case.capture.vantage.neighbours.get(case.ip, "").lower(), case.owner
    if not cached or owner is None or not owner.node or cached == owner.mac:
        return None
    before = case.segment.known.owner(cached)
    whose = f" ({before.node})" if before.node else ""
    what = f"This machine's neighbor cache has {cached}{whose} for {case.ip}, but {name(owner)} answers now."
    return Cause("STALE_CACHE", "certain", (what, *filter(None, [connections(case, owner)])))

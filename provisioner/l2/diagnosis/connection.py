"""Addresses that the right node answers for, but whose Service is unreachable."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import name
from provisioner.l2.result import AddressOwner
from provisioner.text import join_words

_OUTCOMES = {
    "open": "is open",
    "refused": "is refused",
    "unreachable": "is unreachable (ICMP error)",
    "silent": "does not answer",
}


def connections(case: Case, owner: AddressOwner) -> str:
    """Return the outcome of each connection through an owner: "TCP port 80 is open …"; "" if none was tried."""
    outcomes = [f"TCP port {port} {_OUTCOMES[outcome]}" for port, outcome in case.outcomes(owner.mac).items()]
    return f"Through {name(owner)}, {join_words(outcomes)}." if outcomes else ""


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
        own = [ip_interface(text) for text in nic.addresses]
        if not any(one.version == case.ip.version for one in own):
            why = f"{owner.node}'s {owner.nic} has no IPv{case.ip.version} address of its own."
            return Cause("RETURN_PATH", "certain", (why, tried), fields=fields)
        source = case.client
        if source is not None and not any(one.version == source.version and source in one.network for one in own):
            why = f"{source}, this machine, is in no subnet of {owner.node}'s {owner.nic}, so replies are routed."
            return Cause("RETURN_PATH", "likely", (why, tried), ("NOT_SERVING",), fields)
    return Cause("RETURN_PATH", "possible", (tried,), ("NOT_SERVING",), fields)


def not_serving(case: Case) -> Cause | None:
    """NOT_SERVING: the right node answers ARP, and connections are refused, or dropped for a known reason."""
    owner = case.owner
    if owner is None or not owner.node:
        return None
    outcomes = case.outcomes(owner.mac)
    failing = [port for port, outcome in outcomes.items() if outcome != "open"]
    if not failing:
        return None
    tried = connections(case, owner)
    if why := _blocked(case, owner):
        return Cause("NOT_SERVING", "certain", (tried, why))
    if any(outcomes[port] != "silent" for port in failing) or len(failing) < len(outcomes):
        return Cause("NOT_SERVING", "certain", (tried,))
    return Cause("NOT_SERVING", "possible", (tried,), ("RETURN_PATH",))


def _blocked(case: Case, owner: AddressOwner) -> str:
    """Return why the Service itself admits no connection from here through that node, "" without a reason."""
    for service in case.services:
        source = case.client
        ranges = [ip_network(text, strict=False) for text in service.source_ranges]
        if ranges and source is not None and not any(source in net for net in ranges if net.version == source.version):
            admitted = join_words(service.source_ranges)
            return f"Service {service.key} admits only {admitted} (loadBalancerSourceRanges), not {source}."
    if case.endpoints is not None and not case.endpoints:
        return f"Service {join_words(service.key for service in case.services)} has no ready endpoints."
    local = bool(case.services) and all(one.external_traffic_policy == "Local" for one in case.services)
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

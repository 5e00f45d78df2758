"""Addresses that the right node answers for and that cannot be reached all the same."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import owner
from provisioner.l2.result import AddressOwner
from provisioner.text import join_words

_SAID = {
    "open": "is open",
    "refused": "is refused",
    "unreachable": "is answered by an ICMP error",
    "silent": "is not answered",
}


def connections(case: Case, seen: AddressOwner) -> str:
    """Return what became of the connections through an owner: "TCP port 80 is open" …; "" when none was tried."""
    outcomes = case.outcomes(seen.mac)
    said = [f"TCP port {port} {_SAID[outcome]}" for port, outcome in outcomes.items()]
    return f"Through {owner(seen)}, {join_words(said)}." if said else ""


def _lost(case: Case) -> tuple[AddressOwner, tuple[int, ...]] | None:
    """Return the node that answers alone, and its Services' ports that do not even refuse."""
    seen = case.owner
    if seen is None or not seen.node:
        return None
    silent = tuple(port for port, outcome in case.outcomes(seen.mac).items() if outcome == "silent")
    return (seen, silent) if silent else None


def return_path(case: Case) -> Cause | None:
    """RETURN_PATH: ARP is right and the connection lost on its way, the reply's most often."""
    lost = _lost(case)
    if lost is None or _explained(case, lost[0]) or len(lost[1]) < len(case.outcomes(lost[0].mac)):
        return None  # a port that answers, be it by a refusal, shows that the path works
    seen, _ = lost
    fields = {"node": seen.node, **({"nic": seen.nic} if seen.nic else {})}
    node = case.facts.node(seen.node)
    nic = next((one for one in (node.nics if node else None) or () if one.name == seen.nic), None)
    said = connections(case, seen)
    if nic is not None:
        own = [ip_interface(text) for text in nic.addresses]
        if not any(one.version == case.ip.version for one in own):
            why = f"{seen.node}'s {seen.nic} has no {'IPv4' if case.ip.version == 4 else 'IPv6'} address of its own."
            return Cause("RETURN_PATH", "certain", (why, said), fields=fields)
        source = case.client
        if source is not None and not any(one.version == source.version and source in one.network for one in own):
            why = f"{source}, which asks, is in no subnet of {seen.node}'s {seen.nic}, so the reply takes another way."
            return Cause("RETURN_PATH", "likely", (why, said), ("NOT_SERVING",), fields)
    return Cause("RETURN_PATH", "possible", (said,), ("NOT_SERVING",), fields)


def not_serving(case: Case) -> Cause | None:
    """NOT_SERVING: ARP is right, and the connection refused, or dropped for a reason that is known."""
    seen = case.owner
    if seen is None or not seen.node:
        return None
    outcomes = case.outcomes(seen.mac)
    failing = [port for port, outcome in outcomes.items() if outcome != "open"]
    if not failing:
        return None
    said = connections(case, seen)
    why = _explained(case, seen)
    if why:
        return Cause("NOT_SERVING", "certain", (said, why))
    if any(outcomes[port] != "silent" for port in failing) or len(failing) < len(outcomes):
        return Cause("NOT_SERVING", "certain", (said,))
    return Cause("NOT_SERVING", "possible", (said,), ("RETURN_PATH",))


def _explained(case: Case, seen: AddressOwner) -> str:
    """Return why the Service itself lets no connection from here through that node, "" without a reason."""
    for service in case.services:
        source = case.client
        ranges = [ip_network(text, strict=False) for text in service.source_ranges]
        if ranges and source is not None and not any(source in net for net in ranges if net.version == source.version):
            return f"Service {service.key} admits {join_words(service.source_ranges)} only, and {source} asks."
    if case.endpoints is not None and not case.endpoints:
        return f"Service {join_words(service.key for service in case.services)} has no ready endpoint."
    local = bool(case.services) and all(one.external_traffic_policy == "Local" for one in case.services)
    if local and case.endpoints is not None and seen.node not in case.endpoints:
        return f"externalTrafficPolicy is Local, and {seen.node} has no ready endpoint."
    return ""


def stale_cache(case: Case) -> Cause | None:
    """STALE_CACHE: the owner is right, and this machine's own neighbour cache still holds another MAC."""
    cached, seen = case.capture.vantage.neighbours.get(case.ip, "").lower(), case.owner
    if not cached or seen is None or not seen.node or cached == seen.mac:
        return None
    before = case.segment.known.owner(cached)
    whose = f" ({before.node})" if before.node else ""
    what = f"This machine's neighbour cache says {cached}{whose} for {case.ip}, and {owner(seen)} answers now."
    return Cause("STALE_CACHE", "certain", (what, *filter(None, [connections(case, seen)])))

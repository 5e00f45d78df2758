"""Whether an address is proven to work, and the sentences that prove it."""

from __future__ import annotations

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.connection import connections
from provisioner.l2.diagnosis.sentences import answers, name
from provisioner.l2.diagnosis.serving import covered, is_served, port_states
from provisioner.l2.probe.arp import Kind
from provisioner.l2.result import AddressOwner, Confidence
from provisioner.text import join_words, pluralize


def is_ok(case: Case) -> bool:
    """Tell whether it is proven that exactly one node answers, and that it serves the Service.

    Each part must be observed: an untried port, a dropped frame or an unknown Service proves nothing.
    """
    owner = case.owner
    if owner is not None and case.is_api and not owner.node:
        return bool({"Z", "B"} & set(owner.answered)) and not case.capture.dropped and is_served(case, owner)
    if owner is None or not owner.node or owner.owner_class == "foreign" or not {"Z", "B"} & set(owner.answered):
        return False
    if case.capture.dropped or case.unassigned or not _answers_for_itself(case, owner):
        return False
    return is_served(case, owner)


def _answers_for_itself(case: Case, owner: AddressOwner) -> bool:
    """Tell whether an owner is not a proxy, which may answer for the node's own address too.

    A MAC found on a node is the node's. Any other must have answered a probe from 0.0.0.0, if one was sent.
    """
    return owner.matched_by == "inventory" or "Z" in owner.answered or Kind.PROBE not in case.kinds_sent


def confidence(case: Case) -> Confidence:
    """Return how sure OK is; it is likely only if the MAC's owner or the Service is unproven, or after a handover."""
    owner = case.owner
    proven = owner is not None and (owner.matched_by == "inventory" or "Z" in owner.answered or case.ip.version == 6)
    proven = proven and owner is not None and bool(owner.node)
    return "certain" if proven and case.service is not None and case.handover is None else "likely"


def evidence(case: Case) -> tuple[str, ...]:
    """Return the proof that an address works."""
    owner = case.owner
    assert owner is not None
    found = [answers(case, owner)]
    if not owner.node:
        found.append("It is no node: a load balancer in front of the control planes, or a virtual MAC of VRRP.")
    if case.prediction.leader == owner.node:
        candidates = join_words(case.prediction.candidates or ())
        elected = f"{owner.node} is the leader by MetalLB's election among {candidates}"
        found.append(f"{case.prediction.because or elected}.")
    tried = connections(case, owner)
    found.append(tried or "The Service has no port that can be tried, so no connection was.")
    others = {one.answered_from for one in case.handshakes(owner.mac) if one.answered_from not in ("", owner.mac)}
    if others:
        found.append(f"The connection was answered from {join_words(sorted(others))}: the return path differs.")
    return tuple(found)


def covers(case: Case) -> str:
    """Return what OK covers: from where, which ports how often, and what was not tried or cannot be seen from here."""
    owner = case.owner
    parts = ["from this segment"]
    if owner is not None:
        parts += [covered(port_states(case, owner))]
    via = case.capture.via
    routed = via is not None and via.mac and via.forwards and any(one.ip == case.ip for one in via.handshakes)
    if via is not None and routed:
        parts.append(f"TCP through {via.router}, too")
    elif case.capture.vantage.gateways:
        parts.append("a router's neighbor entry is not visible here (--via)")
    return "; ".join(filter(None, parts))


def handover_note(case: Case) -> str:
    """Return the sentence on a handover during the run; "" without one."""
    if case.handover is None or case.previous_owner is None or case.owner is None:
        return ""
    moved = f"{case.ip} moved from {name(case.previous_owner)} to {name(case.owner)} during the run"
    overlap = f"both answered for {case.handover.overlap:.2f} s" if case.handover.overlap else "without overlap"
    since = pluralize(case.handover.since, "request")
    return f"{moved}, {overlap}; only the new owner answered the last {since}."

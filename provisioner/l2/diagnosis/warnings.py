"""Warnings: oddities of an address that do not change its verdict."""

from __future__ import annotations

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.configuration import overlap_sentence
from provisioner.l2.diagnosis.duplicates import kernel_also_owns
from provisioner.l2.diagnosis.ok import handover_note
from provisioner.l2.diagnosis.serving import requests_lost
from provisioner.l2.probe.arp import Kind

_NODE_ADDRESS = ("POOL_OVERLAPS_NODE", "SERVICELB_CONFLICT")  # the address is a node's own, so its kernel answers


def find(case: Case, verdict: str) -> tuple[tuple[str, str], ...]:
    """Return each warning's code and sentence. verdict: excludes the warnings that it implies."""
    found = [
        ("UNEXPECTED_LEADER", _unexpected(case) if verdict == "OK" else ""),
        ("PREDICTION_UNKNOWN", _unknown(case)),
        ("KERNEL_ALSO_OWNS", _kernel(case) if verdict not in _NODE_ADDRESS else ""),
        ("NDP_UNICAST_UNANSWERED", _unicast(case)),
        ("LEADER_MOVED", _moved(case) if verdict == "OK" else ""),
        ("REQUESTS_LOST", requests_lost(case) if verdict == "OK" else ""),
        ("POOLS_OVERLAP", _overlap(case) if verdict != "POOLS_OVERLAP" else ""),
    ]
    return tuple((code, sentence) for code, sentence in found if sentence)


def _unexpected(case: Case) -> str:
    prediction, owner = case.prediction, case.owner
    if prediction.candidates is None or owner is None or not owner.node or owner.node == prediction.leader:
        return ""
    if not prediction.leader:
        return f"By the facts no node should announce {case.ip}, but {owner.node} does."
    leader = case.facts.node(prediction.leader)
    state = " (not ready)" if leader is not None and leader.ready is False else ""
    if prediction.because:
        return f"{prediction.because}{state}, but {owner.node} answers for {case.ip}."
    return f"By MetalLB's election {prediction.leader}{state} should announce {case.ip}, but {owner.node} does."


def _unknown(case: Case) -> str:
    if case.prediction.candidates is not None:
        return ""
    reasons = "; ".join(why.rstrip(".") for why in case.prediction.unknown[:4])
    return f"The leader for {case.ip} cannot be predicted{f': {reasons}' if reasons else ''}."


def _kernel(case: Case) -> str:
    found = kernel_also_owns(case) if case.by_metallb else None  # the others put the address on an interface
    return found[1] if found else ""


def _unicast(case: Case) -> str:
    heard = {answer.kind for answer in case.answers}
    if (
        case.ip.version != 6
        or not case.by_metallb
        or Kind.UNICAST not in case.kinds_sent
        or Kind.UNICAST in heard
        or Kind.REQUEST not in heard
    ):
        return ""
    return (
        f"No reply to unicast solicitations for {case.ip}: MetalLB hears multicast only. Routers that verify "
        "neighbors by unicast (Juniper, some L3 switches) drop the entry again and again, often every 30 minutes, and "
        "with it connections."
    )


def notes(case: Case) -> tuple[str, ...]:
    """Return the codes of what is normal with MetalLB and needs no attention: no reply to ping."""
    return ("ICMP_SILENT",) if case.capture.echo.get(case.ip) is False and case.owners else ()


def _moved(case: Case) -> str:
    return handover_note(case)


def _overlap(case: Case) -> str:
    pair = case.segment.overlapping_pools
    return overlap_sentence(pair) if pair is not None and case.pool is not None and case.pool.name in pair[:2] else ""

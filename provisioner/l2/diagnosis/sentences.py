"""Sentences that several causes say: who, how often, with what outcome. Each names addresses, MACs, nodes and NICs."""

from __future__ import annotations

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.probe.arp import Kind
from provisioner.l2.result import AddressOwner
from provisioner.text import join_words, pluralize, times

_KINDS = {
    "speaker": "MetalLB's speaker answers",
    "kernel": "the kernel answers",
}


def owner(seen: AddressOwner) -> str:
    """Return an owner: its node and NIC where they are known, and its MAC in any case."""
    if len(seen.nodes) > 1:
        return f"{seen.mac} ({join_words(seen.nodes, 'or')})"
    if seen.node:
        return f"{seen.node} {seen.nic}".strip() + f" ({seen.mac})"
    maker = f", by {seen.vendor}" if seen.vendor else ""
    return f"{seen.mac} (no node's{maker})" if seen.owner_class == "foreign" else f"{seen.mac} (unknown{maker})"


def answered(case: Case, seen: AddressOwner) -> str:
    """Return the sentence that an owner answered, and who it seems to be."""
    which = {"Z": "as nobody", "B": "as a client", "U": "directly"}
    how = join_words(which[kind] for kind in seen.answered)
    program = f"; {_KINDS[seen.owner_class]}" if seen.owner_class in _KINDS else ""
    return f"{owner(seen)} answers for {case.ip} when asked {how}{program}."


def asked(case: Case) -> str:
    """Return how an address was asked for, without its end: "192.0.2.200 was asked 2 times as nobody …"."""
    kinds = case.asked
    counts = case.segment.capture.times.get(case.ip, {})
    source = case.source

    def often(kind: Kind) -> str:
        return f"{times(counts[kind])} " if counts.get(kind) else ""

    parts = []
    if Kind.PROBE in kinds:
        parts.append(f"{often(Kind.PROBE)}as nobody")
    if Kind.REQUEST in kinds:
        parts.append(f"{often(Kind.REQUEST)}as {source or 'a client'}")
    if Kind.UNICAST in kinds:
        macs = case.segment.capture.unicast_to.get(case.ip, ())
        named = [
            f"{owner.node} {owner.nic}".strip() or mac for mac in macs for owner in [case.segment.known.owner(mac)]
        ]
        parts.append(
            f"directly at {join_words(named[:4]) if len(named) < 5 else pluralize(len(named), 'MAC')}"
            if named
            else "directly"
        )
    return f"{case.ip} was asked {join_words(parts)}" if parts else f"{case.ip} was not asked for"


def silence(case: Case) -> str:
    """Return the sentence that nobody answered."""
    return f"{asked(case)}; nobody answered."

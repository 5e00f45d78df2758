"""Sentences that several causes share: who answers, what was sent, that no reply came."""

from __future__ import annotations

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.probe.arp import NOBODY, Kind
from provisioner.l2.result import AddressOwner
from provisioner.text import join_words, pluralize, times

_PROGRAMS = {"speaker": "; it is MetalLB's speaker", "kernel": "; it is the kernel"}
_REQUESTS = {
    4: {"Z": "ARP probes", "B": "broadcast requests", "U": "unicast requests"},
    6: {"B": "multicast solicitations", "U": "unicast solicitations"},
}


def name(owner: AddressOwner) -> str:
    """Return an owner's node and interface if known, and always its MAC."""
    if len(owner.nodes) > 1:
        return f"{owner.mac} ({join_words(owner.nodes, 'or')})"
    if owner.node:
        return f"{owner.node} {owner.nic}".strip() + f" ({owner.mac})"
    about = ["not a cluster node" if owner.owner_class == "foreign" else "unknown", owner.vendor]
    return f"{owner.mac} ({', '.join(filter(None, about))})"


def answers(case: Case, owner: AddressOwner) -> str:
    """Return the sentence that an owner answers, to which requests, and as what program."""
    kinds = join_words(_REQUESTS[case.ip.version].get(kind, kind) for kind in owner.answered)
    return f"{name(owner)} answers {kinds} for {case.ip}{_PROGRAMS.get(owner.owner_class, '')}."


def probed(case: Case) -> str:
    """Return how an address was probed, without a period: "192.0.2.200 was probed twice from 0.0.0.0 …"."""
    counts = case.capture.times.get(case.ip, {})

    def often(kind: Kind) -> str:
        return f"{times(counts[kind])} " if counts.get(kind) else ""

    parts = []
    if Kind.PROBE in case.kinds_sent:
        parts.append(f"{often(Kind.PROBE)}from {NOBODY}")
    if Kind.REQUEST in case.kinds_sent:
        parts.append(f"{often(Kind.REQUEST)}from {case.source or 'this machine'}")
    if Kind.UNICAST in case.kinds_sent:
        macs = case.capture.unicast_to.get(case.ip, ())
        owners = [case.segment.known.owner(mac) for mac in macs]
        named = [f"{owner.node} {owner.nic}".strip() or owner.mac for owner in owners]
        to = join_words(named[:4]) if len(named) < 5 else pluralize(len(named), "MAC")
        parts.append(f"by unicast to {to}" if named else "by unicast")
    return f"{case.ip} was probed {join_words(parts)}" if parts else f"{case.ip} was not probed"


def silence(case: Case) -> str:
    """Return the sentence that no reply came."""
    return f"{probed(case)}; no reply."

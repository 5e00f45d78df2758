"""Frames that get lost between the prober and the node: broadcasts, requests, replies, neighbour discovery."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

from provisioner.l2.diagnosis.case import Case, build_case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import asked, owner, silence
from provisioner.l2.facts import Pool
from provisioner.l2.probe.capture import Address
from provisioner.l2.result import Confidence
from provisioner.text import join_words, pluralize, times


def broadcast_blind(case: Case) -> Cause | None:
    """BROADCAST_BLIND: a node answers a direct question only, or is heard announcing and answers none."""
    if not case.broadcast or case.capture.dropped or any(seen.answered != ("U",) for seen in case.owners):
        return None
    if case.owners and all(seen.node for seen in case.owners):
        seen = case.owners[0]
        evidence = (f"{asked(case)}; only the direct question was answered, by {owner(seen)}.",)
        return Cause("BROADCAST_BLIND", "certain", evidence, fields=_place(case, seen.node, seen.nic))
    own = case.segment.announcements.get(case.ip, ())
    announcing = [mac for mac in dict.fromkeys(one.mac for one in own) if case.segment.known.owner(mac).node]
    if case.owners or len(announcing) != 1:
        return None
    whose = case.segment.known.owner(announcing[0])
    if case.requests(whose.node) == 0 and whose.mac in case.capture.unicast_to.get(case.ip, ()):
        return None  # a direct question did not reach its speaker either
    frames = [one for one in own if one.mac == whose.mac]
    who = f"{whose.node} {whose.nic}".strip() + f" ({whose.mac})"
    told = f"{who} announced {case.ip} {times(len(frames))} and answered no question."
    return Cause(
        "BROADCAST_BLIND",
        "likely",
        (told, silence(case)),
        ("EGRESS_FILTERED", "INGRESS_LOST"),
        fields=_place(case, whose.node, whose.nic),
    )


def egress_filtered(case: Case) -> Cause | None:
    """EGRESS_FILTERED: a speaker says that it sent responses, and none of them arrived.

    Other clients ask too. Only as many responses as were asked for here prove that ours are among them; half as many
    may be ours, some questions being lost, and fewer are as well another client's.
    """
    ours = case.questions
    if not case.silent or not ours:
        return None
    for node in case.facts.nodes:
        sent = case.responses(node.name) or 0
        if sent >= ours or (case.capture.counted and 2 * sent >= ours):
            confidence: Confidence = "certain" if case.capture.counted and sent >= ours else "possible"
            others = () if confidence == "certain" else ("INGRESS_LOST",)
            evidence = (_sent(case, node.name, sent, ours), silence(case))
            return Cause("EGRESS_FILTERED", confidence, evidence, others, _place(case, node.name))
    return None


def _sent(case: Case, node: str, sent: int, ours: int) -> str:
    """Return the sentence on the responses that a speaker sent, and on whether they were for this machine."""
    said = f"{node}'s speaker sent {pluralize(sent, 'response')} for {case.ip}"
    if not case.capture.counted:
        return f"{said} between the two readings that the facts hold; whether this machine was meant is not known."
    if sent < ours:
        return f"{said} during this run, fewer than it was asked for here ({ours}): they may be another client's."
    received = case.requests(node)
    heard = f" to the {pluralize(received, 'request')} that it received" if received else ""
    return f"{said}{heard} during this run, and none arrived here."


def ingress_lost(case: Case) -> Cause | None:
    """INGRESS_LOST: nothing that was asked reached the leader: its counter stands still, or it is wholly silent.

    A speaker counts only the requests for addresses that it announces. A counter that stands still therefore proves
    a loss only where MetalLB is known to announce, and where it was read just before and after the questions.
    """
    name = case.prediction.leader or case.leader
    node = case.facts.node(name) if name else None
    if not case.silent or node is None:
        return None
    received = case.requests(name)
    still = received == 0 and case.capture.counted
    own = case.segment.own_address(name)
    alone = own is not None and not own[1]
    announcing = _announces(case, name)
    evidence = []
    if received == 0:
        what = f"{name}'s speaker received none of the requests for {case.ip} that were sent during this run."
        when = f"Between the two readings that the facts hold, {name}'s speaker received no request for {case.ip}."
        evidence.append(what if still else when)
        evidence += [f"MetalLB says that {name} announces it."] if announcing else []
    if own is not None and alone:
        evidence.append(f"{name}'s own address {own[0]} does not answer on this segment either.")
    if own is not None and own[1]:
        evidence.append(f"{name}'s own address {own[0]} answers, so not all frames are lost.")
    if still and announcing:
        return _ingress(case, name, "certain" if alone else "likely", evidence)
    others = [
        other.name
        for other in case.facts.nodes
        if other.name != name and (heard := case.segment.own_address(other.name)) is not None and heard[1]
    ]
    if received in (0, None) and alone and others:
        evidence.append(f"{join_words(others)} {'answer' if len(others) > 1 else 'answers'} for their own addresses.")
        confidence: Confidence = "likely" if still or announcing else "possible"
        return _ingress(case, name, confidence, evidence)
    return _ingress(case, name, "possible", evidence) if received == 0 else None


def _ingress(case: Case, name: str, confidence: Confidence, evidence: list[str]) -> Cause:
    others = () if confidence == "certain" else ("SPEAKER_DOWN",)
    return Cause("INGRESS_LOST", confidence, (*evidence, silence(case)), others, _place(case, name))


def _announces(case: Case, node: str) -> bool:
    keys = {service.key for service in case.services}
    said = any(one.node == node and one.service in keys for one in case.facts.l2_status or ())
    events = [event for service in case.services for event in service.events]
    assigned = any(event.reason == "nodeAssigned" and event.node == node for event in events)
    return said or (assigned and not any(event.reason == "announceFailed" for event in events))


def ndp_responder_failed(case: Case) -> Cause | None:
    """NDP_RESPONDER_FAILED: the same Service's IPv4 address is answered for by a node, its IPv6 address is not."""
    if case.ip.version != 6 or not case.silent:
        return None
    twins = [
        ip
        for service in case.services
        for ip in map(ip_address, service.ingress_ips)
        if ip.version == 4 and ip in case.segment.answers
    ]
    fine = [(ip, seen) for ip in twins if (seen := build_case(case.segment, ip).owner) is not None and seen.node]
    if not fine:
        return None
    ip, seen = fine[0]
    well = f"{ip} of the same Service is answered for by {owner(seen)}."
    node = case.facts.node(seen.node)
    nic = next((one for one in (node.nics if node else None) or () if one.name == seen.nic), None)
    fields = _place(case, seen.node, seen.nic)
    if nic is None:
        evidence = (well, f"Whether {seen.node}'s interface has a link-local address is not known.", silence(case))
        return Cause("NDP_RESPONDER_FAILED", "likely", evidence, fields=fields)
    local = [own for own in map(ip_interface, nic.addresses) if own.version == 6 and own.ip.is_link_local]
    if failed := [own.ip for own in local if own.ip in map(_ip, nic.dad_failed or ())]:
        why = f"{seen.node}'s {nic.name} has lost {failed[0]} to another machine (DADFAILED), so NDP fails on it."
        return Cause("NDP_RESPONDER_FAILED", "certain", (why, well, silence(case)), fields=fields)
    if local:
        evidence = (well, f"{seen.node}'s {nic.name} has a link-local address, which may have failed.", silence(case))
        return Cause("NDP_RESPONDER_FAILED", "possible", evidence, ("INGRESS_LOST", "EGRESS_FILTERED"), fields)
    why = f"{seen.node}'s {nic.name} has no IPv6 link-local address, so MetalLB's NDP responder cannot start on it."
    return Cause("NDP_RESPONDER_FAILED", "certain", (why, well, silence(case)), fields=fields)


def _ip(text: str) -> Address:
    return ip_interface(text).ip


def buggy_ip(case: Case) -> Cause | None:
    """BUGGY_IP: of the pool's addresses that were asked for, only those that end in .0 or .255 fail."""
    pool = case.pool
    if pool is None or not may_be_buggy(case):
        return None
    fine, failing = _compared(case, pool)
    if not (plain := [ip for ip in fine if not _buggy(ip)]):
        return None
    bad = sorted([case.ip, *failing], key=int)
    evidence = (
        f"Of pool {pool.name}, {join_words(plain[:5])} {'are' if len(plain) > 1 else 'is'} served, and only "
        f"{join_words(bad)} {'are' if len(bad) > 1 else 'is'} not: some devices take .0 and .255 for broadcast addresses.",
    )
    return Cause("BUGGY_IP", "likely", evidence)


def may_be_buggy(case: Case) -> bool:
    """Tell whether nothing speaks against BUGGY_IP: it ends so, it fails, and so does no other kind of its pool.

    Asked for alone it has nothing to be compared with, and yet its last number may be why it fails.
    """
    if case.unassigned or not _buggy(case.ip) or not _fails(case):
        return False
    fine, failing = _compared(case, case.pool) if case.pool is not None else ([], [])
    return all(map(_buggy, failing)) and not any(map(_buggy, fine))


def _compared(case: Case, pool: Pool) -> tuple[list[Address], list[Address]]:
    """Return the pool's other addresses that were asked for: those that are served, and those that are not."""
    fine: list[Address] = []
    failing: list[Address] = []
    for ip in case.capture.targets:
        if ip == case.ip or ip not in case.segment.services:
            continue
        other = build_case(case.segment, ip)
        if other.pool is not None and other.pool.name == pool.name:
            (failing if _fails(other) or not _serves(other) else fine).append(ip)
    return fine, failing


def _buggy(ip: Address) -> bool:
    return ip.version == 4 and ip.packed[-1] in (0, 255)


def _fails(case: Case) -> bool:
    """Tell whether it is silent, or is a node's and no connection comes through."""
    seen = case.owner
    return case.silent or (seen is not None and set(case.outcomes(seen.mac).values()) == {"silent"})


def _serves(case: Case) -> bool:
    seen = case.owner
    return seen is not None and bool(seen.node) and case.served(seen.mac) is not False


def _place(case: Case, node: str, nic: str = "") -> dict[str, str]:
    """Return the fields for a command on a node: its name, and its interface on this segment where it is known."""
    known = case.facts.node(node)
    here = [one.name for one in case.segment.nics_here(known)] if known is not None else []
    nic = nic or (here[0] if here else "")
    return {"node": node, **({"nic": nic} if nic else {})}

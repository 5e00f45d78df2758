"""Frames lost between this machine and the node: broadcasts, requests, replies, neighbor discovery."""

from __future__ import annotations

from ipaddress import ip_address

from provisioner.l2.diagnosis.case import Case, build_case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import name, probed, silence
from provisioner.l2.facts import Pool
from provisioner.l2.facts_values import interface
from provisioner.l2.probe.capture import Address
from provisioner.l2.result import Confidence
from provisioner.text import join_words, pluralize, times


def broadcast_blind(case: Case) -> Cause | None:
    """BROADCAST_BLIND: a node answers unicast requests only, or announces the address and answers none."""
    if not case.probed or case.capture.dropped or any(owner.answered != ("U",) for owner in case.owners):
        return None
    if case.owners and all(owner.node for owner in case.owners):
        owner = case.owners[0]
        evidence = (f"{probed(case)}; only the unicast request was answered, by {name(owner)}.",)
        return Cause("BROADCAST_BLIND", "certain", evidence, fields=_node_fields(case, owner.node, owner.nic))
    frames = case.segment.announcements.get(case.ip, ())
    announcing = [mac for mac in dict.fromkeys(one.mac for one in frames) if case.segment.known.owner(mac).node]
    if case.owners or len(announcing) != 1:
        return None
    whose = case.segment.known.owner(announcing[0])
    if case.requests_received(whose.node) == 0 and whose.mac in case.capture.unicast_to.get(case.ip, ()):
        return None  # a unicast request did not reach its speaker either
    count = sum(frame.mac == whose.mac for frame in frames)
    who = f"{whose.node} {whose.nic}".strip() + f" ({whose.mac})"
    return Cause(
        "BROADCAST_BLIND",
        "likely",
        (f"{who} announced {case.ip} {times(count)} and answered no request.", silence(case)),
        ("EGRESS_FILTERED", "INGRESS_LOST"),
        fields=_node_fields(case, whose.node, whose.nic),
    )


def egress_filtered(case: Case) -> Cause | None:
    """EGRESS_FILTERED: a speaker counts responses, and none of them arrived.

    Other clients send requests too. Only as many responses as this machine sent requests prove that its own are among
    them; half as many may be (some requests are lost), and fewer may just as well be another client's.
    """
    requests = case.request_count
    if not case.silent or not requests:
        return None
    for node in case.facts.nodes:
        sent = case.responses_sent(node.name) or 0
        if sent >= requests or (case.capture.counted and 2 * sent >= requests):
            confidence: Confidence = "certain" if case.capture.counted and sent >= requests else "possible"
            others = () if confidence == "certain" else ("INGRESS_LOST",)
            evidence = (_responses(case, node.name, sent, requests), silence(case))
            return Cause("EGRESS_FILTERED", confidence, evidence, others, _node_fields(case, node.name))
    return None


def _responses(case: Case, node: str, sent: int, requests: int) -> str:
    """Return the sentence on the responses that a speaker sent, and on whether they were for this machine."""
    what = f"{node}'s speaker sent {pluralize(sent, 'response')} for {case.ip}"
    if not case.capture.counted:
        return f"{what} between the two readings in the facts; whether to this machine is unknown."
    if sent < requests:
        return f"{what} during this run, fewer than the {requests} requests from here: they may be to another client."
    received = case.requests_received(node)
    to = f" to {pluralize(received, 'request')}" if received else ""
    return f"{what}{to} during this run, and none arrived here."


def ingress_lost(case: Case) -> Cause | None:
    """INGRESS_LOST: no request reached the leader: its counter did not change, or it does not answer at all.

    A speaker counts requests only for addresses that it announces. So an unchanged counter proves a loss only if
    MetalLB is known to announce the address, and the counter was read just before and after the requests.
    """
    leader = case.prediction.leader or case.leader
    if not case.silent or not leader or case.facts.node(leader) is None:
        return None
    received = case.requests_received(leader)
    still = received == 0 and case.capture.counted
    own = case.segment.own_address(leader)
    alone = own is not None and not own[1]
    announcing = _announces(case, leader)
    evidence = []
    if received == 0:
        when = "during this run" if still else "between the two readings in the facts"
        evidence.append(f"{leader}'s speaker received no request for {case.ip} {when}.")
        evidence += [f"MetalLB reports that {leader} announces it."] if announcing else []
    if own is not None and alone:
        evidence.append(f"{leader}'s own address {own[0]} does not answer on this segment either.")
    if own is not None and own[1]:
        evidence.append(f"{leader}'s own address {own[0]} answers, so not all frames are lost.")
    if still and announcing:
        return _ingress(case, leader, "certain" if alone else "likely", evidence)
    others = [
        other.name
        for other in case.facts.nodes
        if other.name != leader and (heard := case.segment.own_address(other.name)) is not None and heard[1]
    ]
    if received in (0, None) and alone and others:
        evidence.append(f"{join_words(others)} {'answer' if len(others) > 1 else 'answers'} for their own addresses.")
        confidence: Confidence = "likely" if still or announcing else "possible"
        return _ingress(case, leader, confidence, evidence)
    return _ingress(case, leader, "possible", evidence) if received == 0 else None


def _ingress(case: Case, leader: str, confidence: Confidence, evidence: list[str]) -> Cause:
    others = () if confidence == "certain" else ("SPEAKER_DOWN",)
    return Cause("INGRESS_LOST", confidence, (*evidence, silence(case)), others, _node_fields(case, leader))


def _announces(case: Case, node: str) -> bool:
    keys = {service.key for service in case.services}
    status = any(one.node == node and one.service in keys for one in case.facts.l2_status or ())
    events = [event for service in case.services for event in service.events]
    assigned = any(event.reason == "nodeAssigned" and event.node == node for event in events)
    return status or (assigned and not any(event.reason == "announceFailed" for event in events))


def ndp_responder_failed(case: Case) -> Cause | None:
    """NDP_RESPONDER_FAILED: a node answers for the same Service's IPv4 address, but not for its IPv6 address."""
    if case.ip.version != 6 or not case.silent:
        return None
    ipv4 = [
        ip
        for service in case.services
        for ip in map(ip_address, service.ingress_ips)
        if ip.version == 4 and ip in case.segment.answers
    ]
    working = [(ip, one) for ip in ipv4 if (one := build_case(case.segment, ip).owner) is not None and one.node]
    if not working:
        return _leader_dadfailed(case)
    ip, owner = working[0]
    works = f"{name(owner)} answers for {ip} of the same Service."
    node = case.facts.node(owner.node)
    nic = next((one for one in (node.nics if node else None) or () if one.name == owner.nic), None)
    fields = _node_fields(case, owner.node, owner.nic)
    if nic is None:
        evidence = (works, f"Whether {owner.node}'s interface has a link-local address is unknown.", silence(case))
        return Cause("NDP_RESPONDER_FAILED", "likely", evidence, fields=fields)
    local = [own for own in map(interface, nic.addresses) if own.version == 6 and own.ip.is_link_local]
    if failed := [own.ip for own in local if own.ip in map(_ip, nic.dad_failed or ())]:
        why = f"{failed[0]} on {owner.node}'s {nic.name} is dadfailed, so the NDP responder cannot start."
        return Cause("NDP_RESPONDER_FAILED", "certain", (why, works, silence(case)), fields=fields)
    if local:
        what = f"{owner.node}'s {nic.name} has a link-local address, which may be dadfailed."
        others = ("INGRESS_LOST", "EGRESS_FILTERED")
        return Cause("NDP_RESPONDER_FAILED", "possible", (works, what, silence(case)), others, fields)
    why = f"{owner.node}'s {nic.name} has no IPv6 link-local address, so the NDP responder cannot start on it."
    return Cause("NDP_RESPONDER_FAILED", "certain", (why, works, silence(case)), fields=fields)


def _leader_dadfailed(case: Case) -> Cause | None:
    """Find that the predicted leader's link-local address failed duplicate address detection, by the facts alone."""
    node = case.leader_node
    for nic in case.segment.nics_here(node) if node is not None else ():
        failed = [own for own in map(_ip, nic.dad_failed or ()) if own.is_link_local]
        if node is not None and failed:
            why = f"{failed[0]} on {node.name}'s {nic.name} is dadfailed, so the NDP responder cannot start."
            led = f"{node.name} should announce {case.ip}."
            fields = _node_fields(case, node.name, nic.name)
            explained = ("MULTICAST_SNOOPING", "INGRESS_LOST", "NDP_FILTERED")
            return Cause(
                "NDP_RESPONDER_FAILED", "certain", (why, led, silence(case)), fields=fields, explains=explained
            )
    return None


def ndp_filtered(case: Case) -> Cause | None:
    """NDP_FILTERED: no IPv6 address of the segment answers, not even a node's own, and IPv4 does."""
    silent = case.segment.silent_nodes(6)
    if case.ip.version != 6 or not case.silent or not silent or not case.segment.nodes_heard:
        return None
    if any(answer.ip.version == 6 for answer in case.capture.answers):
        return None
    shown = join_words([f"{node} ({ip})" for node, ip in silent[:4]])
    evidence = (
        f"No node answers neighbor solicitations even for its own IPv6 address: {shown}.",
        "Nodes answer ARP, so the link works.",
        silence(case),
    )
    return Cause("NDP_FILTERED", "likely", evidence, ("NDP_RESPONDER_FAILED",))


def _ip(text: str) -> Address:
    return interface(text).ip


def buggy_ip(case: Case) -> Cause | None:
    """BUGGY_IP: of the pool's probed addresses, only those that end in .0 or .255 fail."""
    pool = case.pool
    if pool is None or not may_be_buggy(case):
        return None
    working, failing = _pool_peers(case, pool)
    if not (others := [ip for ip in working if not _buggy(ip)]):
        return None
    bad = sorted([case.ip, *failing], key=int)
    evidence = (
        f"In pool {pool.name}, {join_words(others[:5])} {'work' if len(others) > 1 else 'works'}, and only "
        f"{join_words(bad)} {'fail' if len(bad) > 1 else 'fails'}: some devices treat .0 and .255 as broadcast.",
    )
    return Cause("BUGGY_IP", "likely", evidence, explains=("RETURN_PATH",))


def may_be_buggy(case: Case) -> bool:
    """Tell whether BUGGY_IP is not ruled out: it ends in .0 or .255 and fails, and no other address of its pool does.

    If it was probed alone there is nothing to compare it with, but its last octet may still be the reason.
    """
    if case.unassigned or not _buggy(case.ip) or not _fails(case):
        return False
    working, failing = _pool_peers(case, case.pool) if case.pool is not None else ([], [])
    return all(map(_buggy, failing)) and not any(map(_buggy, working))


def _pool_peers(case: Case, pool: Pool) -> tuple[list[Address], list[Address]]:
    """Return the pool's other probed addresses: those that work, and those that fail."""
    working: list[Address] = []
    failing: list[Address] = []
    for ip in case.capture.targets:
        if ip == case.ip or ip not in case.segment.services:
            continue
        other = build_case(case.segment, ip)
        if other.pool is not None and other.pool.name == pool.name:
            (failing if _fails(other) or not _serves(other) else working).append(ip)
    return working, failing


def _buggy(ip: Address) -> bool:
    return ip.version == 4 and ip.packed[-1] in (0, 255)


def _fails(case: Case) -> bool:
    """Tell whether it is silent, or its owner answers no connection."""
    owner = case.owner
    return case.silent or (owner is not None and set(case.outcomes(owner.mac).values()) == {"silent"})


def _serves(case: Case) -> bool:
    owner = case.owner
    return owner is not None and bool(owner.node) and case.served(owner.mac) is not False


def _node_fields(case: Case, node: str, nic: str = "") -> dict[str, str]:
    """Return the placeholders for a command on a node: its name and, if known, its interface on this segment."""
    known = case.facts.node(node)
    here = [one.name for one in case.segment.nics_here(known)] if known is not None else []
    nic = nic or (here[0] if here else "")
    return {"node": node, **({"nic": nic} if nic else {})}

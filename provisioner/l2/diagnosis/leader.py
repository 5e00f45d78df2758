"""Causes on the node that should announce: speaker down, no interface, off the segment, node down."""

from __future__ import annotations

import re

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import answers, silence
from provisioner.l2.facts import Advertisement, Nic, Node
from provisioner.l2.result import Confidence
from provisioner.text import join_words, pluralize

# Interfaces created by containers and overlays, none of which is connected to the segment.
_VIRTUAL = re.compile(r"(lo|veth|cali|lxc|cni|flannel|docker|kube-|nodelocaldns|dummy|tun|vxlan|cilium|br-)")


def speaker_down(case: Case) -> Cause | None:
    """SPEAKER_DOWN: the leader's speaker is missing or failing, and no node or another one answers.

    If another node answers, a missing speaker is a fault only if one is due: see `Case.leader`.
    """
    node, owner = case.leader_node, case.owner
    other_answers = owner is not None and bool(owner.node) and owner.node != case.leader
    if not (case.silent or other_answers):
        return None
    if node is None:
        return _all_down(case)
    dead = node.ready is False and case.facts.metallb.memberlist is False
    if node.speaker not in ("missing", "failing") or (case.silent and dead):
        return None
    state = "has no speaker" if node.speaker == "missing" else "its speaker is failing"
    what = f"{node.name} should announce {case.ip} by MetalLB's election, but {state}."
    if owner is not None and other_answers:
        without = [other.name for other in case.facts.nodes if other.speaker == "missing"]
        lacking = case.speakers_lacking
        sure: Confidence = "certain" if node.speaker == "failing" or lacking >= len(without) else "likely"
        short = f"MetalLB's DaemonSet is short of {pluralize(lacking, 'speaker')}." if lacking else ""
        return Cause("SPEAKER_DOWN", sure, (what, short, answers(case, owner)), fields={"node": node.name})
    others = [one.name for one in case.facts.nodes if one.speaker == "ready" and one.name in _candidates(case)]
    takeover = f"{join_words(others)} should have taken over." if others else "No other candidate has a ready speaker."
    return Cause(
        "SPEAKER_DOWN",
        _silent_confidence(case, others),
        (what, takeover, silence(case)),
        alternatives=("INGRESS_LOST",) if others else (),
        fields={"node": node.name},
    )


def _all_down(case: Case) -> Cause | None:
    """Find that no speaker is up, so the election has no candidates."""
    if not case.silent or case.prediction.why_empty != "SPEAKER_DOWN":
        return None
    down = [node for node in case.facts.nodes if node.speaker in ("missing", "failing")]
    if not down:
        return None
    states = join_words(f"{node.name}'s is {node.speaker}" for node in down)
    evidence = (f"No speaker that could announce {case.ip} is up: {states}.", silence(case))
    return Cause("SPEAKER_DOWN", "certain", evidence, fields={"node": down[0].name})


def _candidates(case: Case) -> tuple[str, ...]:
    return case.prediction.candidates or ()


def _silent_confidence(case: Case, others: list[str]) -> Confidence:
    """Return how sure it is that a leader without a speaker explains the silence; others should take over."""
    memberlist = case.facts.metallb.memberlist
    if memberlist is False or (case.prediction.candidates is not None and not others):
        return "certain"
    return "possible" if memberlist and others else "likely"


def interface_missing(case: Case) -> Cause | None:
    """INTERFACE_MISSING: the leader has none of the interfaces of the L2Advertisements, or only excluded ones."""
    node = case.leader_node
    if not case.silent:
        return None
    events = [
        event
        for service in case.services
        for event in service.events
        if event.reason == "announceFailed" and (not event.node or not case.leader or event.node == case.leader)
    ]
    named = _with_interfaces(case, node)
    fields = {"advertisement": named[0].name} if named else {}
    reported = tuple(f"MetalLB reports: {event.message.rstrip('.')}." for event in events[:1] if event.message)
    if events and not reported:
        reported = ("MetalLB reports announceFailed.",)
    if node is not None and node.nics is not None:
        why, sure = _no_interface(case, node, node.nics, named)
        if why:
            confidence: Confidence = "certain" if sure else "likely"
            return Cause("INTERFACE_MISSING", confidence, (why, *reported, silence(case)), fields=fields)
        if named:
            return None  # the node has the interface, so the event is an old one
    if node is not None and node.nics is None and named and (why := _by_log(case, node, named)):
        return Cause("INTERFACE_MISSING", "likely", (why, *reported, silence(case)), fields=fields)
    if not reported:
        return None
    return Cause("INTERFACE_MISSING", "likely", (*reported, silence(case)), fields=fields)


def _by_log(case: Case, node: Node, named: tuple[Advertisement, ...]) -> str:
    """Return why the leader's speaker has no interface to announce on, by its log; "" without a reason."""
    log = (case.facts.speaker_log or {}).get(node.name)
    wanted = tuple(dict.fromkeys(name for one in named for name in one.interfaces))
    if log is None or log.interfaces is None or set(wanted) & set(log.interfaces):
        return ""
    allow = "allow" if len(named) > 1 else "allows"
    has = join_words(name for name in log.interfaces if not _VIRTUAL.match(name)) or "no other interface"
    limit = f"L2Advertisement {join_words(one.name for one in named)} {allow} only {join_words(wanted)}"
    return f"{limit}, but by its log the speaker on {node.name}, which should announce {case.ip}, has {has}."


def _with_interfaces(case: Case, node: Node | None) -> tuple[Advertisement, ...]:
    """Return the L2Advertisements if all of them list interfaces; empty if one allows any or they are unknown."""
    if node is None:
        return ()
    own = case.advertisements or ()
    return own if own and all(one.interfaces for one in own) else ()


def _no_interface(case: Case, node: Node, nics: tuple[Nic, ...], named: tuple[Advertisement, ...]) -> tuple[str, bool]:
    """Return why the leader has no interface to announce on, "" without a reason, and whether that is conclusive."""
    here = [nic.name for nic in case.segment.nics_here(node)]
    if named:
        wanted = tuple(dict.fromkeys(name for one in named for name in one.interfaces))
        own = [nic.name for nic in nics]
        allow = "allow" if len(named) > 1 else "allows"
        limit = f"L2Advertisement {join_words(one.name for one in named)} {allow} only {join_words(wanted)}"
        if not set(wanted) & set(own):
            has = join_words(nic.name for nic in nics if not _VIRTUAL.match(nic.name)) or "no other interface"
            pattern = next((name for name in wanted if re.search(r"[*?^$\[\]+]", name)), "")
            exact = f"; {pattern} is taken as a name, since interfaces takes no patterns" if pattern else ""
            return f"{limit}, but {node.name}, which should announce {case.ip}, has {has}{exact}.", True
        if here and not set(wanted) & set(here):
            return f"{limit}, but {node.name}'s interface on this segment is {join_words(here)}.", False
    patterns = case.facts.metallb.excluded_interfaces or ()
    excluded = [name for name in here if any(_matches(pattern, name) for pattern in patterns)]
    if excluded and len(excluded) == len(here):
        what = f"{join_words(excluded)}, {node.name}'s interface on this segment"
        return f"The ConfigMap metallb-excludel2 excludes {what}.", False
    return "", False


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return False  # Go's syntax differs in rare cases; an unreadable expression proves no exclusion


def leader_off_segment(case: Case) -> Cause | None:
    """LEADER_OFF_SEGMENT: the predicted leader has no interface on the probed segment."""
    name = case.prediction.leader or case.leader
    node = case.facts.node(name) if name else None
    if not case.silent or node is None or node.nics is None or not _on_segment(case):
        return None
    down = [nic.name for nic in node.nics if nic.up is False and case.segment.nic_here(nic)]
    off_segment = any(case.segment.nic_here(nic) is False for nic in node.nics)
    if case.segment.nics_here(node) or not (down or off_segment):
        return None
    own = [
        f"{nic.name} {' '.join(nic.addresses)}" for nic in node.nics if nic.addresses and not _VIRTUAL.match(nic.name)
    ]
    unknown = [
        nic.name
        for nic in node.nics
        if case.segment.nic_here(nic) is None
        and nic.up is not False
        and not nic.master
        and not _VIRTUAL.match(nic.name)
    ]
    evidence = [
        f"{node.name} should announce {case.ip}, but none of its interfaces is on this segment "
        f"({join_words(case.segment.subnets)}): it has {join_words(own)}."
    ]
    if down:
        evidence.append(f"{node.name}'s {join_words(down)} is down.")
    if unknown:
        evidence.append(f"The segment of {node.name}'s {join_words(unknown)}, without an address, is unknown.")
    return Cause(
        "LEADER_OFF_SEGMENT",
        "likely" if unknown else "certain",
        (*evidence, silence(case)),
        fields={"node": node.name, **({"advertisement": case.advertisements[0].name} if case.advertisements else {})},
    )


def _on_segment(case: Case) -> bool:
    """Tell whether this machine is known to be on the address's or a node's segment, so that a node can be off it."""
    return bool(case.segment.subnets) and (
        case.capture.vantage.on_link(case.ip) or any(case.segment.nics_here(node) for node in case.facts.nodes)
    )


def no_failover(case: Case) -> Cause | None:
    """NO_FAILOVER_MEMBERLIST_OFF: the leader's node is down, and without memberlist no speaker notices."""
    if not case.silent or case.facts.metallb.memberlist is not False:
        return None
    if case.prediction.why_empty == "NO_FAILOVER_MEMBERLIST_OFF":
        version = case.facts.metallb.version or "this version"
        evidence = (f"memberlist is off, and without it MetalLB {version} announces nothing.", silence(case))
        return Cause("NO_FAILOVER_MEMBERLIST_OFF", "certain", evidence)
    node = case.leader_node
    if node is None or node.ready is not False:
        return None
    why = f"{node.name} should announce {case.ip} but is not ready; memberlist is off, so no other speaker takes over."
    return Cause("NO_FAILOVER_MEMBERLIST_OFF", "certain", (why, silence(case)), fields={"node": node.name})

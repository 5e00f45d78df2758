"""Judge a failover: a verdict, a title that sums it up, and the sentences of evidence.

A watch shows what happened and when. `l2 check` finds out why two owners answer, or none, so those verdicts name it
as the next command.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from provisioner.l2.probe.capture import Address
from provisioner.l2.result import AddressOwner, Result
from provisioner.l2.watch.spans import MIN_REQUESTS
from provisioner.l2.watch.timeline import HANDOVER, Timeline, Transition, longest_overlap
from provisioner.text import pluralize

Owners = Mapping[str, AddressOwner]
NO_OWNER = "no owner"  # in a path of owners

# Verdicts in addition to those of a check.
VERDICTS = {
    "NEVER_ANSWERED": "No reply during the whole watch.",
    "NEVER_RETURNED": "The owner went silent, and no reply has come since.",
    "TWO_OWNERS": "Two owners answer for the address for longer than a handover takes.",
    "UNSTABLE": "The address did not settle on one owner before the timeout.",
}
WARNINGS = {
    "GARP_LOST": "fewer gratuitous frames were received than MetalLB sends",
    "NEVER_CONNECTED": "no TCP connection succeeded",
    "NDP_UNICAST_UNANSWERED": "no reply to unicast neighbor solicitations: some routers drop the entry periodically",
    "LONG_OVERLAP": "two owners both answered for longer than a handover takes",
}


def judge(
    timeline: Timeline, owners: Owners, *, service: str = "", pool: str = "", foreign: Collection[str] = ()
) -> Result:
    """Return the verdict on a watch. owners: by MAC; foreign: MACs known not to be a node's."""
    verdict, reasons = _verdict(timeline, owners, foreign)
    ip = timeline.recording.ip
    family: Literal["ipv4", "ipv6"] = "ipv4" if ip.version == 4 else "ipv6"
    remedy, command = _next(verdict, ip)
    return Result(
        ip=str(ip),
        family=family,
        service=service,
        pool=pool,
        verdict=verdict,
        confidence="certain",
        evidence=(*reasons, *_sentences(timeline, owners)),
        remedy=remedy,
        command=command,
        warnings=_warnings(timeline),
        owners=tuple(owners.get(mac, AddressOwner(mac)) for mac in timeline.macs),
    )


def _verdict(timeline: Timeline, owners: Owners, foreign: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """Return the code and the sentence of the first cause that applies."""
    if why := _inconclusive(timeline):
        return "UNKNOWN", (why,)
    causes = (
        _judge_flapping(timeline, owners),
        _judge_holders(timeline, owners, foreign),
        _judge_stability(timeline),
        _judge_announcements(timeline, owners),
        _judge_service(timeline, owners),
    )
    code, why = next((cause for cause in causes if cause is not None), ("OK", ""))
    return code, (why,) if why else ()


def _judge_flapping(timeline: Timeline, owners: Owners) -> tuple[str, str] | None:
    """Judge whether the address moved back and forth."""
    turns = timeline.turns
    if not turns.flapped():
        return None
    names = owner_names(timeline.macs, owners)
    path = [names.get(mac, mac) for mac, _ in turns.turns]
    shown = " → ".join([*path[:8], *(["…"] if len(path) > 8 else [])])
    return "FLAPPING", f"{turns.moves} moves in {format_seconds(turns.seconds)}, {shown}; they answered in turn"


def _judge_holders(timeline: Timeline, owners: Owners, foreign: Collection[str]) -> tuple[str, str] | None:
    """Judge who has the address at the end."""
    holders = timeline.holders
    if not timeline.spans:
        return "NEVER_ANSWERED", f"{len(timeline.recording.requests)} requests, no reply"
    if not holders:
        return "NEVER_RETURNED", f"{timeline.transitions[-1].unanswered} requests since the last reply, none answered"
    if len(holders) > 1:
        names = owner_names(timeline.macs, owners)
        both = " and ".join(names[mac] for mac in holders)
        if (overlap := longest_overlap(timeline)) > HANDOVER:
            return "TWO_OWNERS", f"{both} both answered for {format_seconds(overlap)}, until the end"
        return "UNKNOWN", f"{both} both answer, but the watch ended within the {HANDOVER:.0f} s of a handover"
    if holders[0] in foreign:
        return "ADDRESS_CONFLICT", f"{holders[0]} has the address and is not a cluster node"
    return None


def _judge_stability(timeline: Timeline) -> tuple[str, str] | None:
    """Judge whether the awaited failover happened."""
    recording, count = timeline.recording, len(timeline.transitions)
    if not recording.until_stable or recording.ended_by != "timeout":
        return None
    whole = format_seconds(recording.ended - recording.started)
    if count:
        return "UNSTABLE", f"{pluralize(count, 'change')} in {whole}, the last too close to the end"
    return "UNKNOWN", f"no failover in {whole}"


def _judge_announcements(timeline: Timeline, owners: Owners) -> tuple[str, str] | None:
    """Judge whether each new owner announced itself to the clients."""
    for transition in timeline.transitions:
        if transition.moved and not transition.gratuitous.frames:
            who = owner_names(timeline.macs, owners)[transition.after]
            if not transition.gratuitous.complete:
                return "UNKNOWN", f"no gratuitous frame from {who} yet, but the watch ended before all were due"
            return "GARP_MISSING", f"{who} took over without a gratuitous frame"
    return None


def _judge_service(timeline: Timeline, owners: Owners) -> tuple[str, str] | None:
    """Judge whether the Service is reachable through the new owner as it was through the old one."""
    recording, transitions = timeline.recording, timeline.transitions
    if not transitions or not any(shake.outcome == "open" for shake in recording.handshakes):
        return None
    last = transitions[-1]
    tried = [shake.outcome for shake in recording.handshakes if shake.mac == last.after]
    if last.moved and len(tried) >= MIN_REQUESTS and "open" not in tried:
        who = owner_names(timeline.macs, owners)[last.after]
        return "NOT_SERVING", f"none of {len(tried)} connections to port {recording.port} through {who} succeeded"
    return None


def _inconclusive(timeline: Timeline) -> str:
    """Return why nothing can be concluded from the recording, "" if something can."""
    recording = timeline.recording
    if recording.failure:
        return f"the watch was aborted: {recording.failure}"
    if recording.dropped:
        return f"the kernel dropped {recording.dropped} frames here, so silence proves nothing"
    if len(recording.requests) < MIN_REQUESTS:
        return f"only {pluralize(len(recording.requests), 'request')} sent"
    return ""


def _warnings(timeline: Timeline) -> tuple[str, ...]:
    found = []
    for transition in timeline.transitions:
        seen = transition.gratuitous
        if seen.expected and seen.complete and seen.rounds < seen.expected:
            found.append("GARP_LOST")
    if longest_overlap(timeline) > HANDOVER and len(timeline.holders) < 2:
        found.append("LONG_OVERLAP")
    if timeline.recording.unicasts > 1 and not timeline.recording.unicasts_answered:
        found.append("NDP_UNICAST_UNANSWERED")
    tries = [shake.outcome for shake in timeline.recording.handshakes]
    if len(tries) >= MIN_REQUESTS and "open" not in tries:
        found.append("NEVER_CONNECTED")
    return tuple(dict.fromkeys(found))


def _sentences(timeline: Timeline, owners: Owners) -> tuple[str, ...]:
    """Return further evidence: stray replies, and gratuitous frames of MACs that never answered."""
    found = [
        f"{owner_name(owners, span.mac)} also answered, for {format_seconds(span.end - span.start)}"
        for span in timeline.strays
    ]
    recording = timeline.recording
    if recording.unicasts:
        answered = f"{recording.unicasts_answered} of {recording.unicasts} unicast solicitations answered"
        why = (
            ": a router that verifies neighbors by unicast drops the entry" if not recording.unicasts_answered else ""
        )
        found.append(f"{answered}{why}")
    silent = {frame.mac for frame in timeline.recording.announcements} - set(timeline.macs)
    found += [f"gratuitous frames from {owner_name(owners, mac)}, which never answered" for mac in sorted(silent)]
    return tuple(found)


def _next(verdict: str, ip: Address) -> tuple[str, str]:
    """Return the remedy and the next command."""
    check = f"provisioner l2 check {ip}"
    match verdict:
        case "OK":
            return "", ""
        case "GARP_MISSING":
            return (
                "flush the neighbor entry on the clients, or wait until it expires; report this to MetalLB",
                f"ip neigh flush to {ip}",
            )
        case "UNKNOWN":
            return (
                "watch again until the address is stable",
                f"provisioner l2 watch {ip} --until-stable",
            )
        case "FLAPPING":
            return (
                "find what comes and goes: pods (readiness probes), speakers (restarts), memberlist between them",
                "kubectl get events -A --sort-by=.lastTimestamp",
            )
        case "NOT_SERVING":
            return "check the pods and endpoints of the Service", check
        case _:
            return "find the cause", check


def title(timeline: Timeline, owners: Owners) -> str:
    """Return the result in one sentence: who had the address, who has it, how long it was silent."""
    ip, transitions, recording = timeline.recording.ip, timeline.transitions, timeline.recording
    names = owner_names(timeline.macs, owners)
    if not timeline.spans:
        return f"{ip}: no reply in {format_seconds(recording.ended - recording.started)}"
    if timeline.turns.flapped():
        between = " and ".join(dict.fromkeys(names.get(mac, mac) for mac, _ in timeline.turns.turns))
        moves, seconds = timeline.turns.moves, format_seconds(timeline.turns.seconds)
        return f"{ip} moved back and forth, {moves} times in {seconds}, between {between}"
    if len(timeline.holders) > 1:
        shown = " and ".join(names[mac] for mac in timeline.holders)
        return f"{ip} has {len(timeline.holders)} owners: {shown}"
    if not transitions:
        whole = format_seconds(recording.ended - recording.started)
        return f"{ip} stayed on {names[timeline.macs[0]]}: no silence in {whole}"
    if len(transitions) == 1:
        return f"{ip} {_transition_title(timeline, transitions[0], names)}"
    macs = [transitions[0].before, *(transition.after for transition in transitions)]
    path = " → ".join(names.get(mac, NO_OWNER) for mac in macs)
    total = sum(transition.silence or 0.0 for transition in transitions)
    return f"{ip} changed {len(transitions)} times, {path}: silent for {format_seconds(total)} in total"


def _transition_title(timeline: Timeline, transition: Transition, names: Mapping[str, str]) -> str:
    before, after = names.get(transition.before, ""), names.get(transition.after, "")
    if transition.lost and transition.old_last is not None:
        quiet = format_seconds(timeline.recording.ended - transition.old_last)
        return f"went silent: last reply from {before} {quiet} before the end"
    if not transition.before:
        return f"came up on {after} after at least {format_seconds(transition.silence_least or 0.0)} of silence"
    if transition.before == transition.after:
        return f"stayed on {after}: silent for {format_seconds(transition.silence or 0.0)}"
    moved = f"moved from {before} to {after}"
    if transition.overlap:
        return f"{moved} without silence: both answered for {format_seconds(transition.overlap)}"
    return f"{moved}: silent for {format_seconds(transition.silence or 0.0)}"


def owner_name(owners: Owners, mac: str) -> str:
    """Return an owner's node, or its MAC if it is not a node."""
    owner = owners.get(mac)
    if owner is None or not owner.nodes:
        return mac
    return owner.node or " or ".join(owner.nodes)


def owner_names(macs: Iterable[str], owners: Owners) -> dict[str, str]:
    """Return a unique name for each MAC, with its interface or MAC added where two would be the same."""
    macs = tuple(macs)
    plain = {mac: owner_name(owners, mac) for mac in macs}
    found = {}
    for mac, name in plain.items():
        same = [other for other in macs if plain[other] == name]
        owner = owners.get(mac)
        suffix = (owner.nic if owner is not None and owner.nic else mac) if len(same) > 1 else ""
        found[mac] = f"{name} {suffix}".strip()
    return found


def truncate(name: str, most: int = 28) -> str:
    """Return a name for the margin of a chart; a long one, such as an FQDN, is cut off at the end."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def format_seconds(value: float) -> str:
    """Return a duration for people: 5.2 s, 350 ms."""
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.1f} s"

"""Judge a failover: a verdict, a title that says the answer in words, and the sentences that bear it out.

A watch tells what happened and when. Why two owners answer, or nobody, is for `l2 check` to say, so those verdicts
name that as the next command instead of guessing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from provisioner.l2.probe.capture import Address
from provisioner.l2.result import AddressOwner, Result
from provisioner.l2.watch.spans import MISSED
from provisioner.l2.watch.timeline import HANDOVER, Change, Timeline, doubled

Owners = Mapping[str, AddressOwner]

# Verdicts of a watch beside those of a check.
VERDICTS = {
    "NEVER_ANSWERED": "Nobody answered at any time during the watch.",
    "NEVER_RETURNED": "The owner went silent, and nobody has answered since.",
    "TWO_OWNERS": "Two owners answer for the address, for longer than a handover takes.",
    "UNSTABLE": "The address did not settle with one owner in the time given.",
}
WARNINGS = {
    "GARP_LOST": "fewer gratuitous frames were seen than MetalLB sends",
    "NEVER_CONNECTED": "no TCP connection came about at any time",
    "LONG_OVERLAP": "two owners answered together for longer than a handover takes",
}


def judge(
    timeline: Timeline, owners: Owners, *, service: str = "", pool: str = "", strangers: Collection[str] = ()
) -> Result:
    """Return the verdict on a watch. owners: by MAC; strangers: MACs that are known to be no node's."""
    verdict, reasons = _verdict(timeline, owners, strangers)
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


def _verdict(timeline: Timeline, owners: Owners, strangers: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """Return the code and the sentences that decided it: those of the first cause that applies."""
    if why := _unproven(timeline):
        return "UNKNOWN", (why,)
    causes = (
        _holding(timeline, owners, strangers),
        _settling(timeline),
        _telling(timeline, owners),
        _serving(timeline, owners),
    )
    code, why = next((cause for cause in causes if cause is not None), ("OK", ""))
    return code, (why,) if why else ()


def _holding(timeline: Timeline, owners: Owners, strangers: Collection[str]) -> tuple[str, str] | None:
    """Judge who has the address at the end."""
    holders = timeline.holders
    if not timeline.spans:
        return "NEVER_ANSWERED", f"{len(timeline.recording.asked)} questions, no answer"
    if not holders:
        return "NEVER_RETURNED", f"{timeline.changes[-1].unanswered} questions since the last answer, none answered"
    if len(holders) > 1:
        shown = " and ".join(named(timeline.macs, owners)[mac] for mac in holders)
        if (together := doubled(timeline)) > HANDOVER:
            return "TWO_OWNERS", f"{shown} answered together for {seconds(together)}, to the end"
        return "UNKNOWN", f"{shown} both answer, and the watch ended within the {HANDOVER:.0f} s of a handover"
    if holders[0] in strangers:
        return "ADDRESS_CONFLICT", f"{holders[0]} has the address and is no node's network card"
    return None


def _settling(timeline: Timeline) -> tuple[str, str] | None:
    """Judge whether what was waited for has happened."""
    recording, count = timeline.recording, len(timeline.changes)
    if not recording.wanted_change or recording.ended_by != "timeout":
        return None
    whole = seconds(recording.ended - recording.started)
    if count:
        return "UNSTABLE", f"{count} change{'s' if count > 1 else ''} in {whole}, the last too close to the end"
    return "UNKNOWN", f"nothing happened in {whole}: there was no failover to time"


def _telling(timeline: Timeline, owners: Owners) -> tuple[str, str] | None:
    """Judge whether each new owner made itself known to the clients."""
    for change in timeline.changes:
        if change.moved and not change.gratuitous.frames:
            who = named(timeline.macs, owners)[change.after]
            if not change.gratuitous.complete:
                return "UNKNOWN", f"no gratuitous frame of {who} yet, and the watch ended before all could come"
            return "GARP_MISSING", f"{who} took over and sent no gratuitous frame"
    return None


def _serving(timeline: Timeline, owners: Owners) -> tuple[str, str] | None:
    """Judge whether the service is reached through the new owner as it was through the old one."""
    recording, changes = timeline.recording, timeline.changes
    if not changes or not any(shake.outcome == "open" for shake in recording.handshakes):
        return None
    last = changes[-1]
    tried = [shake.outcome for shake in recording.handshakes if shake.mac == last.after]
    if last.moved and len(tried) >= MISSED and "open" not in tried:
        who = named(timeline.macs, owners)[last.after]
        return "NOT_SERVING", f"none of {len(tried)} connections to port {recording.port} through {who} came about"
    return None


def _unproven(timeline: Timeline) -> str:
    """Return why nothing can be concluded from the recording, "" where it can."""
    recording = timeline.recording
    if recording.trouble:
        return f"the watch was cut short: {recording.trouble}"
    if recording.dropped:
        return f"the kernel dropped {recording.dropped} frames here, so silence proves nothing"
    if len(recording.asked) < MISSED:
        return f"only {len(recording.asked)} questions were asked"
    return ""


def _warnings(timeline: Timeline) -> tuple[str, ...]:
    found = []
    for change in timeline.changes:
        seen = change.gratuitous
        if seen.expected and seen.complete and seen.rounds < seen.expected:
            found.append("GARP_LOST")
    if doubled(timeline) > HANDOVER and len(timeline.holders) < 2:
        found.append("LONG_OVERLAP")
    tries = [shake.outcome for shake in timeline.recording.handshakes]
    if len(tries) >= MISSED and "open" not in tries:
        found.append("NEVER_CONNECTED")
    return tuple(dict.fromkeys(found))


def _sentences(timeline: Timeline, owners: Owners) -> tuple[str, ...]:
    """Return further evidence: what happened beside the changes themselves."""
    found = [
        f"{name(owners, span.mac)} answered too, for {seconds(span.end - span.start)}" for span in timeline.strays
    ]
    silent = {frame.mac for frame in timeline.recording.announcements} - set(timeline.macs)
    found += [f"gratuitous frames came from {name(owners, mac)}, which never answered" for mac in sorted(silent)]
    return tuple(found)


def _next(verdict: str, ip: Address) -> tuple[str, str]:
    """Return the remedy and the command to type next."""
    check = f"provisioner l2 check {ip}"
    match verdict:
        case "OK":
            return "", ""
        case "GARP_MISSING":
            return (
                "clients keep the old owner until their neighbour entry expires: flush it there, and report this",
                f"ip neigh flush to {ip}",
            )
        case "UNKNOWN":
            return (
                "watch again, and let it run until the address has settled",
                f"provisioner l2 watch {ip} --until-stable",
            )
        case "NOT_SERVING":
            return "look at the pods and endpoints behind the service", check
        case _:
            return "find out why", check


def title(timeline: Timeline, owners: Owners) -> str:
    """Return the answer in one sentence: who had the address, who has it, and how long nobody did."""
    ip, changes, recording = timeline.recording.ip, timeline.changes, timeline.recording
    names = named(timeline.macs, owners)
    if not timeline.spans:
        return f"{ip}: nobody answered in {seconds(recording.ended - recording.started)}"
    if len(timeline.holders) > 1:
        shown = " and ".join(names[mac] for mac in timeline.holders)
        return f"{ip} has {len(timeline.holders)} owners: {shown} answer"
    if not changes:
        whole = seconds(recording.ended - recording.started)
        return f"{ip} stayed on {names[timeline.macs[0]]}: no silence in {whole}"
    if len(changes) == 1:
        return f"{ip} {_one(timeline, changes[0], names)}"
    path = [changes[0].before or "nobody", *(change.after or "nobody" for change in changes)]
    shown = " → ".join(word if word == "nobody" else names[word] for word in path)
    total = sum(change.silence or 0.0 for change in changes)
    return f"{ip} changed {len(changes)} times, {shown}: silent for {seconds(total)} in all"


def _one(timeline: Timeline, change: Change, names: Mapping[str, str]) -> str:
    before, after = names.get(change.before, ""), names.get(change.after, "")
    if change.lost and change.old_last is not None:
        quiet = seconds(timeline.recording.ended - change.old_last)
        return f"went silent: {before} gave its last answer {quiet} before the end"
    if not change.before:
        return f"came up on {after}; before, nobody answered for at least {seconds(change.silence_least or 0.0)}"
    if change.before == change.after:
        return f"stayed on {after}: silent for {seconds(change.silence or 0.0)}"
    moved = f"moved from {before} to {after}"
    if change.overlap:
        return f"{moved} without silence: both answered for {seconds(change.overlap)}"
    return f"{moved}: silent for {seconds(change.silence or 0.0)}"


def name(owners: Owners, mac: str) -> str:
    """Return how people call an owner: node, and interface where several would be meant; else the MAC."""
    owner = owners.get(mac)
    if owner is None or not owner.nodes:
        return mac
    return owner.node or " or ".join(owner.nodes)


def named(macs: Iterable[str], owners: Owners) -> dict[str, str]:
    """Return a name for each MAC, told apart by interface or MAC where two would be called the same."""
    macs = tuple(macs)
    plain = {mac: name(owners, mac) for mac in macs}
    found = {}
    for mac, called in plain.items():
        twins = [other for other in macs if plain[other] == called]
        owner = owners.get(mac)
        apart = (owner.nic if owner is not None and owner.nic else mac) if len(twins) > 1 else ""
        found[mac] = f"{called} {apart}".strip()
    return found


def shortened(called: str, most: int = 28) -> str:
    """Return a name for the margin of a chart; a long one, such as a full domain name, with its end cut off."""
    return called if len(called) <= most else f"{called[: most - 1]}…"


def seconds(value: float) -> str:
    """Return a duration as people read it: 5.2 s, 350 ms."""
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.1f} s"

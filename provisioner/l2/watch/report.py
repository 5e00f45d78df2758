"""What a timeline says, as data: events in order, figures in words, and the whole as l2watch/v1 for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from provisioner.l2.phrases import VERDICTS as CHECKED
from provisioner.l2.probe.capture import Handshake
from provisioner.l2.result import AddressOwner, Result
from provisioner.l2.watch.timeline import Change, Gratuitous, Timeline
from provisioner.l2.watch.verdict import VERDICTS, WARNINGS, named, seconds, title

SCHEMA = "l2watch/v1"
NOT_SEEN = "not seen"
AROUND = 30.0  # seconds before the first and after the last change of which each handshake is told
Owners = Mapping[str, "AddressOwner"]


@dataclass(frozen=True)
class Event:
    """Something that happened. when: Unix time; code: for machines; mac: whose doing, "" for nobody's."""

    when: float
    code: str
    mac: str
    text: str


def events(timeline: Timeline, owners: Owners) -> tuple[Event, ...]:
    """Return the turning points, in order of time."""
    names = named(timeline.macs, owners)
    found = []
    for change in timeline.changes:
        before, after = names.get(change.before, ""), names.get(change.after, "")
        if change.old_last is not None:
            found.append(
                Event(change.old_last, "old_last_reply", change.before, f"{before} answers for the last time")
            )
        if change.gratuitous.first is not None:
            text = f"{after} sends its first gratuitous frame"
            found.append(Event(change.gratuitous.first, "first_gratuitous", change.after, text))
        if change.new_first is not None:
            again = "again" if change.before == change.after else "for the first time"
            found.append(Event(change.new_first, "new_first_reply", change.after, f"{after} answers {again}"))
        if change.tcp_last is not None and noticed(timeline, change):
            found.append(Event(change.tcp_last, "last_tcp_before", "", "last TCP connection before"))
        if change.tcp_first is not None:
            text = f"first TCP answer through {after}: {change.tcp_outcome}"
            found.append(Event(change.tcp_first, "first_tcp_answer", change.after, text))
    for span in timeline.strays:
        text = f"{names[span.mac]} answers too, for {seconds(span.end - span.start)}"
        found.append(Event(span.start, "stray", span.mac, text))
    return tuple(sorted(found, key=lambda event: event.when))


def noticed(timeline: Timeline, change: Change) -> bool:
    """Tell whether connections failed for longer than the pace of asking explains."""
    return change.tcp_outage is None or change.tcp_outage > 2.5 * timeline.recording.tcp_interval


def figures(timeline: Timeline, change: Change) -> tuple[tuple[str, str], ...]:
    """Return the figures of one change in words, each with its name; what was not seen says so."""
    recording = timeline.recording
    every = f"a question every {seconds(recording.interval)}"
    least = "" if change.silence_least is None else f"at least {change.silence_least:.3f} s"
    if change.silence is not None:
        silence = f"{change.silence:.3f} s, {least} ({every})" if change.silence else f"none ({every})"
    else:
        silence = f"{least}; its {'end' if change.lost else 'beginning'} was {NOT_SEEN}"
    found = [("silence", silence)]
    if change.moved or change.both:
        still = ", and it goes on" if change.both else ""
        found.append(("overlap", f"{change.overlap:.3f} s{still}" if change.overlap else "none"))
    if not change.lost:
        found.append(("gratuitous", gratuitous(change.gratuitous, recording.ip.version)))
    found.append((f"TCP {recording.port}" if recording.port else "TCP", _tcp(timeline, change)))
    return tuple(found)


def gratuitous(seen: Gratuitous, version: int) -> str:
    """Return the count of gratuitous frames in words."""
    what = "pairs" if version == 4 else "announcements"
    if not seen.frames:
        return NOT_SEEN if seen.complete else f"{NOT_SEEN} so far"
    if seen.expected is None:
        return f"{seen.frames} frame{'s' if seen.frames > 1 else ''}, not the {what} of MetalLB"
    return f"{seen.rounds} {what} of the expected {seen.expected}{'' if seen.complete else ', so far'}"


def _tcp(timeline: Timeline, change: Change) -> str:
    recording = timeline.recording
    if not recording.port:
        return "not asked (--port)"
    every = f"asked every {seconds(recording.tcp_interval)}"
    if change.tcp_outage is not None:
        return f"{change.tcp_outage:.3f} s between the last connection and the next ({every})"
    if change.tcp_first is not None:
        return f"first answer: {change.tcp_outcome}; no connection before or after it to reckon from ({every})"
    if change.tcp_last is not None:
        return f"no answer after the connection at {change.tcp_last - timeline.zero:+.3f} s ({every})"
    return f"answer {NOT_SEEN} ({every})"


def outcomes(timeline: Timeline) -> dict[str, int]:
    """Return how many connections were tried with which outcome."""
    return dict(Counter(shake.outcome for shake in timeline.recording.handshakes))


def tried(timeline: Timeline) -> str:
    """Return the outcomes in words, "" where no TCP was asked."""
    found = outcomes(timeline)
    shown = ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.items()))
    return f"{sum(found.values())} tries: {shown}" if found else ""


def near(timeline: Timeline) -> list[Handshake]:
    """Return the handshakes around what happened, not those of the hours that one waited for it."""
    if not timeline.changes:
        return []
    moments = [when for change in timeline.changes for when in (change.old_last, change.new_first) if when is not None]
    first, last = min(moments) - AROUND, max(moments) + AROUND
    return [shake for shake in timeline.recording.handshakes if first <= shake.timestamp <= last]


def document(timeline: Timeline, result: Result, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return l2watch/v1. Times: `time` in ISO 8601, `unix` in seconds, `t` in seconds from the first loss.

    run: version, interface, source_mac, source_ip, sent, received, pps; the rest of `run` comes from the recording.
    """
    recording, owners = timeline.recording, {owner.mac: owner for owner in result.owners}
    names = named(timeline.macs, owners)
    return {
        "schema": SCHEMA,
        "run": {
            **run,
            "started": recording.started,
            "ended": recording.ended,
            "ended_by": recording.ended_by,
            "questions": len(recording.asked),
            "interval_s": recording.interval,
            "gap_s": recording.gap,
            "tcp_port": recording.port or None,
            "tcp_interval_s": recording.tcp_interval if recording.port else None,
            "dropped": recording.dropped,
        },
        "ip": result.ip,
        "family": result.family,
        "service": result.service,
        "pool": result.pool,
        "verdict": result.verdict,
        "title": title(timeline, owners),
        "evidence": list(result.evidence),
        "warnings": list(result.warnings),
        "remedy": result.remedy,
        "command": result.command,
        "zero": timeline.zero,
        "owners": [
            {
                "mac": owner.mac,
                "name": names[owner.mac],
                "node": owner.node,
                "nic": owner.nic,
                "matched_by": owner.matched_by,
                "vendor": owner.vendor,
                "holds": owner.mac in timeline.holders,
            }
            for owner in result.owners
        ],
        "changes": [_change(timeline, change) for change in timeline.changes],
        "events": [
            {**_moment(timeline, event.when), "event": event.code, "mac": event.mac, "text": event.text}
            for event in events(timeline, owners)
        ],
        "spans": [
            {
                "mac": span.mac,
                "from": _moment(timeline, span.start),
                "to": _moment(timeline, span.end),
                "answers": span.answers,
            }
            for span in timeline.spans
        ],
        "gratuitous_frames": [
            {**_moment(timeline, frame.timestamp), "mac": frame.mac, "request": frame.request, "length": frame.length}
            for frame in recording.announcements
        ],
        "connections": [
            {
                **(_moment(timeline, shake.timestamp) if shake.timestamp else {"t": None}),
                "mac": shake.mac,
                "outcome": shake.outcome,
                "rtt_ms": None if shake.rtt is None else round(shake.rtt * 1000, 3),
            }
            for shake in near(timeline)
        ],
        "tcp_outcomes": outcomes(timeline),
    }


def _change(timeline: Timeline, change: Change) -> dict[str, Any]:
    resolution = None
    if change.silence is not None and change.silence_least is not None:
        resolution = _round(change.silence - change.silence_least if change.silence else timeline.recording.interval)
    seen = change.gratuitous
    return {
        "kind": _kind(change),
        "from": change.before or None,
        "to": change.after or None,
        "old_last_reply": _when(timeline, change.old_last),
        "new_first_reply": _when(timeline, change.new_first),
        "silence_s": _round(change.silence),
        "silence_at_least_s": _round(change.silence_least),
        "resolution_s": resolution,
        "unanswered": change.unanswered,
        "overlap_s": _round(change.overlap),
        "first_gratuitous": _when(timeline, seen.first),
        "gratuitous_frames": seen.frames,
        "gratuitous_pairs": seen.rounds if seen.expected else None,
        "gratuitous_expected": seen.expected,
        "gratuitous_complete": seen.complete,
        "last_tcp_before": _when(timeline, change.tcp_last),
        "first_tcp_answer": _when(timeline, change.tcp_first),
        "first_tcp_outcome": change.tcp_outcome or None,
        "tcp_outage_s": _round(change.tcp_outage),
    }


def _kind(change: Change) -> str:
    if change.lost:
        return "lost"
    if change.both:
        return "doubled"
    if not change.before:
        return "appeared"
    return "moved" if change.moved else "interrupted"


def _when(timeline: Timeline, when: float | None) -> dict[str, Any] | None:
    return None if when is None else _moment(timeline, when)


def _moment(timeline: Timeline, when: float) -> dict[str, Any]:
    moment = datetime.fromtimestamp(when, UTC).isoformat(timespec="microseconds")
    return {"t": round(when - timeline.zero, 6), "unix": round(when, 6), "time": moment}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def meaning(result: Result) -> str:
    """Return what the verdict means, "" where it is well or the evidence says it all."""
    return "" if result.ok else VERDICTS.get(result.verdict) or CHECKED.get(result.verdict, "")


def warned(result: Result) -> Sequence[str]:
    """Return the warnings as sentences."""
    return [WARNINGS[code] for code in result.warnings]

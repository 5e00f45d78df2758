"""A timeline as data: milestones in order, figures as text, and l2watch/v1 for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from provisioner.l2 import phrases
from provisioner.l2.probe.capture import Handshake
from provisioner.l2.result import Result
from provisioner.l2.watch.timeline import GratuitousSummary, Timeline, Transition
from provisioner.l2.watch.verdict import VERDICTS, WARNINGS, Owners, format_seconds, owner_names, title
from provisioner.text import pluralize

SCHEMA = "l2watch/v1"
NOT_SEEN = "not seen"
AROUND = 30.0  # seconds before the first and after the last transition in which each handshake is reported


@dataclass(frozen=True)
class Milestone:
    """A turning point. when: Unix time; code: for programs; mac: of the owner, "" for none."""

    when: float
    code: str
    mac: str
    text: str


def milestones(timeline: Timeline, owners: Owners) -> tuple[Milestone, ...]:
    """Return the turning points, in order of time."""
    names = owner_names(timeline.macs, owners)
    found = []
    for transition in timeline.transitions:
        before, after = names.get(transition.before, ""), names.get(transition.after, "")
        if transition.old_last is not None:
            found.append(
                Milestone(transition.old_last, "old_last_reply", transition.before, f"last reply from {before}")
            )
        if transition.gratuitous.first is not None:
            text = f"first gratuitous frame from {after}"
            found.append(Milestone(transition.gratuitous.first, "first_gratuitous", transition.after, text))
        if transition.new_first is not None:
            text = f"{after} replies again" if transition.before == transition.after else f"first reply from {after}"
            found.append(Milestone(transition.new_first, "new_first_reply", transition.after, text))
        if transition.tcp_last is not None and tcp_interrupted(timeline, transition):
            found.append(
                Milestone(transition.tcp_last, "last_tcp_before", "", "last TCP connection before the outage")
            )
        if transition.tcp_first is not None:
            text = f"first TCP answer through {after}: {transition.tcp_outcome}"
            found.append(Milestone(transition.tcp_first, "first_tcp_answer", transition.after, text))
    for span in timeline.strays:
        text = f"{names[span.mac]} also answers, for {format_seconds(span.end - span.start)}"
        found.append(Milestone(span.start, "stray", span.mac, text))
    return tuple(sorted(found, key=lambda milestone: milestone.when))


def tcp_interrupted(timeline: Timeline, transition: Transition) -> bool:
    """Tell whether connections failed for longer than the interval between them explains."""
    return transition.tcp_outage is None or transition.tcp_outage > 2.5 * timeline.recording.tcp_interval


def figures(timeline: Timeline, transition: Transition) -> tuple[tuple[str, str], ...]:
    """Return the figures of one transition as text, each with its name; unobserved ones are marked as such."""
    recording = timeline.recording
    every = f"one request every {format_seconds(recording.interval)}"
    least = "" if transition.silence_least is None else f"at least {transition.silence_least:.3f} s"
    if transition.silence is not None:
        silence = f"{transition.silence:.3f} s, {least} ({every})" if transition.silence else f"none ({every})"
    else:
        silence = f"{least}; its {'end' if transition.lost else 'start'} was {NOT_SEEN}"
    found = [("silence", silence)]
    if transition.moved or transition.both:
        still = ", ongoing" if transition.both else ""
        found.append(("overlap", f"{transition.overlap:.3f} s{still}" if transition.overlap else "none"))
    if not transition.lost:
        found.append(("gratuitous", gratuitous(transition.gratuitous, recording.ip.version)))
    found.append((f"TCP {recording.port}" if recording.port else "TCP", _tcp(timeline, transition)))
    return tuple(found)


def gratuitous(seen: GratuitousSummary, version: int) -> str:
    """Return the count of gratuitous frames as text."""
    what = "pairs" if version == 4 else "announcements"
    if not seen.frames:
        return NOT_SEEN if seen.complete else f"{NOT_SEEN} so far"
    if seen.expected is None:
        return f"{pluralize(seen.frames, 'frame')}, not MetalLB's {what}"
    return f"{seen.rounds} of {seen.expected} expected {what}{'' if seen.complete else ' so far'}"


def _tcp(timeline: Timeline, transition: Transition) -> str:
    recording = timeline.recording
    if not recording.port:
        return "not tried (--port)"
    every = f"one SYN every {format_seconds(recording.tcp_interval)}"
    if transition.tcp_outage is not None:
        return f"{transition.tcp_outage:.3f} s between the last connection and the next ({every})"
    if transition.tcp_first is not None:
        return f"first answer: {transition.tcp_outcome}; outage not measured, for lack of a connection ({every})"
    if transition.tcp_last is not None:
        return f"no answer after the connection at {transition.tcp_last - timeline.zero:+.3f} s ({every})"
    return f"answer {NOT_SEEN} ({every})"


def outcomes(timeline: Timeline) -> dict[str, int]:
    """Return the number of connections by outcome."""
    return dict(Counter(shake.outcome for shake in timeline.recording.handshakes))


def tcp_summary(timeline: Timeline) -> str:
    """Return the number of connections by outcome as text, "" without TCP."""
    found = outcomes(timeline)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.items()))
    return f"{pluralize(sum(found.values()), 'connection')}: {counts}" if found else ""


def nearby_handshakes(timeline: Timeline) -> list[Handshake]:
    """Return the handshakes around the transitions, without those of hours of waiting."""
    if not timeline.transitions:
        return []
    times = [
        when
        for transition in timeline.transitions
        for when in (transition.old_last, transition.new_first)
        if when is not None
    ]
    first, last = min(times) - AROUND, max(times) + AROUND
    return [shake for shake in timeline.recording.handshakes if first <= shake.timestamp <= last]


def document(timeline: Timeline, result: Result, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return l2watch/v1. Times: `time` in ISO 8601, `unix` in seconds, `t` in seconds from the first loss.

    run: version, interface, source_mac, source_ip, sent, received, pps; the rest of `run` comes from the recording.
    """
    recording, owners = timeline.recording, {owner.mac: owner for owner in result.owners}
    names = owner_names(timeline.macs, owners)
    return {
        "schema": SCHEMA,
        "run": {
            **run,
            "started": recording.started,
            "ended": recording.ended,
            "ended_by": recording.ended_by,
            "questions": len(recording.requests),
            "interval_s": recording.interval,
            "gap_s": recording.gap,
            "tcp_port": recording.port or None,
            "tcp_interval_s": recording.tcp_interval if recording.port else None,
            "dropped": recording.dropped,
            "unicasts": recording.unicasts,
            "unicasts_answered": recording.unicasts_answered,
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
        "moves": timeline.turns.moves,
        "changes": [_transition(timeline, transition) for transition in timeline.transitions],
        "events": [
            {**_time(timeline, milestone.when), "event": milestone.code, "mac": milestone.mac, "text": milestone.text}
            for milestone in milestones(timeline, owners)
        ],
        "spans": [
            {
                "mac": span.mac,
                "from": _time(timeline, span.start),
                "to": _time(timeline, span.end),
                "answers": span.answers,
            }
            for span in timeline.spans
        ],
        "gratuitous_frames": [
            {**_time(timeline, frame.timestamp), "mac": frame.mac, "request": frame.request, "length": frame.length}
            for frame in recording.announcements
        ],
        "connections": [
            {
                **(_time(timeline, shake.timestamp) if shake.timestamp else {"t": None}),
                "mac": shake.mac,
                "outcome": shake.outcome,
                "rtt_ms": None if shake.rtt is None else round(shake.rtt * 1000, 3),
            }
            for shake in nearby_handshakes(timeline)
        ],
        "tcp_outcomes": outcomes(timeline),
    }


def _transition(timeline: Timeline, transition: Transition) -> dict[str, Any]:
    resolution = None
    if transition.silence is not None and transition.silence_least is not None:
        resolution = _round(
            transition.silence - transition.silence_least if transition.silence else timeline.recording.interval
        )
    seen = transition.gratuitous
    return {
        "kind": _kind(transition),
        "from": transition.before or None,
        "to": transition.after or None,
        "old_last_reply": _when(timeline, transition.old_last),
        "new_first_reply": _when(timeline, transition.new_first),
        "silence_s": _round(transition.silence),
        "silence_at_least_s": _round(transition.silence_least),
        "resolution_s": resolution,
        "unanswered": transition.unanswered,
        "overlap_s": _round(transition.overlap),
        "first_gratuitous": _when(timeline, seen.first),
        "gratuitous_frames": seen.frames,
        "gratuitous_pairs": seen.rounds if seen.expected else None,
        "gratuitous_expected": seen.expected,
        "gratuitous_complete": seen.complete,
        "last_tcp_before": _when(timeline, transition.tcp_last),
        "first_tcp_answer": _when(timeline, transition.tcp_first),
        "first_tcp_outcome": transition.tcp_outcome or None,
        "tcp_outage_s": _round(transition.tcp_outage),
    }


def _kind(transition: Transition) -> str:
    if transition.lost:
        return "lost"
    if transition.both:
        return "doubled"
    if not transition.before:
        return "appeared"
    return "moved" if transition.moved else "interrupted"


def _when(timeline: Timeline, when: float | None) -> dict[str, Any] | None:
    return None if when is None else _time(timeline, when)


def _time(timeline: Timeline, when: float) -> dict[str, Any]:
    text = datetime.fromtimestamp(when, UTC).isoformat(timespec="microseconds")
    return {"t": round(when - timeline.zero, 6), "unix": round(when, 6), "time": text}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def verdict_meaning(result: Result) -> str:
    """Return what the verdict means, "" if it is OK."""
    return "" if result.ok else VERDICTS.get(result.verdict) or phrases.VERDICTS.get(result.verdict, "")


def warning_texts(result: Result) -> Sequence[str]:
    """Return the warnings as text."""
    return [WARNINGS[code] for code in result.warnings]

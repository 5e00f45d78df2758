"""Past events as timelines: one lane for each address over the period, and the events below."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provisioner.l2.guard.event import Event

# What a lane shows from an event on.
_UNKNOWN, _HELD, _SILENT, _CONFLICT = "·", "█", " ", "╳"
_ASCII: dict[str, str | int | None] = {_UNKNOWN: ".", _HELD: "=", _SILENT: " ", _CONFLICT: "x", "▲": "^"}
_MOVED = "▲"
STATES = {
    "FOUND": _HELD,
    "ANSWERED": _HELD,
    "ALONE": _HELD,
    "LEADER_CHANGED": _HELD,
    "FLAPPING": _HELD,
    "SILENT": _SILENT,
    "SPLIT_BRAIN": _CONFLICT,
    "ADDRESS_CONFLICT": _CONFLICT,
    "MULTI_NIC_SAME_SEGMENT": _CONFLICT,
    "DUPLICATE_OWNERS": _CONFLICT,
    "POOL_ADDRESS_IN_USE": _CONFLICT,
    "POOL_DUPLICATE": _CONFLICT,
    "VRRP_FOUND": _HELD,
    "VRRP_MASTER_CHANGED": _HELD,
    "VRRP_ALONE": _HELD,
    "VRRP_SILENT": _SILENT,
    "VRRP_TWO_MASTERS": _CONFLICT,
}
_MOVES = ("LEADER_CHANGED", "FLAPPING", "VRRP_MASTER_CHANGED")
LANES, LINES = 40, 200  # shown at most; the rest is counted
LEGEND = f"{_HELD} one owner  {_SILENT!r} silent  {_CONFLICT} conflict  {_MOVED} moved  {_UNKNOWN} unknown"


@dataclass(frozen=True)
class Lane:
    """The timeline of one subject. faults: in the period."""

    subject: str
    cells: str
    faults: int


def lanes(events: Sequence[Event], before: Sequence[Event], since: float, until: float, cells: int) -> list[Lane]:
    """Return a lane for each subject of the events or with a state before them; the worst first.

    before: the last event of each subject before `since`. cells: columns of a lane. A cell shows the worst that
    happened in it, or else the state.
    """
    state = {event.subject: STATES.get(event.code, _UNKNOWN) for event in before}
    grouped: dict[str, list[Event]] = {subject: [] for subject in state}
    for event in events:
        grouped.setdefault(event.subject, []).append(event)
    made = [
        Lane(subject, _cells(own, state.get(subject, _UNKNOWN), since, until, cells), _faults(own))
        for subject, own in grouped.items()
    ]
    return sorted(made, key=lambda lane: (-lane.faults, lane.subject))


def _faults(events: Sequence[Event]) -> int:
    return sum(event.severity == "fault" for event in events)


def _cells(events: Sequence[Event], state: str, since: float, until: float, cells: int) -> str:
    width = max(until - since, 1e-9) / cells
    shown, waiting = [], list(events)
    for number in range(cells):
        end = since + width * (number + 1)
        within = []
        while waiting and (waiting[0].time < end or number == cells - 1):
            within.append(waiting.pop(0))
        marks = {state, *(STATES.get(event.code, state) for event in within)}
        moved = any(event.code in _MOVES for event in within)
        for event in within:
            state = STATES.get(event.code, state)
        worst = next((mark for mark in (_CONFLICT, _SILENT) if mark in marks), "")
        shown.append(worst or (_MOVED if moved else state))
    return "".join(shown)


def render(
    events: Sequence[Event], before: Sequence[Event], since: float, until: float, *, width: int, utf8: bool = True
) -> str:
    """Return the timelines and the events for people."""
    found = lanes(events, before, since, until, 1)
    if not found:
        return f"Nothing was reported since {_clock(since)}."
    column = max(len(lane.subject) for lane in found[:LANES])
    cells = max(10, width - column - 2)
    drawn = [f"{lane.subject:<{column}}  {lane.cells}" for lane in lanes(events, before, since, until, cells)[:LANES]]
    scale = f"{'':<{column}}  {_clock(since)}{_clock(until):>{max(cells - 19, 20)}}"
    lines = [*drawn, scale, f"{'':<{column}}  {LEGEND}"]
    if len(found) > LANES:
        lines.append(f"… and {len(found) - LANES} more addresses")
    lines += ["", *(["" + f"… {len(events) - LINES} earlier events"] if len(events) > LINES else [])]
    lines += [event.line() for event in events[-LINES:]]
    lines += ["", _summary(events)]
    text = "\n".join(line.rstrip() for line in lines)
    return text if utf8 else text.translate(str.maketrans(_ASCII)).replace("…", "...")


def _summary(events: Sequence[Event]) -> str:
    counts: dict[str, int] = {}
    for event in events:
        if event.severity == "fault":
            counts[event.code] = counts.get(event.code, 0) + 1
    faults = ", ".join(f"{code} {count}" if count > 1 else code for code, count in counts.items())
    return f"{len(events)} events, faults: {faults or 'none'}."


def document(events: Sequence[Event], since: float, until: float) -> Mapping[str, object]:
    """Return l2history/v1 for programs."""
    return {
        "schema": "l2history/v1",
        "since": round(since, 3),
        "until": round(until, 3),
        "events": [event.document() for event in events],
    }


def _clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))

"""Failovers: each as `l2 watch` recorded it, and the events of `l2 guard`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError
from provisioner.l2.guard import event, history, store
from provisioner.page.document import Event, Failover, Failovers, HistoryLane, Lane, Source
from provisioner.page.gather.earlier import Saved

CELLS = 240  # a lane's resolution
LATEST = 4e9  # seconds: the year 2096
SHOWN = 40  # events, and addresses with a lane
_STATES = {"·": "unknown", "█": "held", " ": "silent", "╳": "conflict", "▲": "moved"}  # of history.lanes


def failovers(watched: Sequence[Saved], saved: Saved | None, db: Path, since: float) -> Failovers:
    """Return what the files hold; the guard's events from its own file unless `saved` has them.

    db: the guard's file, which need not exist. since: Unix time. Raises ValueError, KeyError or TypeError for a
    malformed file of an earlier command.
    """
    found = tuple(failover(one) for one in watched)
    until = time.time()
    if saved is not None:
        events, before = [_event(one) for one in saved.body["events"]], []
        since, until, file = _number(saved.body["since"]), _number(saved.body["until"]), saved.file
    elif db.exists():
        file = str(db)
        try:
            with store.Store(db, create=False) as kept:
                events, before = kept.events(since=since), kept.before(since)
        except ProvisionerError as error:
            return Failovers(Source("missing", why=error.message, remedy=error.remedy), found)
    else:
        why = "" if found else "no failover was recorded, and no guard has watched the segment from here"
        remedy = "provisioner l2 watch IP -o json >watch.json; provisioner report --from watch.json"
        state = Source("earlier", when=until) if found else Source("skipped", why=why, remedy=remedy)
        return Failovers(state, found)
    lanes = history.lanes(events, before, since, until, CELLS)[:SHOWN]
    return Failovers(
        Source("earlier", when=until, file=file),
        found,
        tuple(HistoryLane(lane.subject, lane.faults, _runs(lane.cells)) for lane in lanes),
        tuple(Event(one.time, one.code, one.severity, one.subject, one.text) for one in events[-SHOWN:]),
        len(events),
        since,
        until,
        file,
    )


def _event(entry: Mapping[str, Any]) -> event.Event:
    known: dict[str, event.Severity] = {"notice": "notice", "resolved": "resolved"}
    severity = known.get(entry["severity"], "fault")
    return event.Event(_number(entry["time"]), str(entry["code"]), severity, str(entry["subject"]), str(entry["text"]))


def _runs(cells: str) -> tuple[tuple[str, int], ...]:
    return tuple((_STATES.get(mark, "unknown"), len([*same])) for mark, same in groupby(cells))


def failover(saved: Saved) -> Failover:
    """Return the failover of an l2watch/v1. Raises ValueError, KeyError or TypeError for a malformed one."""
    body = saved.body
    zero, run = _number(body["zero"]), body["run"]
    began, ended = _number(run["started"]) - zero, _number(run["ended"]) - zero
    names = {owner["mac"]: str(owner["name"]) for owner in body["owners"]}
    spans: dict[str, list[tuple[float, float]]] = {}
    for span in body["spans"]:
        pair = (_number(span["from"]["t"]), _number(span["to"]["t"]))
        spans.setdefault(names.get(span["mac"], str(span["mac"])), []).append(pair)
    silences = tuple(_silences(body["changes"], began, ended))
    first, last = _visible(body["changes"], silences, began, ended)
    return Failover(
        ip=str(body["ip"]),
        title=str(body["title"]),
        verdict=str(body["verdict"]),
        zero=zero,
        first=first,
        last=last,
        lanes=tuple(Lane(name, tuple(found)) for name, found in spans.items()),
        silences=silences,
        figures=tuple(figure for change in body["changes"] for figure in _figures(change)),
        evidence=tuple(map(str, body["evidence"])),
        remedy=str(body.get("remedy") or ""),
        service=str(body.get("service") or ""),
        file=saved.file,
    )


def _silences(changes: Sequence[Mapping[str, Any]], began: float, ended: float) -> Iterator[tuple[float, float]]:
    for change in changes:
        old, new = change["old_last_reply"], change["new_first_reply"]
        start = began if old is None else _number(old["t"])
        end = ended if new is None else _number(new["t"])
        if end > start:
            yield start, end


def _visible(
    changes: Sequence[Mapping[str, Any]], silences: Sequence[tuple[float, float]], began: float, ended: float
) -> tuple[float, float]:
    """Return the seconds to show: every change with a margin, without idle hours."""
    times = [second for silence in silences for second in silence]
    for change in changes:
        marks = (change["old_last_reply"], change["new_first_reply"], change["first_tcp_answer"])
        times += [_number(mark["t"]) for mark in marks if mark is not None]
    if not times:
        return began, max(ended, began + 0.001)
    margin = max(1.0, 0.25 * (max(times) - min(times)))
    return max(began, min(times) - margin), min(max(ended, began + 0.001), max(times) + margin)


def _figures(change: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    silence, least = change["silence_s"], change["silence_at_least_s"]
    if silence is not None:
        yield "silence", f"{_number(silence):.3f} s"
    elif least is not None:
        yield "silence", f"at least {_number(least):.3f} s"
    if change["overlap_s"]:
        yield "both answered for", f"{float(change['overlap_s']):.3f} s"
    if change["gratuitous_expected"] is not None:
        yield "gratuitous", f"{change['gratuitous_pairs']} of {change['gratuitous_expected']} expected"
    elif change["gratuitous_frames"]:
        yield "gratuitous", f"{change['gratuitous_frames']} frames"
    if change["tcp_outage_s"] is not None:
        yield "no TCP connection for", f"{float(change['tcp_outage_s']):.3f} s"


def _number(value: Any) -> float:
    """Return a time or a duration in seconds. Raises ValueError for one that no clock has."""
    number = float(value)
    if abs(number) > LATEST:
        raise ValueError(f"{number:g} is no time")
    return number

"""A timeline for the terminal: the answer in a sentence, a lane an owner, the turning points, the figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from provisioner.l2.probe.capture import Announcement
from provisioner.l2.result import Result
from provisioner.l2.watch.report import Owners, events, figures, meaning, tried, warned
from provisioner.l2.watch.timeline import ONE_ROUND, Timeline
from provisioner.l2.watch.verdict import named, seconds, shortened, title

_LEFT = 2  # columns


@dataclass(frozen=True)
class Marks:
    """The characters of a chart. bar: answers; begin, line, end: a silence; tick: a gratuitous frame."""

    bar: str = "█"
    begin: str = "├"
    line: str = "─"
    end: str = "┤"
    tick: str = "▲"
    rule: str = "┼"


ASCII = Marks("=", "|", "-", "|", "^", "+")


@dataclass(frozen=True)
class Scale:
    """Which columns the seconds fall on. first, last: seconds from zero; width: columns."""

    first: float
    last: float
    width: int

    def column(self, second: float) -> int:
        """Return the column of a time, the nearest one in the chart for a time outside of it."""
        share = (second - self.first) / (self.last - self.first)
        return min(self.width - 1, max(0, round(share * (self.width - 1))))


def text(timeline: Timeline, result: Result, *, width: int = 100, marks: Marks | None = None) -> str:
    """Return the report of a watch for people. width: columns, at least 60. marks: ASCII where UTF-8 fails."""
    owners = {owner.mac: owner for owner in result.owners}
    parts = ["\n".join([title(timeline, owners), *_verdict(result)])]
    if timeline.spans:
        parts.append("\n".join(_chart(timeline, owners, max(60, width), marks or Marks())))
    if happened := events(timeline, owners):
        lines = [(f"{event.when - timeline.zero:+.3f} s", event.text) for event in happened]
        parts.append("\n".join(_columns(lines, right=True)))
    names = named(timeline.macs, owners)
    for change in timeline.changes:
        rows = _columns(figures(timeline, change))
        if len(timeline.changes) > 1:
            rows.insert(0, f"{names.get(change.before, 'nobody')} → {names.get(change.after, 'nobody')}:")
        parts.append("\n".join(rows))
    if not timeline.changes and (words := tried(timeline)):
        parts.append("\n".join(_columns([(f"TCP {timeline.recording.port}", words)])))
    whole = "\n\n".join(parts)
    return whole.replace("→", "->").replace("…", "...") if marks == ASCII else whole


def _verdict(result: Result) -> list[str]:
    """Return what is wrong, why, and what to do; nothing where all is well."""
    lines = []
    if not result.ok:
        lines.append(f"{result.verdict}: {meaning(result)}")
    lines += [f"  {sentence}" for sentence in (*result.evidence, *(f"warning: {one}" for one in warned(result)))]
    if result.remedy:
        lines.append(f"  remedy: {result.remedy}")
    if result.command:
        lines.append(f"  next: {result.command}")
    return lines


def _chart(timeline: Timeline, owners: Owners, width: int, marks: Marks) -> list[str]:
    names = {mac: shortened(called) for mac, called in named(timeline.macs, owners).items()}
    tcp = f"TCP {timeline.recording.port}" if timeline.recording.port else ""
    label = max(map(len, [*names.values(), "gratuitous", tcp]))
    first, last = view(timeline)
    scale = Scale(first, last, width - label - 2 - _LEFT)
    rows = [(names[mac], _bars(timeline, scale, mac, marks)) for mac in timeline.macs]
    if (silence := _silences(timeline, scale, marks)).strip():
        rows.insert(1, ("", silence))
    if timeline.recording.announcements:
        rows.append(("gratuitous", _ticks(timeline, scale, marks)))
    if tcp:
        rows.append((tcp, _connections(timeline, scale, marks)))
    rows += [("", line) for line in _axis(scale, marks)]
    return [f"{'':{_LEFT}}{name:{label}}  {line}".rstrip() for name, line in rows]


def view(timeline: Timeline) -> tuple[float, float]:
    """Return the seconds from zero that a picture shows: all that happened, with a margin, and no idle hours."""
    recording = timeline.recording
    whole = (recording.started, max(recording.ended, recording.started + 1e-3))
    moments = [frame.timestamp for frame in recording.announcements if timeline.changes]
    for change in timeline.changes:
        found = (change.old_last, change.new_first, change.tcp_last, change.tcp_first, change.gratuitous.first)
        moments += [moment for moment in found if moment is not None]
        if change.old_last is None and change.new_first is not None and not change.both:
            moments.append(max(recording.started, change.new_first - 3))  # some of the silence before it
    moments += [moment for span in timeline.strays for moment in (span.start, span.end)]
    if not moments or not timeline.holders or len(timeline.holders) > 1:
        moments += [recording.ended]
    if not timeline.changes and not timeline.strays:
        moments += [recording.started]
    margin = max(1.0, 0.12 * (max(moments) - min(moments)))
    first, last = max(whole[0], min(moments) - margin), min(whole[1], max(moments) + margin)
    if last <= first:
        first, last = whole
    return first - timeline.zero, last - timeline.zero


def _bars(timeline: Timeline, scale: Scale, mac: str, marks: Marks) -> str:
    cells = [" "] * scale.width
    for span in timeline.spans:
        start, end = span.start - timeline.zero, span.end - timeline.zero
        if span.mac == mac and end >= scale.first and start <= scale.last:
            for column in range(scale.column(start), scale.column(end) + 1):
                cells[column] = marks.bar
    return "".join(cells)


def _silences(timeline: Timeline, scale: Scale, marks: Marks) -> str:
    """Return a row that measures each silence, its length in the middle where there is room."""
    cells = [" "] * scale.width
    for change in timeline.changes:
        begin = timeline.recording.started if change.old_last is None else change.old_last
        end = timeline.recording.ended if change.new_first is None else change.new_first
        if not change.overlap and end > begin:
            exact = change.silence is not None
            length = change.silence if change.silence is not None else change.silence_least or 0.0
            words = f"{'' if exact else 'at least '}{seconds(length)}"
            _measure(cells, scale, (begin - timeline.zero, end - timeline.zero), ("silent", words), marks)
    return "".join(cells)


def _measure(
    cells: list[str], scale: Scale, stretch: tuple[float, float], words: tuple[str, str], marks: Marks
) -> None:
    """Draw a measure between two times into a row. words: what it is, and its length."""
    # The columns of the last answer before and of the first one after belong to those.
    begin, end = scale.column(stretch[0]) + 1, scale.column(stretch[1]) - 1
    if end < begin:
        return
    cells[begin : end + 1] = [marks.line] * (end - begin + 1)
    if end > begin:
        cells[begin], cells[end] = marks.begin, marks.end
    for shown in (f" {' '.join(words)} ", f" {words[1]} "):
        if len(shown) <= end - begin - 1:
            start = begin + 1 + (end - begin - 1 - len(shown)) // 2
            cells[start : start + len(shown)] = list(shown)
            return


def _ticks(timeline: Timeline, scale: Scale, marks: Marks) -> str:
    cells = [" "] * scale.width
    for frame in first_of_round(timeline):
        if scale.first <= (second := frame.timestamp - timeline.zero) <= scale.last:
            cells[scale.column(second)] = marks.tick
    return "".join(cells)


def first_of_round(timeline: Timeline) -> list[Announcement]:
    """Return the gratuitous frames to draw: of those that one owner sends at once, the first."""
    found: list[Announcement] = []
    latest: dict[str, float] = {}
    for frame in sorted(timeline.recording.announcements, key=lambda frame: frame.timestamp):
        if frame.timestamp - latest.get(frame.mac, float("-inf")) > ONE_ROUND / 10:
            found.append(frame)
        latest[frame.mac] = frame.timestamp
    return found


def _connections(timeline: Timeline, scale: Scale, marks: Marks) -> str:
    """Return a bar where connections came about, and a measure where none did."""
    cells = [" "] * scale.width
    for begin, end in connected(timeline):
        if end - timeline.zero >= scale.first and begin - timeline.zero <= scale.last:
            for column in range(scale.column(begin - timeline.zero), scale.column(end - timeline.zero) + 1):
                cells[column] = marks.bar
    for begin, end in disconnected(timeline):
        stretch = (begin - timeline.zero, end - timeline.zero)
        _measure(cells, scale, stretch, ("no connection", seconds(end - begin)), marks)
    return "".join(cells)


def connected(timeline: Timeline) -> list[tuple[float, float]]:
    """Return the stretches (Unix times) in which connections came about one after another."""
    found: list[tuple[float, float]] = []
    opened = sorted(shake.timestamp for shake in timeline.recording.handshakes if shake.outcome == "open")
    for when in opened:
        if found and when - found[-1][1] <= 2.5 * timeline.recording.tcp_interval:
            found[-1] = (found[-1][0], when)
        else:
            found.append((when, when))
    return found


def disconnected(timeline: Timeline) -> list[tuple[float, float]]:
    """Return the stretches (Unix times) between connections, and after the last one, in which none came about."""
    recording, working = timeline.recording, connected(timeline)
    found = [(before[1], after[0]) for before, after in pairwise(working)]
    if working and recording.ended - working[-1][1] > 2.5 * recording.tcp_interval:
        found.append((working[-1][1], recording.ended))
    return found


def _axis(scale: Scale, marks: Marks) -> list[str]:
    rule, words = [marks.line] * scale.width, [" "] * (scale.width + 8)
    step = nice(scale.last - scale.first, scale.width // 9)
    second = step * round(scale.first / step)
    while second <= scale.last:
        if second >= scale.first:
            column = scale.column(second)
            rule[column] = marks.rule
            shown = f"{second:g}"
            start = max(0, column - len(shown) // 2)
            words[start : start + len(shown)] = list(shown)
        second = round(second + step, 6)
    return ["".join(rule), "".join(words).rstrip() + " s"]


def nice(length: float, most: int) -> float:
    """Return a round step (1, 2 or 5 times a power of ten) that divides a length into at most `most` parts."""
    step = 0.001
    while True:
        for factor in (1, 2, 5):
            if length / (step * factor) <= max(1, most):
                return step * factor
        step *= 10


def _columns(rows: Iterable[tuple[str, str]], *, right: bool = False) -> list[str]:
    pairs = list(rows)
    width = max(len(name) for name, _ in pairs)
    return [f"{'':{_LEFT}}{name:{'>' if right else '<'}{width}}  {words}" for name, words in pairs]

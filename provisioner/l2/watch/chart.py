"""A timeline for the terminal: the title, one lane per owner, the milestones, the figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from provisioner.l2.probe.capture import Announcement
from provisioner.l2.result import Result
from provisioner.l2.watch.report import figures, milestones, tcp_summary, verdict_meaning, warning_texts
from provisioner.l2.watch.timeline import ONE_ROUND, Timeline
from provisioner.l2.watch.verdict import NO_OWNER, Owners, format_seconds, owner_names, title, truncate

_LEFT = 2  # columns


@dataclass(frozen=True)
class Marks:
    """The characters of a chart. bar: replies; begin, line, end: a silence; tick: a gratuitous frame."""

    bar: str = "█"
    begin: str = "├"
    line: str = "─"
    end: str = "┤"
    tick: str = "▲"
    rule: str = "┼"


ASCII = Marks("=", "|", "-", "|", "^", "+")


@dataclass(frozen=True)
class Scale:
    """The columns of seconds. first, last: seconds from zero; width: columns."""

    first: float
    last: float
    width: int

    def column(self, second: float) -> int:
        """Return the column of a time, the nearest one for a time outside the chart."""
        share = (second - self.first) / (self.last - self.first)
        return min(self.width - 1, max(0, round(share * (self.width - 1))))


def render(timeline: Timeline, result: Result, *, width: int = 100, marks: Marks | None = None) -> str:
    """Return the report of a watch for people. width: columns, at least 60. marks: ASCII without UTF-8."""
    owners = {owner.mac: owner for owner in result.owners}
    parts = ["\n".join([title(timeline, owners), *_verdict(result)])]
    if timeline.spans:
        parts.append("\n".join(_chart(timeline, owners, max(60, width), marks or Marks())))
    if found := milestones(timeline, owners):
        lines = [(f"{milestone.when - timeline.zero:+.3f} s", milestone.text) for milestone in found]
        parts.append("\n".join(_columns(lines, right=True)))
    names = owner_names(timeline.macs, owners)
    for transition in timeline.transitions:
        rows = _columns(figures(timeline, transition))
        if len(timeline.transitions) > 1:
            rows.insert(0, f"{names.get(transition.before, NO_OWNER)} → {names.get(transition.after, NO_OWNER)}:")
        parts.append("\n".join(rows))
    if not timeline.transitions and (tried := tcp_summary(timeline)):
        parts.append("\n".join(_columns([(f"TCP {timeline.recording.port}", tried)])))
    whole = "\n\n".join(parts)
    return whole.replace("→", "->").replace("…", "...") if marks == ASCII else whole


def _verdict(result: Result) -> list[str]:
    """Return the verdict, the evidence and the remedy; only the evidence if it is OK."""
    lines = []
    if not result.ok:
        lines.append(f"{result.verdict}: {verdict_meaning(result)}")
    lines += [
        f"  {sentence}" for sentence in (*result.evidence, *(f"warning: {one}" for one in warning_texts(result)))
    ]
    if result.remedy:
        lines.append(f"  remedy: {result.remedy}")
    if result.command:
        lines.append(f"  next: {result.command}")
    return lines


def _chart(timeline: Timeline, owners: Owners, width: int, marks: Marks) -> list[str]:
    names = {mac: truncate(name) for mac, name in owner_names(timeline.macs, owners).items()}
    tcp = f"TCP {timeline.recording.port}" if timeline.recording.port else ""
    label = max(map(len, [*names.values(), "gratuitous", tcp]))
    first, last = visible_range(timeline)
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


def visible_range(timeline: Timeline) -> tuple[float, float]:
    """Return the seconds from zero that a chart shows: every transition with a margin, without idle hours."""
    recording = timeline.recording
    whole = (recording.started, max(recording.ended, recording.started + 1e-3))
    times = [frame.timestamp for frame in recording.announcements if timeline.transitions]
    for transition in timeline.transitions:
        found = (
            transition.old_last,
            transition.new_first,
            transition.tcp_last,
            transition.tcp_first,
            transition.gratuitous.first,
        )
        times += [when for when in found if when is not None]
        if transition.old_last is None and transition.new_first is not None and not transition.both:
            times.append(max(recording.started, transition.new_first - 3))  # some of the silence before it
    times += [when for span in timeline.strays for when in (span.start, span.end)]
    if not times or not timeline.holders or len(timeline.holders) > 1:
        times += [recording.ended]
    if not timeline.transitions and not timeline.strays:
        times += [recording.started]
    margin = max(1.0, 0.12 * (max(times) - min(times)))
    first, last = max(whole[0], min(times) - margin), min(whole[1], max(times) + margin)
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
    """Return a row that brackets each silence, with its length in the middle if there is room."""
    cells = [" "] * scale.width
    for transition in timeline.transitions:
        begin = timeline.recording.started if transition.old_last is None else transition.old_last
        end = timeline.recording.ended if transition.new_first is None else transition.new_first
        if not transition.overlap and end > begin:
            exact = transition.silence is not None
            length = transition.silence if transition.silence is not None else transition.silence_least or 0.0
            label = f"{'' if exact else 'at least '}{format_seconds(length)}"
            _bracket(cells, scale, (begin - timeline.zero, end - timeline.zero), ("silent", label), marks)
    return "".join(cells)


def _bracket(
    cells: list[str], scale: Scale, period: tuple[float, float], label: tuple[str, str], marks: Marks
) -> None:
    """Draw a bracket between two times into a row. label: what it is, and its length."""
    # The columns of the reply before and the reply after keep their marks.
    begin, end = scale.column(period[0]) + 1, scale.column(period[1]) - 1
    if end < begin:
        return
    cells[begin : end + 1] = [marks.line] * (end - begin + 1)
    if end > begin:
        cells[begin], cells[end] = marks.begin, marks.end
    for shown in (f" {' '.join(label)} ", f" {label[1]} "):
        if len(shown) <= end - begin - 1:
            start = begin + 1 + (end - begin - 1 - len(shown)) // 2
            cells[start : start + len(shown)] = list(shown)
            return


def _ticks(timeline: Timeline, scale: Scale, marks: Marks) -> str:
    cells = [" "] * scale.width
    for frame in first_frames(timeline):
        if scale.first <= (second := frame.timestamp - timeline.zero) <= scale.last:
            cells[scale.column(second)] = marks.tick
    return "".join(cells)


def first_frames(timeline: Timeline) -> list[Announcement]:
    """Return the gratuitous frames to draw: the first of each burst of one owner."""
    found: list[Announcement] = []
    latest: dict[str, float] = {}
    for frame in sorted(timeline.recording.announcements, key=lambda frame: frame.timestamp):
        if frame.timestamp - latest.get(frame.mac, float("-inf")) > ONE_ROUND / 10:
            found.append(frame)
        latest[frame.mac] = frame.timestamp
    return found


def _connections(timeline: Timeline, scale: Scale, marks: Marks) -> str:
    """Return a bar where connections succeeded, and a bracket where none did."""
    cells = [" "] * scale.width
    for begin, end in connected(timeline):
        if end - timeline.zero >= scale.first and begin - timeline.zero <= scale.last:
            for column in range(scale.column(begin - timeline.zero), scale.column(end - timeline.zero) + 1):
                cells[column] = marks.bar
    for begin, end in disconnected(timeline):
        period = (begin - timeline.zero, end - timeline.zero)
        _bracket(cells, scale, period, ("no connection", format_seconds(end - begin)), marks)
    return "".join(cells)


def connected(timeline: Timeline) -> list[tuple[float, float]]:
    """Return the periods (Unix times) in which successive connections succeeded."""
    found: list[tuple[float, float]] = []
    opened = sorted(shake.timestamp for shake in timeline.recording.handshakes if shake.outcome == "open")
    for when in opened:
        if found and when - found[-1][1] <= 2.5 * timeline.recording.tcp_interval:
            found[-1] = (found[-1][0], when)
        else:
            found.append((when, when))
    return found


def disconnected(timeline: Timeline) -> list[tuple[float, float]]:
    """Return the periods (Unix times) between and after successful connections in which none succeeded."""
    recording, periods = timeline.recording, connected(timeline)
    found = [(before[1], after[0]) for before, after in pairwise(periods)]
    if periods and recording.ended - periods[-1][1] > 2.5 * recording.tcp_interval:
        found.append((periods[-1][1], recording.ended))
    return found


def _axis(scale: Scale, marks: Marks) -> list[str]:
    rule, numbers = [marks.line] * scale.width, [" "] * (scale.width + 8)
    step = round_step(scale.last - scale.first, scale.width // 9)
    second = step * round(scale.first / step)
    while second <= scale.last:
        if second >= scale.first:
            column = scale.column(second)
            rule[column] = marks.rule
            shown = f"{second:g}"
            start = max(0, column - len(shown) // 2)
            numbers[start : start + len(shown)] = list(shown)
        second = round(second + step, 6)
    return ["".join(rule), "".join(numbers).rstrip() + " s"]


def round_step(length: float, most: int) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that divides a length into at most `most` parts."""
    step = 0.001
    while True:
        for factor in (1, 2, 5):
            if length / (step * factor) <= max(1, most):
                return step * factor
        step *= 10


def _columns(rows: Iterable[tuple[str, str]], *, right: bool = False) -> list[str]:
    pairs = list(rows)
    width = max(len(name) for name, _ in pairs)
    return [f"{'':{_LEFT}}{name:{'>' if right else '<'}{width}}  {text}" for name, text in pairs]

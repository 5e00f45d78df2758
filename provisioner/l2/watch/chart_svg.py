"""A timeline as SVG: the title, one lane per owner, the silence as a band across them, TCP below.

It follows the reader's light or dark theme, and each mark has its time as hover text. Owners differ by place and
name, never by color alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from provisioner.l2.result import Result
from provisioner.l2.watch.chart import connected, disconnected, first_frames, round_step, visible_range
from provisioner.l2.watch.report import figures, milestones, tcp_summary, verdict_meaning, warning_texts
from provisioner.l2.watch.timeline import Timeline, Transition
from provisioner.l2.watch.verdict import NO_OWNER, Owners, format_seconds, owner_names, title, truncate

_WIDTH, _MARGIN = 960, 28  # pixels
_LANE, _BAR, _TOP = 54, 22, 104
_LETTER, _SMALL = 7.6, 6.6  # pixels, the width of a letter of a label and of a small one
_SHOWN = 3  # transitions whose figures are listed below the lanes; the JSON has all

_LIGHT = {
    "ground": "#ffffff",
    "ink": "#1f2933",
    "faint": "#66727f",
    "line": "#d5dbe1",
    "lane": "#f1f4f6",
    "owner0": "#3b7fc4",
    "owner1": "#2f9e6e",
    "owner2": "#8a4fd3",
    "owner3": "#c47f00",
    "silence": "#d32f3c",
    "tick": "#1f2933",
    "tcp": "#66778a",
}
_DARK = {
    "ground": "#15191e",
    "ink": "#e6eaee",
    "faint": "#93a0ad",
    "line": "#38424d",
    "lane": "#222931",
    "owner0": "#5aa0e0",
    "owner1": "#3fb884",
    "owner2": "#a678e2",
    "owner3": "#e0a030",
    "silence": "#ff6b76",
    "tick": "#e6eaee",
    "tcp": "#8b9bab",
}


@dataclass(frozen=True)
class _Plane:
    """The coordinates of seconds and lanes. left, right: the x of `first` and `last`, in seconds from zero."""

    first: float
    last: float
    left: float
    right: float
    bottom: float

    def x(self, second: float) -> float:
        """Return the x of a second, at the edge for one beyond it."""
        share = (min(max(second, self.first), self.last) - self.first) / (self.last - self.first)
        return round(self.left + share * (self.right - self.left), 1)

    def shows(self, begin: float, end: float) -> bool:
        """Tell whether any part of a period is visible."""
        return end >= self.first and begin <= self.last


def render(timeline: Timeline, result: Result, subtitle: str = "") -> str:
    """Return the report of a watch as an SVG document. subtitle: when, and from which interface."""
    owners = {owner.mac: owner for owner in result.owners}
    names = owner_names(timeline.macs, owners)
    head = title(timeline, owners)
    lanes = len(timeline.macs) + (1 if timeline.recording.port else 0)
    label = max([len(truncate(name)) for name in names.values()] + [8]) * _LETTER
    left = _MARGIN + round(max(label, 17 * _SMALL)) + 16
    width = _WIDTH
    plane = _Plane(*visible_range(timeline), left, width - _MARGIN, _TOP + lanes * _LANE)
    size = min(20.0, (width - 2 * _MARGIN) / len(head) / 0.68)  # a long title is set smaller, never cut off
    body = [
        _text(_MARGIN, 44, head, "title", f' style="font-size:{size:.1f}px"'),
        _text(_MARGIN, 68, subtitle, "faint"),
    ]
    y: float = _TOP
    if lanes and timeline.spans:
        body += [*_lanes(plane, lanes), *_axis(plane)]
        body += [
            part
            for transition in timeline.transitions
            for part in _silence(timeline, transition, plane, len(timeline.macs))
        ]
        for number, mac in enumerate(timeline.macs):
            body += _owner(timeline, mac, names[mac], number, plane)
        if timeline.recording.port:
            body += _tcp(timeline, plane, len(timeline.macs))
        y = plane.bottom + 64
        body += _legend(timeline, y)
        y += 18
    figures_drawn, y = _figures(timeline, result, owners, y)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y:g}" width="{width}" height="{y:g}" '
            f'role="img" aria-label="{escape(head)}">',
            f"<title>{escape(head)}</title>",
            f"<desc>{escape('; '.join(one.text for one in milestones(timeline, owners)))}</desc>",
            f"<style>{_style()}</style>",
            f'<rect class="ground" width="{width}" height="{y:g}" rx="10"/>',
            *filter(None, [*body, *figures_drawn]),
            "</svg>",
            "",
        ]
    )


def _lanes(plane: _Plane, lanes: int) -> list[str]:
    return [
        f'<rect class="lane" x="{plane.left}" y="{_top(number)}" width="{plane.right - plane.left:g}" '
        f'height="{_BAR}" rx="4"/>'
        for number in range(lanes)
    ]


def _silence(timeline: Timeline, transition: Transition, plane: _Plane, count: int) -> list[str]:
    """Draw a silence as a band across the owners' lanes, with its length."""
    recording = timeline.recording
    begin = (recording.started if transition.old_last is None else transition.old_last) - timeline.zero
    end = (recording.ended if transition.new_first is None else transition.new_first) - timeline.zero
    if transition.overlap or end <= begin or not plane.shows(begin, end):
        return []
    x, right = plane.x(begin), plane.x(end)
    exact = transition.silence is not None
    length = transition.silence if transition.silence is not None else transition.silence_least or 0.0
    label = f"silent {'' if exact else 'at least '}{format_seconds(length)}"
    room = right - x
    # In the lane of the owner that lost the address, where nothing else is drawn.
    lane = timeline.macs.index(transition.before) if transition.before else timeline.macs.index(transition.after)
    return [
        f'<g><title>{escape(label)}</title><rect class="silence" x="{x}" y="{_TOP - 8}" width="{room:.1f}" '
        f'height="{(count - 1) * _LANE + _BAR + 16}"/></g>',
        _text(x + room / 2, _top(lane) + 16, _fitting((label, format_seconds(length)), room), "silent middle"),
    ]


def _owner(timeline: Timeline, mac: str, name: str, number: int, plane: _Plane) -> list[str]:
    y = _top(number)
    made = [
        _text(_MARGIN, y + 11, truncate(name), "name"),
        _text(_MARGIN, y + 27, mac if mac != name else "", "small"),
    ]
    for span in timeline.spans:
        begin, end = span.start - timeline.zero, span.end - timeline.zero
        if span.mac != mac or not plane.shows(begin, end):
            continue
        x = plane.x(begin)
        about = f"{name} answers from {begin:+.3f} s to {end:+.3f} s, {span.answers} replies"
        made.append(
            f'<g><title>{escape(about)}</title><rect class="owner{number % 4}" x="{x}" y="{y}" '
            f'width="{max(2.0, plane.x(end) - x):.1f}" height="{_BAR}" rx="3"/></g>'
        )
    for frame in first_frames(timeline):
        when = frame.timestamp - timeline.zero
        if frame.mac == mac and plane.shows(when, when):
            x = plane.x(when)
            made.append(f"<g><title>gratuitous frame at {when:+.3f} s</title>{_pin(x, y - 7, y + _BAR + 5)}</g>")
    return made


def _tcp(timeline: Timeline, plane: _Plane, number: int) -> list[str]:
    y, zero = _top(number), timeline.zero
    made = [
        _text(_MARGIN, y + 11, f"TCP {timeline.recording.port}", "name"),
        _text(_MARGIN, y + 27, "connections", "small"),
    ]
    for begin, end in connected(timeline):
        if plane.shows(begin - zero, end - zero):
            x = plane.x(begin - zero)
            about = f"connections succeeded from {begin - zero:+.3f} s to {end - zero:+.3f} s"
            made.append(
                f'<g><title>{about}</title><rect class="tcp" x="{x}" y="{y}" '
                f'width="{max(2.0, plane.x(end - zero) - x):.1f}" height="{_BAR}" rx="3"/></g>'
            )
    for begin, end in disconnected(timeline):
        x, right = plane.x(begin - zero), plane.x(end - zero)
        labels = (f"no connection {format_seconds(end - begin)}", format_seconds(end - begin))
        made.append(_text((x + right) / 2, y + 16, _fitting(labels, right - x), "silent middle"))
    return made


def _axis(plane: _Plane) -> list[str]:
    y = plane.bottom - 8
    made = [f'<path class="rule" d="M{plane.left} {y}H{plane.right}"/>']
    step = round_step(plane.last - plane.first, int((plane.right - plane.left) / 62))
    second = step * round(plane.first / step)
    while second <= plane.last:
        if second >= plane.first:
            x = plane.x(second)
            grid = "zero" if second == 0 else "grid"
            made.insert(0, f'<path class="{grid}" d="M{x} {_TOP - 8}V{y + 5}"/>')
            made.append(_text(x, y + 20, f"{second:g}", "small middle"))
        second = round(second + step, 6)
    made.append(_text(plane.right, y + 38, "seconds", "small end"))
    return made


def _legend(timeline: Timeline, y: float) -> list[str]:
    made, x = [], float(_MARGIN)
    entries = [("owner0", "replies")]
    if any(not transition.overlap for transition in timeline.transitions):
        entries.append(("silence", "silence"))
    if timeline.recording.announcements:
        entries.append(("", "gratuitous frames"))
    for kind, label in entries:
        if kind:
            made.append(f'<rect class="{kind}" x="{x}" y="{y - 11}" width="18" height="12" rx="2"/>')
        else:
            made.append(_pin(x + 9, y - 12, y + 3))
        made.append(_text(x + 26, y, label, "small"))
        x += 26 + len(label) * _SMALL + 26
    return made


def _pin(x: float, y: float, bottom: float) -> str:
    """Draw a gratuitous frame: a line with a head."""
    return f'<path class="tick" d="M{x} {y}V{bottom}"/><circle class="dot" cx="{x}" cy="{y}" r="3"/>'


def _figures(timeline: Timeline, result: Result, owners: Owners, y: float) -> tuple[list[str], float]:
    """Return the verdict, the evidence and the figures as text, and the y below them."""
    lines: list[tuple[str, str, str]] = []
    if not result.ok:
        lines.append(("", f"{result.verdict}: {verdict_meaning(result)}", "wrong"))
    lines += [("", text, "") for text in (*result.evidence, *(f"warning: {one}" for one in warning_texts(result)))]
    names = owner_names(timeline.macs, owners)
    for transition in timeline.transitions[:_SHOWN]:
        if len(timeline.transitions) > 1:
            path = f"{names.get(transition.before, NO_OWNER)} → {names.get(transition.after, NO_OWNER)}"
            lines.append(("", path, "name"))
        lines += [(name, text, "") for name, text in figures(timeline, transition)]
    if not timeline.transitions and (tried := tcp_summary(timeline)):
        lines.append((f"TCP {timeline.recording.port}", tried, ""))
    if len(timeline.transitions) > _SHOWN:
        lines.append(("", f"and {len(timeline.transitions) - _SHOWN} more changes", ""))
    made = []
    for name, text, kind in lines:
        y += 22
        made += [_text(_MARGIN, y, name, "faint"), _text(_MARGIN + (92 if name else 0), y, text, kind)]
    return made, y + _MARGIN


def _fitting(choices: Sequence[str], room: float) -> str:
    """Return the first label that has room, "" if none has."""
    return next((label for label in choices if len(label) * _LETTER + 12 < room), "")


def _top(lane: int) -> int:
    return _TOP + lane * _LANE


def _text(x: float, y: float, text: str, kind: str, more: str = "") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}"{more}>{escape(text)}</text>' if text else ""


def _style() -> str:
    return "".join(
        (
            "text{font:13px system-ui,'Segoe UI','DejaVu Sans',sans-serif}",
            ".title{font-weight:600}.middle{text-anchor:middle}.end{text-anchor:end}",
            ".name,.silent,.wrong{font-weight:600}.small{font-size:11px}",
            ".tick{stroke-width:2;fill:none}.rule,.grid,.zero{fill:none}.zero{stroke-dasharray:3 3}",
            ".silence{fill-opacity:.14}",
            _colors(_LIGHT),
            f"@media (prefers-color-scheme:dark){{{_colors(_DARK)}}}",
        )
    )


def _colors(table: dict[str, str]) -> str:
    fills = ("lane", "owner0", "owner1", "owner2", "owner3", "silence", "tcp")
    return "".join(
        (
            f".ground{{fill:{table['ground']};stroke:{table['line']}}}",
            f"text{{fill:{table['ink']}}}.faint,.small{{fill:{table['faint']}}}",
            f".silent,.wrong{{fill:{table['silence']}}}",
            f".tick{{stroke:{table['tick']}}}.dot{{fill:{table['tick']}}}",
            f".rule,.grid{{stroke:{table['line']}}}.zero{{stroke:{table['faint']}}}",
            *(f".{name}{{fill:{table[name]}}}" for name in fills),
        )
    )

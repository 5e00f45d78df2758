"""A timeline as SVG: the answer as a title, a lane an owner, the silence as a band across them, TCP below.

Written by hand, without a drawing library: rectangles, lines and text. It follows the reader's light or dark theme,
and each mark tells its time on hover. Owners differ by place and name, never by color alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from provisioner.l2.result import Result
from provisioner.l2.watch.report import Owners, events, figures, meaning, tried, warned
from provisioner.l2.watch.text import connected, disconnected, first_of_round, nice, view
from provisioner.l2.watch.timeline import Change, Timeline
from provisioner.l2.watch.verdict import named, seconds, shortened, title

_WIDTH, _MARGIN = 960, 28  # pixels
_LANE, _BAR, _TOP = 54, 22, 104
_LETTER, _SMALL = 7.6, 6.6  # pixels, the width of a letter of a label and of a small one
_SHOWN = 3  # changes whose figures are told below the lanes; the JSON has all

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
    """Where seconds and lanes lie. left, right: pixels of the view's ends, which are `first` and `last` seconds."""

    first: float
    last: float
    left: float
    right: float
    bottom: float

    def x(self, second: float) -> float:
        """Return the place of a second, at the view's edge for one beyond it."""
        share = (min(max(second, self.first), self.last) - self.first) / (self.last - self.first)
        return round(self.left + share * (self.right - self.left), 1)

    def shows(self, begin: float, end: float) -> bool:
        """Tell whether any part of a stretch is in view."""
        return end >= self.first and begin <= self.last


def svg(timeline: Timeline, result: Result, subtitle: str = "") -> str:
    """Return the report of a watch as an SVG document. subtitle: when, and seen from where."""
    owners = {owner.mac: owner for owner in result.owners}
    names = named(timeline.macs, owners)
    head = title(timeline, owners)
    lanes = len(timeline.macs) + (1 if timeline.recording.port else 0)
    label = max([len(shortened(name)) for name in names.values()] + [8]) * _LETTER
    left = _MARGIN + round(max(label, 17 * _SMALL)) + 16
    width = _WIDTH
    plane = _Plane(*view(timeline), left, width - _MARGIN, _TOP + lanes * _LANE)
    size = min(20.0, (width - 2 * _MARGIN) / len(head) / 0.68)  # a long sentence in smaller letters, never cut off
    body = [
        _text(_MARGIN, 44, head, "title", f' style="font-size:{size:.1f}px"'),
        _text(_MARGIN, 68, subtitle, "faint"),
    ]
    y: float = _TOP
    if lanes and timeline.spans:
        body += [*_grounds(plane, lanes), *_axis(plane)]
        body += [part for change in timeline.changes for part in _silence(timeline, change, plane, len(timeline.macs))]
        for number, mac in enumerate(timeline.macs):
            body += _owner(timeline, mac, names[mac], number, plane)
        if timeline.recording.port:
            body += _tcp(timeline, plane, len(timeline.macs))
        y = plane.bottom + 64
        body += _legend(timeline, y)
        y += 18
    told, y = _told(timeline, result, owners, y)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y:g}" width="{width}" height="{y:g}" '
            f'role="img" aria-label="{escape(head)}">',
            f"<title>{escape(head)}</title>",
            f"<desc>{escape('; '.join(event.text for event in events(timeline, owners)))}</desc>",
            f"<style>{_style()}</style>",
            f'<rect class="ground" width="{width}" height="{y:g}" rx="10"/>',
            *filter(None, [*body, *told]),
            "</svg>",
            "",
        ]
    )


def _grounds(plane: _Plane, lanes: int) -> list[str]:
    return [
        f'<rect class="lane" x="{plane.left}" y="{_top(number)}" width="{plane.right - plane.left:g}" '
        f'height="{_BAR}" rx="4"/>'
        for number in range(lanes)
    ]


def _silence(timeline: Timeline, change: Change, plane: _Plane, count: int) -> list[str]:
    """Draw the time in which nobody answered as a band across the owners' lanes, with its length."""
    recording = timeline.recording
    begin = (recording.started if change.old_last is None else change.old_last) - timeline.zero
    end = (recording.ended if change.new_first is None else change.new_first) - timeline.zero
    if change.overlap or end <= begin or not plane.shows(begin, end):
        return []
    x, right = plane.x(begin), plane.x(end)
    exact = change.silence is not None
    length = change.silence if change.silence is not None else change.silence_least or 0.0
    words = f"silent {'' if exact else 'at least '}{seconds(length)}"
    room = right - x
    # In the lane of whoever lost the address, where nothing else is drawn.
    lane = timeline.macs.index(change.before) if change.before else timeline.macs.index(change.after)
    return [
        f'<g><title>{escape(words)}</title><rect class="silence" x="{x}" y="{_TOP - 8}" width="{room:.1f}" '
        f'height="{(count - 1) * _LANE + _BAR + 16}"/></g>',
        _text(x + room / 2, _top(lane) + 16, _fitting((words, seconds(length)), room), "silent middle"),
    ]


def _owner(timeline: Timeline, mac: str, name: str, number: int, plane: _Plane) -> list[str]:
    y = _top(number)
    made = [
        _text(_MARGIN, y + 11, shortened(name), "name"),
        _text(_MARGIN, y + 27, mac if mac != name else "", "small"),
    ]
    for span in timeline.spans:
        begin, end = span.start - timeline.zero, span.end - timeline.zero
        if span.mac != mac or not plane.shows(begin, end):
            continue
        x = plane.x(begin)
        about = f"{name} answers from {begin:+.3f} s to {end:+.3f} s, {span.answers} answers"
        made.append(
            f'<g><title>{escape(about)}</title><rect class="owner{number % 4}" x="{x}" y="{y}" '
            f'width="{max(2.0, plane.x(end) - x):.1f}" height="{_BAR}" rx="3"/></g>'
        )
    for frame in first_of_round(timeline):
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
            about = f"connections came about from {begin - zero:+.3f} s to {end - zero:+.3f} s"
            made.append(
                f'<g><title>{about}</title><rect class="tcp" x="{x}" y="{y}" '
                f'width="{max(2.0, plane.x(end - zero) - x):.1f}" height="{_BAR}" rx="3"/></g>'
            )
    for begin, end in disconnected(timeline):
        x, right = plane.x(begin - zero), plane.x(end - zero)
        words = (f"no connection {seconds(end - begin)}", seconds(end - begin))
        made.append(_text((x + right) / 2, y + 16, _fitting(words, right - x), "silent middle"))
    return made


def _axis(plane: _Plane) -> list[str]:
    y = plane.bottom - 8
    made = [f'<path class="rule" d="M{plane.left} {y}H{plane.right}"/>']
    step = nice(plane.last - plane.first, int((plane.right - plane.left) / 62))
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
    entries = [("owner0", "answers")]
    if any(not change.overlap for change in timeline.changes):
        entries.append(("silence", "nobody answers"))
    if timeline.recording.announcements:
        entries.append(("", "gratuitous frames"))
    for kind, words in entries:
        if kind:
            made.append(f'<rect class="{kind}" x="{x}" y="{y - 11}" width="18" height="12" rx="2"/>')
        else:
            made.append(_pin(x + 9, y - 12, y + 3))
        made.append(_text(x + 26, y, words, "small"))
        x += 26 + len(words) * _SMALL + 26
    return made


def _pin(x: float, y: float, bottom: float) -> str:
    """Draw a gratuitous frame: a line with a head."""
    return f'<path class="tick" d="M{x} {y}V{bottom}"/><circle class="dot" cx="{x}" cy="{y}" r="3"/>'


def _told(timeline: Timeline, result: Result, owners: Owners, y: float) -> tuple[list[str], float]:
    """Return what is wrong and the figures, in words, and where that ends."""
    lines: list[tuple[str, str, str]] = []
    if not result.ok:
        lines.append(("", f"{result.verdict}: {meaning(result)}", "wrong"))
    lines += [("", text, "") for text in (*result.evidence, *(f"warning: {one}" for one in warned(result)))]
    names = named(timeline.macs, owners)
    for change in timeline.changes[:_SHOWN]:
        if len(timeline.changes) > 1:
            path = f"{names.get(change.before, 'nobody')} → {names.get(change.after, 'nobody')}"
            lines.append(("", path, "name"))
        lines += [(name, words, "") for name, words in figures(timeline, change)]
    if not timeline.changes and (words := tried(timeline)):
        lines.append((f"TCP {timeline.recording.port}", words, ""))
    if len(timeline.changes) > _SHOWN:
        lines.append(("", f"and {len(timeline.changes) - _SHOWN} more changes", ""))
    made = []
    for name, words, kind in lines:
        y += 22
        made += [_text(_MARGIN, y, name, "faint"), _text(_MARGIN + (92 if name else 0), y, words, kind)]
    return made, y + _MARGIN


def _fitting(choices: Sequence[str], room: float) -> str:
    """Return the first of some words that has room, "" for none."""
    return next((words for words in choices if len(words) * _LETTER + 12 < room), "")


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

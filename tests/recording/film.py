"""Draw a recording as an animated SVG, which plays in an <img> without a script."""

from __future__ import annotations

from itertools import groupby
from xml.sax.saxutils import escape

import pyte

from tests.recording import COLUMNS, ROWS
from tests.recording.cast import Cast, screens

SPEED = 8  # times as fast as it was
EVERY = 2.0  # seconds of the recording between two frames
LAST = 8.0  # seconds that the last frame stays
_WIDE, _HIGH, _EDGE = 8.4, 19, 14
_COLORS = {"red": "#ff7b72", "green": "#7ee787", "brown": "#e3b341", "blue": "#79c0ff", "default": "#d6dde6"}
_CSS = """\
text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre;fill:{fore}}}
.b{{font-weight:bold}}
#film{{animation:play {seconds:.2f}s step-end infinite}}
@keyframes play{{{frames}}}
@media (prefers-reduced-motion:reduce),print{{#film{{animation:none;transform:translateY({last}px)}}}}
"""


def draw(cast: Cast, title: str) -> str:
    """Return the SVG of a recording: each different line once, and frames that name lines."""
    known: dict[str, int] = {}
    frames: list[tuple[list[tuple[int, int]], float]] = []  # (row, number of the line), seconds
    for screen in screens(cast, EVERY):
        rows = [(row, known.setdefault(text, len(known))) for row in range(ROWS) if (text := _line(screen, row))]
        if frames and frames[-1][0] == rows:
            frames[-1] = (rows, frames[-1][1] + EVERY / SPEED)
        else:
            frames.append((rows, EVERY / SPEED))
    frames[-1] = (frames[-1][0], LAST)
    width, height = round(COLUMNS * _WIDE), ROWS * _HIGH
    total, elapsed, moves = sum(seconds for _, seconds in frames), 0.0, []
    for number, (_, seconds) in enumerate(frames):
        moves.append(f"{100 * elapsed / total:.3f}%{{transform:translateY({-number * height}px)}}")
        elapsed += seconds
    css = _CSS.format(fore=_COLORS["default"], seconds=total, frames="".join(moves), last=-(len(frames) - 1) * height)
    defined = "\n".join(f'<g id="l{number}">{text}</g>' for text, number in known.items())
    shown = "\n".join(
        "".join(f'<use href="#l{line}" y="{number * height + row * _HIGH}"/>' for row, line in rows)
        for number, (rows, _) in enumerate(frames)
    )
    whole = f"{width + 2 * _EDGE} {height + 2 * _EDGE}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole}" role="img" aria-labelledby="t">\n'
        f'<title id="t">{escape(title)}</title>\n<style>\n{css}</style>\n<defs>\n{defined}\n</defs>\n'
        f'<rect width="100%" height="100%" rx="8" fill="#14181f"/>\n'
        f'<svg x="{_EDGE}" y="{_EDGE}" width="{width}" height="{height}"><g id="film">\n{shown}\n</g></svg>\n</svg>\n'
    )


def _line(screen: pyte.Screen, row: int) -> str:
    """Return the text elements of one line, "" for a blank one."""
    cells = [screen.buffer[row][column] for column in range(COLUMNS)]
    parts, start = [], 0
    for (color, bold), group in groupby(cells, lambda cell: (cell.fg, cell.bold)):
        text = "".join(cell.data for cell in group)
        if text.strip():
            lead = len(text) - len(text.lstrip())
            body = text.strip()
            style = f' style="fill:{_COLORS.get(color, _COLORS["default"])}"' if color != "default" else ""
            style += ' class="b"' if bold else ""
            place = f'x="{(start + lead) * _WIDE:.1f}" y="15" textLength="{len(body) * _WIDE:.1f}"'
            parts.append(f"<text {place}{style}>{escape(body)}</text>")
        start += len(text)
    return "".join(parts)

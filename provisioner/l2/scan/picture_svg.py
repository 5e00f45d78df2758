"""The map of a sweep as SVG, with the same rows as in the terminal.

It follows the reader's light or dark theme. Each cell has its address's summary as hover text, and a letter, so that
nothing depends on color alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from provisioner.l2.scan import picture
from provisioner.l2.scan.picture import COLUMNS, Gap, Row
from provisioner.l2.scan.survey import AddressState, SweptAddress

_CELL, _STEP, _MARGIN = 24, 28, 28  # pixels
_LETTER = 7.9  # pixels, the width of one letter of a row's label
_LISTED = 12  # faults listed below the map; the others are in the hover texts

_LIGHT: dict[AddressState | str, str] = {
    "ground": "#ffffff",
    "ink": "#1f2933",
    "faint": "#66727f",
    "line": "#d5dbe1",
    AddressState.FREE: "#f1f4f6",
    AddressState.RIGHT: "#2f9e6e",
    AddressState.WRONG: "#f0a30a",
    AddressState.STRANGER: "#8a4fd3",
    AddressState.DUPLICATE: "#d32f3c",
    AddressState.NODE: "#5f7488",
    AddressState.TAKEN: "#5aa9dc",
    AddressState.UNCLEAR: "#b3bcc5",
}
_DARK: dict[AddressState | str, str] = {
    "ground": "#15191e",
    "ink": "#e6eaee",
    "faint": "#93a0ad",
    "line": "#38424d",
    AddressState.FREE: "#222931",
}
_DARK_LETTERS = (AddressState.WRONG, AddressState.TAKEN, AddressState.UNCLEAR)  # dark letters on a light cell


def render(addresses: Sequence[SweptAddress], title: str, subtitle: str = "") -> str:
    """Return the map as an SVG document. title: what was swept; subtitle: when and from which interface."""
    rows = picture.rows(addresses)
    labels = [row.label for row in rows if isinstance(row, Row)] or [""]
    left = _MARGIN + round(max(map(len, labels)) * _LETTER) + 12
    columns = max((len(row.cells) for row in rows if isinstance(row, Row)), default=COLUMNS[4])
    body: list[str] = [_text(_MARGIN, 44, title, "title"), _text(_MARGIN, 66, subtitle, "faint")]
    height = 92
    version = 0
    for row in rows:
        if isinstance(row, Gap):
            body.append(_text(left, height + 17, f"{row.free} free, {row.first} to {row.last}", "faint"))
            height += _STEP
            continue
        now = 6 if ":" in row.label else 4
        if now != version:
            height += 14 if version else 0
            version = now
            heads = enumerate(picture.heading(version))
            body += [
                _text(left + column * _STEP + _CELL / 2, height + 8, text, "faint middle") for column, text in heads
            ]
            height += 16
        body.append(_text(left - 12, height + 17, row.label, "label"))
        body += [_cell(address, left + column * _STEP, height) for column, address in enumerate(row.cells) if address]
        height += _STEP
    width = max(left + columns * _STEP + _MARGIN, 680, _MARGIN * 2 + round(len(title) * 11.5))
    legend, height = _legend(addresses, width, height + 20)
    faults, height = _faults(addresses, width, height)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            f"<style>{_style()}</style>",
            f'<rect class="ground" width="{width}" height="{height}" rx="10"/>',
            *body,
            *legend,
            *faults,
            "</svg>",
            "",
        ]
    )


def _cell(address: SweptAddress, x: float, y: float) -> str:
    return f"<g><title>{escape(address.summary)}</title>{_box(address.state, x, y)}</g>"


def _box(state: AddressState, x: float, y: float) -> str:
    name = state.name.lower()
    letter = (
        "" if state is AddressState.FREE else _text(x + _CELL / 2, y + 17, state.letter, f"in-{name} middle letter")
    )
    return f'<rect class="c-{name}" x="{x}" y="{y}" width="{_CELL}" height="{_CELL}" rx="5"/>{letter}'


def _legend(addresses: Sequence[SweptAddress], width: int, y: int) -> tuple[list[str], int]:
    """Return the legend, wrapped at the width, and the y below it."""
    drawn, x = [], _MARGIN
    for state, count in picture.legend(addresses):
        label = f"{state.label}: {count}"
        length = _CELL + 10 + round(len(label) * 7.2) + 22
        if x > _MARGIN and x + length > width - _MARGIN + 22:
            x, y = _MARGIN, y + 34
        drawn += [_box(state, x, y), _text(x + _CELL + 8, y + 17, label, "")]
        x += length
    return drawn, y + _CELL + _MARGIN


def _faults(addresses: Sequence[SweptAddress], width: int, y: int) -> tuple[list[str], int]:
    """Return the list of faults and inconclusive addresses, and the y below it."""
    suspects = [address for address in addresses if address.state.fault or address.state is AddressState.UNCLEAR]
    if not suspects:
        return [], y
    drawn = [f'<line class="rule" x1="{_MARGIN}" y1="{y - 6}" x2="{width - _MARGIN}" y2="{y - 6}"/>']
    most = int((width - 2 * _MARGIN) / 6.9)
    lines = [address.summary for address in suspects[:_LISTED]]
    if len(suspects) > _LISTED:
        lines.append(f"and {len(suspects) - _LISTED} more")
    for line in lines:
        y += 22
        drawn.append(_text(_MARGIN, y, line if len(line) <= most else f"{line[: most - 1]}…", ""))
    return drawn, y + _MARGIN


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(text)}</text>' if text else ""


def _style() -> str:
    return "".join(
        (
            "text{font:13px system-ui,'Segoe UI','DejaVu Sans',sans-serif}",
            ".title{font-size:20px;font-weight:600}.middle{text-anchor:middle}.letter{font-weight:700;font-size:12px}",
            ".label{font-family:ui-monospace,'DejaVu Sans Mono',monospace;text-anchor:end}",
            _colors(_LIGHT),
            f"@media (prefers-color-scheme:dark){{{_colors(_DARK)}}}",
            *(f".in-{state.name.lower()}{{fill:#fff}}" for state in AddressState if state not in _DARK_LETTERS),
            *(f".in-{state.name.lower()}{{fill:#1f2933}}" for state in _DARK_LETTERS),
        )
    )


def _colors(table: dict[AddressState | str, str]) -> str:
    cells = [f".c-{key.name.lower()}{{fill:{value}}}" for key, value in table.items() if isinstance(key, AddressState)]
    return "".join(
        (
            f".ground{{fill:{table['ground']};stroke:{table['line']}}}",
            f"text{{fill:{table['ink']}}}.faint{{fill:{table['faint']}}}.label{{fill:{table['faint']}}}",
            f".rule{{stroke:{table['line']}}}.c-free{{stroke:{table['line']}}}",
            *cells,
        )
    )

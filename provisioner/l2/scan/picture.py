"""The map of a sweep: one cell an address, in rows that let the address be read off; drawn here for a terminal.

An IPv4 row holds the addresses of two tens (…200 to …219), so that row label plus column is the address as people
write it; an IPv6 row the sixteen that differ in the last digit. Rows in which all is free are told in one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from provisioner.l2.scan.survey import ALWAYS, Spot, State
from provisioner.l2.targets import Address

COLUMNS = {4: 20, 6: 16}
_NARROW = {4: 10, 6: 8}  # for a terminal that has no room for those
_RUN = 4  # so many rows of nothing but free addresses, and they become one line

# (background, foreground) of the 16 colours that every terminal has
_HUES: dict[State, tuple[str, str]] = {
    State.FREE: ("", "bright_black"),
    State.RIGHT: ("green", "black"),
    State.WRONG: ("yellow", "black"),
    State.STRANGER: ("magenta", "white"),
    State.DUPLICATE: ("red", "white"),
    State.NODE: ("blue", "white"),
    State.TAKEN: ("cyan", "black"),
    State.UNCLEAR: ("white", "black"),
}


@dataclass(frozen=True)
class Row:
    """One row of the map. label: the address of its first column; cells: None where nobody asked."""

    label: str
    cells: tuple[Spot | None, ...]


@dataclass(frozen=True)
class Gap:
    """Rows that are left out, because every address in them is free. free: how many addresses."""

    first: str
    last: str
    free: int


def rows(spots: Sequence[Spot], columns: Mapping[int, int] = COLUMNS) -> list[Row | Gap]:
    """Return the map's rows, in the order of the addresses; long stretches of free ones as a Gap.

    columns: cells a row, by version of IP.
    """
    grouped: dict[tuple[int, int], dict[int, Spot]] = {}
    for spot in sorted(spots, key=lambda spot: (spot.ip.version, int(spot.ip))):
        start = _start(spot.ip, columns[spot.ip.version])
        grouped.setdefault((spot.ip.version, start), {})[int(spot.ip) - start] = spot
    made = []
    for (version, start), found in grouped.items():
        cells = tuple(found.get(column) for column in range(columns[version]))
        made.append(Row(_label(version, start), cells))
    return list(_shortened(made))


def _start(ip: Address, columns: int) -> int:
    """Return the address, as a number, that begins the row of `ip`; an IPv4 row never leaves its /24."""
    number = int(ip)
    return number - (number if ip.version == 6 else number % 256) % columns


def _label(version: int, start: int) -> str:
    return str(ip_address(start.to_bytes(4 if version == 4 else 16, "big")))


def _shortened(made: Sequence[Row]) -> Iterator[Row | Gap]:
    waiting: list[Row] = []
    for row in made:
        if all(cell is None or cell.state is State.FREE for cell in row.cells):
            waiting.append(row)
            continue
        yield from _gap(waiting)
        waiting = []
        yield row
    yield from _gap(waiting)


def _gap(waiting: Sequence[Row]) -> Iterator[Row | Gap]:
    if len(waiting) < _RUN:
        yield from waiting
        return
    free = [cell for row in waiting for cell in row.cells if cell is not None]
    yield Gap(str(free[0].ip), str(free[-1].ip), len(free))


def legend(spots: Sequence[Spot]) -> list[tuple[State, int]]:
    """Return the states to explain, each with how often it occurs: the usual ones always, the others when seen."""
    counts = {state: sum(spot.state is state for spot in spots) for state in State}
    return [(state, counts[state]) for state in State if state in ALWAYS or counts[state]]


def heading(version: int, columns: Mapping[int, int] = COLUMNS) -> list[str]:
    """Return what stands above the columns: the part of the address to add to the row's label."""
    return [f"{column:x}" if version == 6 else str(column) for column in range(columns[version])]


def terminal(spots: Sequence[Spot], *, colour: bool = False, width: int = 100) -> str:
    """Return the map as text: a letter a cell, on a coloured ground where there are colours, and a legend below.

    width: columns of the terminal; a narrow one gets shorter rows.
    """
    columns = COLUMNS if _fits(made := rows(spots), width) else _NARROW
    if columns is _NARROW:
        made = rows(spots, columns)
    wide = _label_width(made)
    lines, version = [], 0
    for row in made:
        if isinstance(row, Gap):
            lines.append(f"{'':{wide}}  {row.free} free, {row.first} to {row.last}")
            continue
        now = 6 if ":" in row.label else 4
        if now != version:
            version = now
            lines.append(f"{'':{wide}} " + "".join(f"{text:>3}" for text in _sparse(heading(version, columns))))
        lines.append(f"{row.label:>{wide}} " + "".join(_cell(cell, colour) for cell in row.cells).rstrip())
    lines.append("")
    lines += [f"  {_cell(state, colour)}  {state.words}: {count}" for state, count in legend(spots)]
    return "\n".join(lines)


def _label_width(made: Sequence[Row | Gap]) -> int:
    return max((len(row.label) for row in made if isinstance(row, Row)), default=0)


def _fits(made: Sequence[Row | Gap], width: int) -> bool:
    longest = max((len(row.cells) for row in made if isinstance(row, Row)), default=0)
    return _label_width(made) + 1 + 3 * longest <= width


def _sparse(texts: Sequence[str]) -> list[str]:
    """Return column headings of which only every fifth is written where they have two digits."""
    return [text if len(texts) <= 16 or number % 5 == 0 else "" for number, text in enumerate(texts)]


def _cell(what: Spot | State | None, colour: bool) -> str:
    if what is None:
        return "   "
    state = what if isinstance(what, State) else what.state
    if not colour:
        return f"  {state.letter}"
    import click

    ground, ink = _HUES[state]
    return " " + click.style(f"{state.letter:>2}", bg=ground or None, fg=ink, bold=state.fault or None)

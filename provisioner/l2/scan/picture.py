"""The map of a sweep, one cell per address, and its rendering for a terminal.

An IPv4 row holds 20 addresses (…200 to …219), so that row label plus column is the address as people write it; an
IPv6 row holds the 16 that differ in the last digit. Runs of rows with only free addresses shrink to one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from provisioner.l2 import terminal
from provisioner.l2.scan.survey import ALWAYS, AddressState, SweptAddress
from provisioner.l2.targets import Address

COLUMNS = {4: 20, 6: 16}
_NARROW = {4: 10, 6: 8}  # for a narrow terminal
_RUN = 4  # rows of free addresses from which they become one line

# (background, foreground) among the 16 ANSI colors
_COLORS: dict[AddressState, tuple[str, str]] = {
    AddressState.FREE: ("", "bright_black"),
    AddressState.RIGHT: ("green", "black"),
    AddressState.WRONG: ("yellow", "black"),
    AddressState.STRANGER: ("magenta", "white"),
    AddressState.DUPLICATE: ("red", "white"),
    AddressState.NODE: ("blue", "white"),
    AddressState.TAKEN: ("cyan", "black"),
    AddressState.UNCLEAR: ("white", "black"),
}


@dataclass(frozen=True)
class Row:
    """One row of the map. label: the address of its first column; cells: None for addresses outside the sweep."""

    label: str
    cells: tuple[SweptAddress | None, ...]


@dataclass(frozen=True)
class Gap:
    """Rows left out because every address in them is free. free: the number of addresses."""

    first: str
    last: str
    free: int


def rows(addresses: Sequence[SweptAddress], columns: Mapping[int, int] = COLUMNS) -> list[Row | Gap]:
    """Return the map's rows in address order, long runs of free addresses as a Gap.

    columns: cells per row, by IP version.
    """
    grouped: dict[tuple[int, int], dict[int, SweptAddress]] = {}
    for address in sorted(addresses, key=lambda address: (address.ip.version, int(address.ip))):
        start = _start(address.ip, columns[address.ip.version])
        grouped.setdefault((address.ip.version, start), {})[int(address.ip) - start] = address
    full = []
    for (version, start), found in grouped.items():
        cells = tuple(found.get(column) for column in range(columns[version]))
        full.append(Row(_label(version, start), cells))
    return list(_with_gaps(full))


def _start(ip: Address, columns: int) -> int:
    """Return the first address, as a number, of the row of `ip`; an IPv4 row never leaves its /24."""
    number = int(ip)
    return number - (number if ip.version == 6 else number % 256) % columns


def _label(version: int, start: int) -> str:
    return str(ip_address(start.to_bytes(4 if version == 4 else 16, "big")))


def _with_gaps(full: Sequence[Row]) -> Iterator[Row | Gap]:
    run: list[Row] = []
    for row in full:
        if all(cell is None or cell.state is AddressState.FREE for cell in row.cells):
            run.append(row)
            continue
        yield from _gap(run)
        run = []
        yield row
    yield from _gap(run)


def _gap(run: Sequence[Row]) -> Iterator[Row | Gap]:
    if len(run) < _RUN:
        yield from run
        return
    free = [cell for row in run for cell in row.cells if cell is not None]
    yield Gap(str(free[0].ip), str(free[-1].ip), len(free))


def legend(addresses: Sequence[SweptAddress]) -> list[tuple[AddressState, int]]:
    """Return the states to explain, each with its count: the usual ones always, the others if they occur."""
    counts = {state: sum(address.state is state for address in addresses) for state in AddressState}
    return [(state, counts[state]) for state in AddressState if state in ALWAYS or counts[state]]


def heading(version: int, columns: Mapping[int, int] = COLUMNS) -> list[str]:
    """Return the column headings: the part of the address to add to the row's label."""
    return [f"{column:x}" if version == 6 else str(column) for column in range(columns[version])]


def render(addresses: Sequence[SweptAddress], *, color: bool = False, width: int = 100) -> str:
    """Return the map as text: one letter per cell, on a colored background with `color`, and a legend below.

    width: columns of the terminal; a narrow one gets shorter rows.
    """
    columns = COLUMNS if _fits(drawn := rows(addresses), width) else _NARROW
    if columns is _NARROW:
        drawn = rows(addresses, columns)
    wide = _label_width(drawn)
    lines, version = [], 0
    for row in drawn:
        if isinstance(row, Gap):
            lines.append(f"{'':{wide}}  {row.free} free, {row.first} to {row.last}")
            continue
        now = 6 if ":" in row.label else 4
        if now != version:
            version = now
            lines.append(f"{'':{wide}} " + "".join(f"{text:>3}" for text in _sparse(heading(version, columns))))
        lines.append(f"{row.label:>{wide}} " + "".join(_cell(cell, color) for cell in row.cells).rstrip())
    lines.append("")
    lines += [f"  {_cell(state, color)}  {state.label}: {count}" for state, count in legend(addresses)]
    return "\n".join(lines)


def _label_width(drawn: Sequence[Row | Gap]) -> int:
    return max((len(row.label) for row in drawn if isinstance(row, Row)), default=0)


def _fits(drawn: Sequence[Row | Gap], width: int) -> bool:
    longest = max((len(row.cells) for row in drawn if isinstance(row, Row)), default=0)
    return _label_width(drawn) + 1 + 3 * longest <= width


def _sparse(texts: Sequence[str]) -> list[str]:
    """Return the column headings, only every fifth one if they have two digits."""
    return [text if len(texts) <= 16 or number % 5 == 0 else "" for number, text in enumerate(texts)]


def _cell(what: SweptAddress | AddressState | None, color: bool) -> str:
    if what is None:
        return "   "
    state = what if isinstance(what, AddressState) else what.state
    if not color:
        return f"  {state.letter}"
    background, foreground = _COLORS[state]
    return " " + terminal.style(f"{state.letter:>2}", foreground, background=background, bold=state.fault)

"""On which line of a TOML file a key stands. Used only when there is a mistake to place.

tomllib keeps no positions, so it is asked for them: a TOML file is a sequence of statements (a header, or a key with
its value), each of whole lines, and the shortest run of lines that tomllib accepts is one statement. No other parser
and no pattern decides what the grammar is; arrays of tables, dotted and quoted keys and values of several lines come
out as tomllib reads them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]
DEEPEST = 30  # no key of hosts.toml lies as deep; dotted keys may be nested deeper than Python can recurse


def key_lines(text: str) -> dict[Path, int]:
    """Return the line (1-based) of every key, table and item of an array: {("hosts", 0, "name"): 12, …}.

    text: TOML that tomllib accepts. An item of an array gets the line that it ends on where the array itself is a
    key's value; what lies deeper has the line of the nearest thing above it, see `line_of`.
    """
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for first, statement in _statements(text):
        head = statement.lstrip()
        if head.startswith("["):
            table = _header(tomllib.loads(statement), head.startswith("[["), counts)
            for length in range(1, len(table) + 1):
                lines.setdefault(table[:length], first)
        else:
            _place(tomllib.loads(statement), table, first, lines)
            if "\n" in statement:
                _place_items(statement, table, first, lines)
    return lines


def line_of(path: Path, lines: dict[Path, int]) -> int:
    """Return the line of a key or, where it is not in the file, of the nearest thing above it; 1 at the least."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def line_count(text: str) -> int:
    """Return how many lines the text has as TOML and editors count them; an empty one has 1."""
    return max(1, text.count("\n") + (not text.endswith("\n")))


def error_line(text: str, message: str) -> int:
    """Return the line that a message of tomllib's is about: "… (at line 3, column 5)" or "… (at end of document)"."""
    last = line_count(text)
    if match := re.search(r"\(at line (\d+), column \d+\)", message):
        return min(int(match[1]), last)
    # Something was opened and never closed; the statement that nothing completes is where it was opened.
    started = 1
    for first, _ in _statements(text):
        started = first
    return min(started, last)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield (first line, text) of each statement; the last one may be what never became complete."""
    lines = text.replace("\r\n", "\n").split("\n")
    first = 0
    while first < len(lines):
        end = first + 1
        while not _complete(statement := "\n".join(lines[first:end])) and end < len(lines):
            end += 1
        if statement.strip() and not statement.lstrip().startswith("#"):
            yield first + 1, statement
        first = end


def _complete(statement: str) -> bool:
    try:
        tomllib.loads(statement)
    except (ValueError, RecursionError):
        return False
    return True


def _header(parsed: dict[str, Any], array: bool, counts: dict[Path, int]) -> Path:
    """Return the path of the table that a header opens, with the index of each array of tables on its way."""
    path: Path = ()
    content: Any = parsed
    while content:
        if isinstance(content, list):
            content = content[0]
            continue
        key, content = next(iter(content.items()))
        path += (key,)
        if array and content == [{}]:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path += (counts[path],)
    return path


def _place(value: Any, path: Path, line: int, lines: dict[Path, int], again: bool = False) -> None:
    """Give a value and all that lies in it a line; `again` overrules lines given before."""
    if path and (again or path not in lines):
        lines[path] = line
    if len(path) >= DEEPEST:
        return
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        _place(inner, (*path, key), line, lines, again)


def _place_items(statement: str, table: Path, first: int, lines: dict[Path, int]) -> None:
    """Give the items of an array over several lines their own lines, again by asking where each is complete."""
    rows = statement.split("\n")
    seen = 0
    for count in range(1, len(rows) + 1):
        try:
            # What stands there so far with its bracket closed is an array of the items so far.
            value: Any = tomllib.loads(statement if count == len(rows) else "\n".join(rows[:count]) + "\n]")
        except (ValueError, RecursionError):
            continue
        path = table
        while isinstance(value, dict):
            key, value = next(iter(value.items()))
            path += (key,)
        if not isinstance(value, list):
            return
        for index in range(seen, len(value)):
            _place(value[index], (*path, index), first + count - 1, lines, again=True)
        seen = len(value)

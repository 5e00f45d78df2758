"""Find the line of a key in a TOML file; used only to locate mistakes.

tomllib keeps no positions. A TOML file is a sequence of statements (a header, or a key and its value), each of whole
lines, and the shortest run of lines that tomllib accepts is one statement. So no second parser defines the grammar:
arrays of tables, dotted and quoted keys and multi-line values come out as tomllib reads them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

KeyPath = tuple[str | int, ...]
MAX_DEPTH = 30  # deeper than any key of hosts.toml; dotted keys can nest deeper than Python recurses


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line (1-based) of every key, table and array item: {("hosts", 0, "name"): 12, …}.

    text: TOML that tomllib accepts. An item of an array that is a key's value gets the line on which it ends;
    for anything deeper see `line_of`.
    """
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for first, statement in _statements(text):
        head = statement.lstrip()
        if head.startswith("["):
            table = _header(tomllib.loads(statement), head.startswith("[["), counts)
            for length in range(1, len(table) + 1):
                lines.setdefault(table[:length], first)
        else:
            _record(tomllib.loads(statement), table, first, lines)
            if "\n" in statement:
                _record_items(statement, table, first, lines)
    return lines


def line_of(path: KeyPath, lines: dict[KeyPath, int]) -> int:
    """Return the line of a key or, if it is not in the file, of the nearest table or key that would contain it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def line_count(text: str) -> int:
    """Return the number of lines as TOML and editors count them; 1 for an empty text."""
    return max(1, text.count("\n") + (not text.endswith("\n")))


def error_line(text: str, message: str) -> int:
    """Return the line of a tomllib error message: "… (at line 3, column 5)" or "… (at end of document)"."""
    last = line_count(text)
    if match := re.search(r"\(at line (\d+), column \d+\)", message):
        return min(int(match[1]), last)
    # Something was opened and never closed: it is in the last statement, which nothing completes.
    line = 1
    for first, _ in _statements(text):
        line = first
    return min(line, last)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield (first line, text) of each statement; the last may be incomplete."""
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


def _header(parsed: dict[str, Any], array: bool, counts: dict[KeyPath, int]) -> KeyPath:
    """Return the path of the table that a header opens, with the index of each array of tables in it."""
    path: KeyPath = ()
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


def _record(value: Any, path: KeyPath, line: int, lines: dict[KeyPath, int], overwrite: bool = False) -> None:
    """Record a line for a value and everything in it; `overwrite` replaces lines recorded before."""
    if path and (overwrite or path not in lines):
        lines[path] = line
    if len(path) >= MAX_DEPTH:
        return
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        _record(inner, (*path, key), line, lines, overwrite)


def _record_items(statement: str, table: KeyPath, first: int, lines: dict[KeyPath, int]) -> None:
    """Record the lines of the items of a multi-line array: each is complete on the line where tomllib accepts it."""
    rows = statement.split("\n")
    seen = 0
    for count in range(1, len(rows) + 1):
        try:
            # The lines so far with a closing bracket are an array of the items so far.
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
            _record(value[index], (*path, index), first + count - 1, lines, overwrite=True)
        seen = len(value)

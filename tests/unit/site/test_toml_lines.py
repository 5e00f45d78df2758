"""Lines of keys in files whose lines are known because they were generated line by line."""

from __future__ import annotations

import time
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from provisioner.site.toml_lines import KeyPath, error_line, key_lines, line_count, line_of

EXAMPLE = """\
a.b.c = 1 # x
"q.x" = { z = 1, y = [1, 2, { w = 3 }] }

[[hosts]]
name = "x" # [y]
roles = [ # a
  "a", "b",

  # c ]
  "c" ]
[hosts.labels]
x = '''
[foo]
a = 1
'''
[[hosts]]
  [ hosts . "labels" ] # n
  x.y = 3
[[metallb.pools]]
addresses = [
]
[[metallb.pools.x]]
[[metallb.pools.x]]
n = [[1],
 [2, [
 3]]]
[[metallb.pools]]
[[metallb.pools.x]]
n = 2
"""

LINES: dict[KeyPath, int] = {
    ("a",): 1,
    ("a", "b"): 1,
    ("a", "b", "c"): 1,
    ("q.x",): 2,
    ("q.x", "z"): 2,
    ("q.x", "y"): 2,
    ("q.x", "y", 0): 2,
    ("q.x", "y", 1): 2,
    ("q.x", "y", 2): 2,
    ("q.x", "y", 2, "w"): 2,
    ("hosts",): 4,
    ("hosts", 0): 4,
    ("hosts", 0, "name"): 5,
    ("hosts", 0, "roles"): 6,
    ("hosts", 0, "roles", 0): 7,
    ("hosts", 0, "roles", 1): 7,
    ("hosts", 0, "roles", 2): 10,
    ("hosts", 0, "labels"): 11,
    ("hosts", 0, "labels", "x"): 12,
    ("hosts", 1): 16,
    ("hosts", 1, "labels"): 17,
    ("hosts", 1, "labels", "x"): 18,
    ("hosts", 1, "labels", "x", "y"): 18,
    ("metallb",): 19,
    ("metallb", "pools"): 19,
    ("metallb", "pools", 0): 19,
    ("metallb", "pools", 0, "addresses"): 20,
    ("metallb", "pools", 0, "x"): 22,
    ("metallb", "pools", 0, "x", 0): 22,
    ("metallb", "pools", 0, "x", 1): 23,
    ("metallb", "pools", 0, "x", 1, "n"): 24,
    ("metallb", "pools", 0, "x", 1, "n", 0): 24,
    ("metallb", "pools", 0, "x", 1, "n", 0, 0): 24,
    # an item of an array, with everything in it, is located where it ends
    ("metallb", "pools", 0, "x", 1, "n", 1): 26,
    ("metallb", "pools", 0, "x", 1, "n", 1, 0): 26,
    ("metallb", "pools", 0, "x", 1, "n", 1, 1): 26,
    ("metallb", "pools", 0, "x", 1, "n", 1, 1, 0): 26,
    ("metallb", "pools", 1): 27,
    ("metallb", "pools", 1, "x"): 28,
    ("metallb", "pools", 1, "x", 0): 28,
    ("metallb", "pools", 1, "x", 0, "n"): 29,
}


def paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    """Return the path of everything in a parsed file."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {path} if path else set()
    for key, inner in items:
        found |= paths(inner, (*path, key))
    return found


def test_every_form_of_key() -> None:
    assert key_lines(EXAMPLE) == LINES
    assert set(LINES) == paths(tomllib.loads(EXAMPLE))
    assert key_lines(EXAMPLE.replace("\n", "\r\n")) == LINES


plain_text = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"), exclude_characters='"\\'), max_size=5
)
keys = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,5}", fullmatch=True),
    plain_text.map('"{}"'.format),
    st.sampled_from(["'a.b'", "'[x]'", "'#'", "' = '", '"\\n"', '"\\u0041"']),
)
values = st.sampled_from(
    [
        ("1", 1),
        ('"a # b"', 1),
        ("'[x]'", 1),
        ("2026-11-22T10:00:00Z", 1),
        ("{ a = 1, b.c = [1, 2] }", 1),
        ('"""\n[table]\na = 1\n"""', 4),
        ("'''\n\n'''", 3),
        ("[\n  1, # one ]\n\n  2,\n]", 5),
        ('["""\n]\n""", [\n],\n]', 5),
        ("[]", 1),
    ]
)
fillers = st.sampled_from(["", "\n", "# a = 1\n", "   # [b]\n\n", "\t\n"])


@given(
    st.lists(
        st.tuples(fillers, keys, st.booleans(), st.lists(st.tuples(fillers, keys, values), max_size=4)), max_size=5
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_keys_of_random_files(
    tables: list[tuple[str, str, bool, list[tuple[str, str, tuple[str, int]]]]], end: str
) -> None:
    text, line = "", 1
    expected: dict[KeyPath, int] = {}
    for number, (gap, name, array, entries) in enumerate(tables):
        # A unique prefix keeps random names of tables and keys apart.
        header = f"t{number} . {name}"
        text, line = text + gap, line + gap.count("\n")
        text += f"[[{header}]]\n" if array else f"  [{header}] # x\n"
        (inner,) = tomllib.loads(f"{name} = 1")
        table: KeyPath = (f"t{number}", inner, 0) if array else (f"t{number}", inner)
        expected |= {table[:length]: line for length in range(1, len(table) + 1)}
        line += 1
        for position, (space, key, (value, rows)) in enumerate(entries):
            text, line = text + space, line + space.count("\n")
            text += f"k{position}.{key} = {value}\n"
            (inner,) = tomllib.loads(f"{key} = 1")
            expected |= {(*table, f"k{position}"): line, (*table, f"k{position}", inner): line}
            line += rows
    found = key_lines(text.replace("\n", end))
    assert {path: found.get(path) for path in expected} == expected
    assert set(found) == paths(tomllib.loads(text))


def test_a_missing_key_has_the_line_of_its_table() -> None:
    assert line_of(("hosts", 1, "labels", "z"), LINES) == 17
    assert line_of(("hosts", 7, "name"), LINES) == 4
    assert line_of(("nfs", "size"), LINES) == 1


def test_lines_are_counted_as_editors_count_them() -> None:
    assert [line_count(text) for text in ("", "a", "a\n", "a\nb", "a\n\n", "a\u2028b\n")] == [1, 1, 1, 2, 2, 1]


def test_an_error_at_the_end_is_located_where_its_statement_begins() -> None:
    text = 'a = 1\n\nb = """\nx\n\n\n'
    assert error_line(text, "Unterminated string (at end of document)") == 3
    assert error_line(text, "Invalid value (at line 2, column 5)") == 2
    assert error_line(text, "Something (at line 99, column 1)") == line_count(text) == 6


def test_a_large_file_takes_little_time() -> None:
    host = '[[hosts]]\nname = "x"\naddress = "192.0.2.1"\nroles = [\n  "worker",\n]\n'
    started = time.process_time()
    assert key_lines(host * 1000)["hosts", 999, "name"] == 999 * 6 + 2
    assert time.process_time() - started < 5

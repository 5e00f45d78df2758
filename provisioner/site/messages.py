"""The mistakes in hosts.toml in words: what stands there, what is wanted, what to write. Loaded only when needed.

pydantic says where a value fails and why; here that becomes one line a person can act on. Values that may be
secrets are never shown.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from provisioner.errors import SiteError
from provisioner.site import partial, schema, toml_lines
from provisioner.site.rules import Problem
from provisioner.site.toml_lines import Path

HIDDEN = "the value"
LONGEST = 80  # characters of a value or a key that are shown
_SECRET_KEY = re.compile(r"pass|secret|token|credential", re.IGNORECASE)
_SECRET_VALUE = re.compile(r":[^/@]*@|://[^/]*@|PRIVATE KEY|[\r\n]")
_KINDS = {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
}
_WANTED = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "mapping_type": "a table",
    "model_type": "a table",
}
_LIMITS = {
    "greater_than": ("gt", "is too small", "a number above"),
    "greater_than_equal": ("ge", "is too small", "a number from"),
    "less_than_equal": ("le", "is too large", "a number up to"),
}
_SYNTAX = {
    "overwrite": "the key stands there twice: remove one",
    "mutate": "the table stands there twice: join the two",
    "twice": "the table stands there twice: join the two",
    "duplicate": "the key stands there twice: remove one",
    "unclosed": "close it with the bracket or brace that it lacks",
    "unterminated": "close it with the quotes that it lacks",
    "": 'text stands in quotes, a list in brackets: name = "master", roles = ["worker"]',
}


def unreadable(content: bytes | str, path: FilePath, error: Exception) -> SiteError:
    """Return the error for a file that is no TOML: not UTF-8, a syntax error, or nested beyond reason."""
    if isinstance(error, UnicodeDecodeError):
        line = error.object[: error.start].count(b"\n") + 1
        return SiteError(visible(str(path), 4096), line, "is not UTF-8 text", "save the file as UTF-8")
    text = content if isinstance(content, str) else content.decode("utf-8-sig")
    if not isinstance(error, tomllib.TOMLDecodeError):  # too deep, or a number of thousands of digits
        return SiteError(
            visible(str(path), 4096), 1, "holds what no site needs", "`provisioner init` writes a file to start from"
        )
    message = str(error)
    # tomllib quotes keys and single characters, never values; a key may still hold anything.
    said = visible(re.sub(r" \(at .*\)$", "", message[:1].lower() + message[1:]))
    remedy = next((remedy for part, remedy in _SYNTAX.items() if part in said), _SYNTAX[""])
    return SiteError(visible(str(path), 4096), toml_lines.error_line(text, message), f"is not TOML: {said}", remedy)


def problems(data: dict[str, Any], error: ValidationError) -> list[Problem]:
    """Return what pydantic refuses, and the conflicts among what is left when that is taken out."""
    refused = [_problem(detail) for detail in error.errors(include_url=False)]
    return refused + partial.conflicts(data, error)


def placed(found: list[Problem], text: str, path: FilePath) -> tuple[SiteError, ...]:
    """Return the problems as errors with their lines, in the order of the file, each once."""
    lines = toml_lines.key_lines(text)
    errors: dict[tuple[int, str], SiteError] = {}
    for problem in found:
        message = problem.message
        if problem.other in lines:
            message = message.replace("{line}", str(lines[problem.other]))
        elif problem.other:
            message = message.replace(" on line {line}", " by default")
        place = problem.path if problem.path in lines or problem.other not in lines else problem.other
        line = toml_lines.line_of(place, lines)
        message = f"{dotted(problem.path)}: {message}" if problem.path else message
        errors.setdefault((line, message), SiteError(visible(str(path), 4096), line, message, problem.remedy))
    return tuple(errors[key] for key in sorted(errors, key=lambda key: key[0]))


def dotted(path: Path) -> str:
    """Return a path as people write it: hosts[0].labels."example.org/disk"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{_toml_key(part)}"
    return visible(text)


def shown(path: Path, value: Any) -> str:
    """Return a value as it may be shown, or HIDDEN where it is long or may be a secret."""
    if isinstance(value, dict | list | tuple) or any(_SECRET_KEY.search(str(part)) for part in path):
        return HIDDEN
    if isinstance(value, str):
        return HIDDEN if _SECRET_VALUE.search(value) else visible(json.dumps(value, ensure_ascii=False))
    return visible(_as_text(value) if isinstance(value, bool) else str(value))


def visible(text: str, most: int = LONGEST) -> str:
    """Return the beginning of a text on one line, with what no terminal should see escaped."""
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _problem(detail: ErrorDetails) -> Problem:
    """Return one of pydantic's findings in words."""
    path: Path = tuple(detail["loc"])
    kind, value = detail["type"], detail.get("input")
    if kind == "missing":
        return _missing(path)
    if kind == "extra_forbidden":
        return _unknown(path, value)
    if path[-1:] == ("[key]",):
        path, value = path[:-1], path[-2]
    return Problem(path, *_refusal(path, kind, value, detail.get("ctx", {})))


def _refusal(path: Path, kind: str, value: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    """Return why a value is refused, and the remedy."""
    if kind == "value_error":
        predicate, _, remedy = str(context["error"]).partition("; ")
        return f"{shown(path, value)} {predicate}", remedy
    if kind == "literal_error":
        choices = " or ".join(f'"{word}"' for word in re.findall(r"'([^']+)'", str(context["expected"])))
        return f"{shown(path, value)} is not possible here", f"write {choices}"
    if kind in _WANTED:
        return f"{_described(path, value)}, {_WANTED[kind]} is wanted", _example(path, value)
    if kind in _LIMITS:
        key, predicate, wanted = _LIMITS[kind]
        return f"{shown(path, value)} {predicate}", f"write {wanted} {context[key]}"
    if kind in ("too_short", "string_too_short"):
        return "is empty", _example(path, None)
    return f"{shown(path, value)} is not possible here", _example(path, None)


def _missing(path: Path) -> Problem:
    if path == ("hosts",):
        remedy = (
            "describe each under [[hosts]] by name, address and roles; `provisioner init` writes a file to start from"
        )
        return Problem(path, "no host is described", remedy)
    return Problem(path[:-1], f"has no {path[-1]}", _example(path, None).replace("write", "add", 1))


def _unknown(path: Path, value: Any) -> Problem:
    """Say that no table, or only another table, has the key."""
    key, model = str(path[-1]), schema.model_at(path[:-1])
    kind = "table" if isinstance(value, dict | list) and len(path) == 1 else "key"
    known = schema.keys(model)
    if near := get_close_matches(key.lower().replace("-", "_"), known, 1):
        return Problem(path, f"is an unknown {kind}", f'did you mean "{near[0]}"?')
    if tables := [table for table, names in schema.tables().items() if key in names]:
        return Problem(path, f"is an unknown {kind} here", f"it belongs under {' or '.join(tables)}")
    where = schema.header(path[:-1]) if len(path) > 1 else "hosts.toml"
    return Problem(path, f"is an unknown {kind}", f"{where} has {', '.join(known)}")


def _described(path: Path, value: Any) -> str:
    name = "a table" if isinstance(value, dict) else _KINDS.get(type(value), "a date or time")
    seen = shown(path, value)
    return f"is {name}" if seen == HIDDEN else f"{seen} is {name}"


def _example(path: Path, value: Any) -> str:
    """Return what to write: the value itself in the right form where that is plain, else an example."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    key = str(path[-1]) if path else ""
    field = schema.field_at(path)
    if field is None:  # an entry of a free table: labels, flags
        return f"write {_toml_key(key)} = {_toml(_as_text(value))}"
    if schema.table_of(field) is not None and not field.examples:
        header = schema.header(path)
        return f"write it as a table, under {header}"
    return f"write {_toml_key(key)} = {_toml(_right_form(path, field, value))}"


def _right_form(path: Path, field: FieldInfo, value: Any) -> Any:
    example = field.examples[0] if field.examples else field.get_default(call_default_factory=True)
    if shown(path, value) == HIDDEN or isinstance(value, datetime | date | time | float | None):
        return example  # a float is not what was typed: 1.20 has become 1.2
    if isinstance(example, str) and isinstance(value, bool | int):
        return _as_text(value)
    if isinstance(value, str):
        if isinstance(example, list | tuple):
            return [value]
        if isinstance(example, bool) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if isinstance(example, int | float) and value.isascii() and value.isdecimal() and len(value) < 10:
            return int(value)
    return example


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else "text"


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key) else visible(json.dumps(key, ensure_ascii=False))


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml_key(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return visible(json.dumps(value, ensure_ascii=False))

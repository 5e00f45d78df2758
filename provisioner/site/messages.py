"""Messages about mistakes in hosts.toml: the value, what was expected, and what to write instead.

Each of pydantic's errors becomes one line that a person can act on. Values that may be secrets are never shown.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from provisioner.errors import SiteError
from provisioner.site import partial, schema, toml_lines
from provisioner.site.rules import Problem
from provisioner.site.toml_lines import KeyPath
from provisioner.text import join_words

HIDDEN = "the value"
MAX_LENGTH = 80  # characters of a value or a key that are shown
_SECRET_KEY = re.compile(r"pass|secret|token|credential", re.IGNORECASE)
_SECRET_VALUE = re.compile(r":[^/@]*@|://[^/]*@|PRIVATE KEY|[\r\n]")
_KINDS = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    tuple: "an array",
}
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "an array",
    "dict_type": "a table",
    "mapping_type": "a table",
    "model_type": "a table",
}
_LIMITS = {
    "greater_than": ("gt", "is too small", "a number above {}"),
    "greater_than_equal": ("ge", "is too small", "{} or more"),
    "less_than_equal": ("le", "is too large", "{} or less"),
}
_SYNTAX = {
    "overwrite": "the key is defined twice: remove one",
    "mutate": "the table is defined twice: merge the two",
    "twice": "the table is defined twice: merge the two",
    "duplicate": "the key is defined twice: remove one",
    "unclosed": "add the closing bracket or brace",
    "unterminated": "add the closing quotes",
    "": 'write strings in quotes and arrays in brackets: name = "master", roles = ["worker"]',
}


def toml_error(content: bytes | str, path: Path, error: Exception) -> SiteError:
    """Return the error for a file that tomllib rejects: not UTF-8, a syntax error, or nested too deeply."""
    if isinstance(error, UnicodeDecodeError):
        line = error.object[: error.start].count(b"\n") + 1
        return SiteError(escape(str(path), 4096), line, "is not valid UTF-8", "save the file as UTF-8")
    text = content if isinstance(content, str) else content.decode("utf-8-sig")
    if not isinstance(error, tomllib.TOMLDecodeError):  # too deep, or a number of thousands of digits
        return SiteError(
            escape(str(path), 4096),
            1,
            "is nested too deeply or contains a number with too many digits",
            "`provisioner init` creates a file to start from",
        )
    message = str(error)
    # tomllib quotes keys and single characters, never values; but a key can contain anything.
    reason = escape(re.sub(r" \(at .*\)$", "", message[:1].lower() + message[1:]))
    remedy = next((remedy for part, remedy in _SYNTAX.items() if part in reason), _SYNTAX[""])
    if array := re.search(r"\('(hosts)',\)|\('(metallb)', '(pools)'\)", reason):
        header = ".".join(filter(None, array.groups()))
        remedy = f"write [[{header}]], in double brackets, for each of them"
    return SiteError(
        escape(str(path), 4096), toml_lines.error_line(text, message), f"is not valid TOML: {reason}", remedy
    )


def problems(data: dict[str, Any], error: ValidationError) -> list[Problem]:
    """Return what pydantic refuses, and the conflicts among the rest of the file."""
    refused = [_problem(detail) for detail in error.errors(include_url=False)]
    meant = {(problem.path[:-1], problem.remedy) for problem in refused}
    refused = [one for one in refused if (one.path, f'did you mean "{_lacks(one)}"?') not in meant]
    return refused + partial.conflicts(data, error)


def _lacks(problem: Problem) -> str:
    """Return the key that is missing, "" for another problem; one with a typo is there under another name."""
    return problem.message.removeprefix("has no ") if problem.message.startswith("has no ") else ""


def locate(found: list[Problem], text: str, path: Path) -> tuple[SiteError, ...]:
    """Return the problems as errors with line numbers, in the order of the file, without duplicates."""
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
        message = f"{dotted_key(problem.path)}: {message}" if problem.path else message
        remedy = _in_quotes(problem, text, line) or problem.remedy
        errors.setdefault((line, message), SiteError(escape(str(path), 4096), line, message, remedy))
    return tuple(errors[key] for key in sorted(errors, key=lambda key: key[0]))


def _in_quotes(problem: Problem, text: str, line: int) -> str:
    """Return the remedy for a version without quotes: as it is written, since as a number 1.30 is 1.3; else ""."""
    if not problem.message.endswith("is a float, expected a string"):
        return ""
    written = re.search(r"=\s*([0-9][0-9._]*)\s*(?:#.*)?$", text.splitlines()[line - 1])
    return f'set {_toml_key(str(problem.path[-1]))} = "{written[1]}"' if written else ""


def dotted_key(path: KeyPath) -> str:
    """Return a path as a dotted key: hosts[0].labels."example.org/disk"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{_toml_key(part)}"
    return escape(text)


def display(path: KeyPath, value: Any) -> str:
    """Return a value for display; HIDDEN for a table, an array, and whatever may be a secret."""
    if isinstance(value, dict | list | tuple) or any(_SECRET_KEY.search(str(part)) for part in path):
        return HIDDEN
    if isinstance(value, str):
        return HIDDEN if _SECRET_VALUE.search(value) else escape(json.dumps(value, ensure_ascii=False))
    return escape(_as_text(value) if isinstance(value, bool) else str(value))


def escape(text: str, limit: int = MAX_LENGTH) -> str:
    """Return at most `limit` characters of a text on one line, with everything unprintable escaped."""
    text = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _problem(detail: ErrorDetails) -> Problem:
    """Return one of pydantic's errors in words."""
    path: KeyPath = tuple(detail["loc"])
    kind, value = detail["type"], detail.get("input")
    if kind == "missing":
        return _missing(path)
    if kind == "extra_forbidden":
        return _unknown(path, value)
    if path[-1:] == ("[key]",):
        path, value = path[:-1], path[-2]
    return Problem(path, *_refusal(path, kind, value, detail.get("ctx", {})))


def _refusal(path: KeyPath, kind: str, value: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    """Return why a value is refused, and the remedy."""
    if kind == "value_error":
        predicate, _, remedy = str(context["error"]).partition("; ")
        return f"{display(path, value)} {predicate}", remedy
    if kind == "literal_error":
        choices = [f'"{word}"' for word in re.findall(r"'([^']+)'", str(context["expected"]))]
        return f"{display(path, value)} is not a valid value", f"use {join_words(choices, 'or')}"
    if kind in _EXPECTED:
        return f"{_with_type(path, value)}, expected {_EXPECTED[kind]}", _example(path, value)
    if kind in _LIMITS:
        key, predicate, limit = _LIMITS[kind]
        return f"{display(path, value)} {predicate}", f"use {limit.format(context[key])}"
    if kind in ("too_short", "string_too_short"):
        return "is empty", _example(path, None)
    return f"{display(path, value)} is not a valid value", _example(path, None)


def _missing(path: KeyPath) -> Problem:
    if path == ("hosts",):
        remedy = "add a [[hosts]] table for each, or start from the file that `provisioner init` creates"
        return Problem(path, "no host is defined", remedy)
    return Problem(path[:-1], f"has no {path[-1]}", _example(path, None).replace("set", "add", 1))


def _unknown(path: KeyPath, value: Any) -> Problem:
    """Return the problem of a key that no table, or only another table, has."""
    key, model = str(path[-1]), schema.model_at(path[:-1])
    kind = "table" if isinstance(value, dict | list) and len(path) == 1 else "key"
    known = schema.keys(model)
    if near := get_close_matches(key.lower().replace("-", "_"), known, 1):
        return Problem(path, f"unknown {kind}", f'did you mean "{near[0]}"?')
    if tables := [table for table, names in schema.tables().items() if key in names]:
        return Problem(path, f"unknown {kind} here", f"it belongs under {' or '.join(tables)}")
    where = f"keys of {schema.header(path[:-1])}" if len(path) > 1 else "tables of hosts.toml"
    return Problem(path, f"unknown {kind}", f"the {where} are {', '.join(known)}")


def _with_type(path: KeyPath, value: Any) -> str:
    name = "a table" if isinstance(value, dict) else _KINDS.get(type(value), "a date or time")
    text = display(path, value)
    return f"is {name}" if text == HIDDEN else f"{text} is {name}"


def _example(path: KeyPath, value: Any) -> str:
    """Return what to write: the value with the right type if that is obvious, else an example."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    key = str(path[-1]) if path else ""
    field = schema.field_at(path)
    if field is None:  # an entry of a free table: labels, flags
        return f"set {_toml_key(key)} = {_toml(_as_text(value))}"
    if schema.table_model(field) is not None and not field.examples:
        return f"define it as a table under {schema.header(path)}"
    return f"set {_toml_key(key)} = {_toml(_retyped(path, field, value))}"


def _retyped(path: KeyPath, field: FieldInfo, value: Any) -> Any:
    example = field.examples[0] if field.examples else field.get_default(call_default_factory=True)
    if display(path, value) == HIDDEN or isinstance(value, datetime | date | time | float | None):
        return example  # a float has lost its digits: 1.20 is 1.2
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
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key) else escape(json.dumps(key, ensure_ascii=False))


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml_key(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return escape(json.dumps(value, ensure_ascii=False))

"""Facts files, l2facts/v2 and v1: read with errors that name place and remedy, written so that they diff well.

A facts file is written by `l2 collect`, copied around, cut and edited by hand. Any mistake in one is a one-line error:
a diagnosis from half-understood facts would be worse than none.
"""

from __future__ import annotations

import difflib
import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from provisioner.errors import Inconclusive
from provisioner.l2 import facts_doubts
from provisioner.l2.facts import READABLE, SCHEMA, Facts, Part
from provisioner.l2.facts_values import quoted
from provisioner.text import join_words, printable

MAX_BYTES = 64 * 1024 * 1024  # some 50,000 Services; anything larger is not a facts file
_COLLECT = "write one with: provisioner l2 collect -o FILE"
_TYPES = {
    "string_type": "is not a string",
    "bool_type": "is neither true nor false",
    "int_type": "is not an integer",
    "int_from_float": "is not an integer",
    "tuple_type": "is not a list",
    "mapping_type": "is not an object",
    "dict_type": "is not an object",
    "model_type": "is not an object",
    "model_attributes_type": "is not an object",
    "string_too_short": "is empty",
}


# Free text, which may have had line breaks in files of earlier versions.
_PROSE = frozenset({"message", "config_error", "allow_shared_ip", "wanted_pool"})
# Line and paragraph separators, and marks that reorder the characters around them (Unicode, UAX #9).
_INVISIBLE = frozenset("\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class _Duplicate(ValueError):
    """A key that appears twice in a JSON object."""


class _NotANumber(ValueError):
    """NaN or Infinity, which JSON does not have."""


def load(path: Path) -> Facts:
    """Read a facts file.

    Raises Inconclusive (exit status 2: nothing can be concluded without the facts) if the file cannot be read, is not
    JSON, has another schema or an invalid value; the message names file, place and remedy.
    """
    text = _read(path)
    document = _parse(text, path)
    if not isinstance(document, dict):
        raise Inconclusive(f"{path}: is not a facts file: it holds {_kind(document)}, not an object", _COLLECT)
    _check_schema(document, path)
    if "nodes" not in document:
        close = difflib.get_close_matches("nodes", document, 1)
        raise Inconclusive(
            f"{path}: nodes is missing" + (f" (did you mean {quoted(close[0])}?)" if close else ""), _COLLECT
        )
    _refuse_control_characters(document, path)
    try:
        facts = Facts.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise _invalid(path, error) from None
    if contradiction := facts_doubts.contradiction(facts):
        raise Inconclusive(f"{path}: {contradiction}", "correct it, or collect again")
    return facts


def dump(facts: Facts) -> str:
    """Return facts as a facts file: indented, keys sorted, unknown values omitted; `load` reads the same back."""
    document = facts.model_dump(mode="json", by_alias=True, exclude_none=True) | {"schema": SCHEMA}
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _read(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # a named pipe would be waited for, a device never ends
            kind = "directory" if path.is_dir() else "named pipe" if path.is_fifo() else "device or socket"
            raise Inconclusive(f"{path}: is a {kind}", "name a facts file")
        with path.open("rb") as file:
            body = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise Inconclusive(f"{path}: no such file", _COLLECT) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise Inconclusive(f"{path}: cannot be read: {reason}", "name a facts file") from None
    if len(body) > MAX_BYTES:
        raise Inconclusive(f"{path}: is larger than {MAX_BYTES // 2**20} MiB, so not a facts file", _COLLECT)
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise Inconclusive(f"{path}:{line}: is not UTF-8 text", _COLLECT) from None


def _parse(text: str, path: Path) -> Any:
    if not text.strip():
        raise Inconclusive(f"{path}: is empty", _COLLECT)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_not_a_number)
    except json.JSONDecodeError as error:
        place = f"{path}:{error.lineno}"
        raise Inconclusive(f"{place}: is not JSON: {error.msg} (column {error.colno})", "correct that line") from None
    except _Duplicate as error:
        raise Inconclusive(f"{path}: the key {error} appears twice in one object", "remove one of them") from None
    except _NotANumber as error:
        raise Inconclusive(f"{path}: {error} is not JSON", "write a number, or leave the key out") from None
    except RecursionError:
        raise Inconclusive(f"{path}: is nested too deeply for a facts file", _COLLECT) from None
    except ValueError:  # the only other one: a number with thousands of digits
        raise Inconclusive(f"{path}: contains a number that is too long", _COLLECT) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Duplicate(quoted(next(name for name in names if names.count(name) > 1)))
    return made


def _not_a_number(word: str) -> Any:
    raise _NotANumber(word)


def _refuse_control_characters(value: Any, path: Path, place: tuple[int | str, ...] = ()) -> None:
    """Raise Inconclusive for a string, other than free text, that could forge a line or a color of a report."""
    if isinstance(value, str):
        found = next((one for one in value if ord(one) < 32 or 127 <= ord(one) < 160 or one in _INVISIBLE), "")
        if found and not (place and place[-1] in _PROSE):
            where = f"{_place(place)}: " if place else ""
            raise Inconclusive(
                f"{path}: {where}{quoted(value)} contains the control character U+{ord(found):04X}", "remove it"
            )
    elif isinstance(value, dict):
        for key, inner in value.items():
            _refuse_control_characters(key, path, (*place, key))
            _refuse_control_characters(inner, path, (*place, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _refuse_control_characters(inner, path, (*place, number))


def _check_schema(document: Mapping[str, Any], path: Path) -> None:
    schema = document.get("schema")
    if isinstance(schema, str) and schema in READABLE:
        return
    remedy = f'the first key of a facts file is "schema": "{SCHEMA}"; {_COLLECT}'
    if "schema" not in document:
        raise Inconclusive(f"{path}: schema is missing", remedy)
    if isinstance(schema, str) and schema.startswith("l2report/"):
        raise Inconclusive(f"{path}: schema: {quoted(schema)} is a report, not facts", _COLLECT)
    if isinstance(schema, str) and schema.startswith("l2facts/"):
        raise Inconclusive(
            f"{path}: schema: this version reads {join_words(READABLE)}, not {quoted(schema)}",
            "collect again with this version, or read it with the version that wrote it",
        )
    raise Inconclusive(f"{path}: schema: is {quoted(schema)}, not {quoted(SCHEMA)}", remedy)


def _invalid(path: Path, error: ValidationError) -> Inconclusive:
    details = error.errors(include_url=False)
    first = details[0]
    message, remedy = _explain(first)
    place = _place(first["loc"])
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return Inconclusive(f"{path}: {place}{': ' if place else ''}{message}{more}", remedy)


def _explain(detail: ErrorDetails) -> tuple[str, str]:
    """Return what is wrong and what to do about it."""
    kind, value, context = detail["type"], _value(detail["input"]), detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(detail["loc"])
    explained = {
        "missing": ("is missing", "add it"),
        "literal_error": (f"{value} is not one of {context.get('expected')}", "write one of these"),
        "value_error": (str(context.get("error")), "correct it"),
        "json_invalid": (f"is not JSON: {context.get('error')}", "correct it"),
    }
    if kind in _TYPES:
        return f"{value} {_TYPES[kind]}", "correct it"
    return explained.get(kind, (f"{value} is invalid: {detail['msg'].lower()}", "correct it"))


def _unknown_key(location: Sequence[int | str]) -> tuple[str, str]:
    known = _keys(_model(location[:-1]))
    close = difflib.get_close_matches(str(location[-1]), known, 1)
    remedy = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
    return "unknown key", remedy


def _keys(model: type[Part]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _model(location: Sequence[int | str]) -> type[Part]:
    """Return the part of the facts at a location."""
    model: type[Part] = Facts
    for step in location:
        field = model.model_fields.get(str(step)) if isinstance(step, str) else None
        if field is not None and (found := _part(field.annotation)) is not None:
            model = found
    return model


def _part(annotation: Any) -> type[Part] | None:
    """Return the Part within an annotation such as `tuple[Nic, ...] | None`; there is at most one."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    found = (_part(argument) for argument in typing.get_args(annotation))
    return next((part for part in found if part is not None), None)


def _place(location: Sequence[int | str]) -> str:
    """Return a location in the usual notation: services[0].ports[1].port."""
    place = ""
    for step in location:
        if step == "[key]":
            continue
        if isinstance(step, int):
            place += f"[{step}]"
        else:
            name = step if step.isidentifier() and len(step) <= 60 else quoted(step)
            place += f".{name}" if place else name
    return place


def _value(value: Any) -> str:
    """Return a JSON value as the file shows it, truncated if long."""
    if isinstance(value, dict | list):
        return _kind(value)
    text = printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= 60 else f"{text[:57]}…"


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")

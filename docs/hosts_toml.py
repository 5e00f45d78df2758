"""The reference of hosts.toml as a page: keys, types and defaults from the model, meanings from the template."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

from annotated_types import BaseMetadata, Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from provisioner.site import schema
from provisioner.site.toml_lines import KeyPath

_KEY = re.compile(r"^#?([a-z_]+) = (.*?)\s+# (.*)$")
_TABLE = re.compile(r"^\[+([a-z.]+)\]+$")
_BOUNDS = {Ge: "from {}", Gt: "above {}", Le: "to {}", Lt: "below {}"}


def markdown(template: str) -> str:
    """Return the reference. template: the commented hosts.toml, which names every key."""
    about, meanings = _comments(template)
    lines = [
        "# hosts.toml",
        "",
        "Every table and key. `provisioner init --template` writes a file that has all of them with their defaults;",
        "`provisioner plan` validates a file, and names the line and the remedy of each mistake.",
        "",
    ]
    for name, keys in schema.tables().items():
        path: KeyPath = tuple(name.strip("[]").split("."))
        if not any((*path, key) in meanings for key in keys):
            continue  # described at the key that holds it
        lines += [f"## {name}", "", about.get(path, ""), ""] if about.get(path) else [f"## {name}", ""]
        lines += ["| Key | Values | Default | Meaning |", "| --- | --- | --- | --- |"]
        for key in keys:
            field = schema.field_at((*path, key))
            if field is None or (*path, key) not in meanings:  # a table of its own
                continue
            cells = (f"`{key}`", _kind(field), _default(field), meanings[*path, key])
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _comments(template: str) -> tuple[dict[KeyPath, str], dict[KeyPath, str]]:
    """Return the comment above each table, and the one beside each key at its first mention."""
    about: dict[KeyPath, str] = {}
    meanings: dict[KeyPath, str] = {}
    above: list[str] = []
    table: KeyPath = ()
    key: KeyPath | None = None
    for line in template.splitlines():
        if header := _TABLE.match(line):
            table = tuple(header[1].split("."))
            if above and table not in about:
                about[table] = " ".join(above)
            above = []
        elif found := _KEY.match(line):
            key = (*table, found[1]) if (*table, found[1]) not in meanings else None
            if key is not None:
                meanings[key] = found[3]
        elif more := re.match(r"^\s{8,}# (.*)$", line):
            if key is not None:
                meanings[key] += f" {more[1]}"
        elif comment := re.match(r"^# (.*)$", line):
            above.append(comment[1])
        else:
            above, key = [], None
    return about, meanings


def _kind(field: FieldInfo) -> str:
    """Return what values a key takes, in words."""
    kind: Any = field.annotation
    many = get_origin(kind) is tuple
    if many:
        kind = get_args(kind)[0]
    while hasattr(kind, "__metadata__"):
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        words = ", ".join(f'`"{word}"`' for word in get_args(kind))
    else:
        words = {bool: "`true`, `false`", int: "integer", float: "number", str: "string"}.get(kind, "table")
        bounds = [_BOUNDS[type(one)].format(_bound(one)) for one in field.metadata if type(one) in _BOUNDS]
        words = " ".join([words, *bounds])
    return f"list of: {words}" if many else words


def _bound(limit: BaseMetadata) -> object:
    return (
        next(iter(vars(limit).values()))
        if hasattr(limit, "__dict__")
        else getattr(limit, type(limit).__name__.lower())
    )


def _default(field: FieldInfo) -> str:
    """Return a key's default as TOML."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return f"`{_toml(value)}`"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    if isinstance(value, str):
        return f'"{value}"'
    return "{}"

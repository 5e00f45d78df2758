"""The tables and keys of hosts.toml, read from the models: for suggestions and examples in messages."""

from __future__ import annotations

from typing import get_args, get_origin

from pydantic.fields import FieldInfo

from provisioner.site.model import Model, Site
from provisioner.site.toml_lines import KeyPath


def keys(model: type[Model]) -> list[str]:
    """Return a table's keys as written in hosts.toml."""
    return [field.alias or name for name, field in model.model_fields.items()]


def tables() -> dict[str, list[str]]:
    """Return the keys of every table by header: {"[cluster]": ["name", …], "[[hosts]]": …}."""
    found = {}
    pending: list[KeyPath] = [(name,) for name in keys(Site)]
    for path in pending:
        model = model_at(path)
        found[header(path)] = keys(model)
        pending += [(*path, key) for key in keys(model) if table_model(field_at((*path, key)))]
    return found


def header(path: KeyPath) -> str:
    """Return the header of the table at a path, such as "[cluster]" or "[[hosts]]"."""
    field = field_at(path)
    name = ".".join(str(part) for part in path if isinstance(part, str))
    return f"[[{name}]]" if field and get_origin(field.annotation) is tuple else f"[{name}]"


def model_at(path: KeyPath) -> type[Model]:
    """Return the model of the table at a path, of the whole file for ()."""
    model = table_model(field_at(path)) if path else Site
    if model is None:
        raise KeyError(path)
    return model


def field_at(path: KeyPath) -> FieldInfo | None:
    """Return the field of the key at a path; None inside free tables such as labels and flags."""
    model: type[Model] | None = Site
    field = None
    for part in path:
        if isinstance(part, str):
            if model is None:
                return None
            fields = model.model_fields.items()
            field = next((field for name, field in fields if part == (field.alias or name)), None)
            model = table_model(field)
    return field


def table_model(field: FieldInfo | None) -> type[Model] | None:
    """Return the model of a field that is a table or an array of tables, else None."""
    kind = field.annotation if field else None
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    return kind if isinstance(kind, type) and issubclass(kind, Model) else None

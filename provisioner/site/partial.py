"""What contradicts itself in a hosts.toml of which other parts are refused, so that one run tells every mistake.

The refused parts are taken out until the models accept the rest; the rules are then asked about that, and an answer
that is about something taken out is dropped: the default in its place is nobody's mistake.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from provisioner.site import rules
from provisioner.site.model import Site
from provisioner.site.rules import Problem
from provisioner.site.toml_lines import Path

Origins = dict[Path, list[int]]  # by array of tables, the index in the file of each table that is left
MOST_ROUNDS = 10


def conflicts(data: dict[str, Any], error: ValidationError) -> list[Problem]:
    """Return the conflicts among what is left of `data` without what `error` refuses; none where little is left."""
    refused: set[Path] = set()
    origins: Origins = {}
    for _ in range(MOST_ROUNDS):
        refused |= {_in_file(_removable(detail), origins) for detail in error.errors(include_url=False)}
        if () in refused:
            return []
        origins = {}
        left = _without(data, (), refused, origins)
        try:
            site = Site.model_validate(left)
        except ValidationError as again:
            error = again
            continue
        found = [
            problem._replace(path=_in_file(problem.path, origins), other=_in_file(problem.other, origins))
            for problem in rules.conflicts(site)
        ]
        return [problem for problem in found if not _touches(problem, refused)]
    return []


def _removable(detail: ErrorDetails) -> Path:
    """Return what to take out for an error: the key that holds it, or the whole table that lacks a key."""
    path: Path = tuple(detail["loc"])
    if detail["type"] == "missing":
        return path[:-1]
    if path[-1:] == ("[key]",):
        path = path[:-1]
    # An item of a list goes with its list: half a list is not what somebody meant. A table of an array stays one.
    while isinstance(path[-1], int) and path[:-1] not in (("hosts",), ("metallb", "pools")):
        path = path[:-1]
    return path


def _without(value: Any, path: Path, refused: set[Path], origins: Origins) -> Any:
    if not any(other[: len(path)] == path for other in refused):
        return value
    if isinstance(value, dict):
        return {
            key: _without(inner, (*path, key), refused, origins)
            for key, inner in value.items()
            if (*path, key) not in refused
        }
    if isinstance(value, list):
        origins[path] = [index for index in range(len(value)) if (*path, index) not in refused]
        return [_without(value[index], (*path, index), refused, origins) for index in origins[path]]
    return value


def _in_file(path: Path, origins: Origins) -> Path:
    """Return the path in the file of a path in what is left of it."""
    found: Path = ()
    for part in path:
        found += (origins[found][part] if isinstance(part, int) and found in origins else part,)
    return found


def _touches(problem: Problem, refused: set[Path]) -> bool:
    return any(path[: len(other)] == other for path in (problem.path, problem.other) if path for other in refused)

"""Report cross-field conflicts even when other keys are invalid, so that one run shows every mistake.

The refused keys are removed until the models accept the rest, which the rules then check. A conflict that involves
something removed is dropped: the default in its place is not a mistake in the file.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from provisioner.site import rules
from provisioner.site.model import Site
from provisioner.site.rules import Problem
from provisioner.site.toml_lines import KeyPath

Origins = dict[KeyPath, list[int]]  # by array of tables, the index in the file of each table that remains
MAX_ROUNDS = 10


def conflicts(data: dict[str, Any], error: ValidationError) -> list[Problem]:
    """Return the conflicts in `data` without what `error` refuses; none if too little remains to check."""
    refused: set[KeyPath] = set()
    origins: Origins = {}
    for _ in range(MAX_ROUNDS):
        refused |= {_path_in_file(_removable(detail), origins) for detail in error.errors(include_url=False)}
        if () in refused:
            return []
        origins = {}
        rest = _without(data, (), refused, origins)
        try:
            site = Site.model_validate(rest)
        except ValidationError as next_error:
            error = next_error
            continue
        found = [
            problem._replace(path=_path_in_file(problem.path, origins), other=_path_in_file(problem.other, origins))
            for problem in rules.conflicts(site)
        ]
        return [problem for problem in found if not _involves(problem, refused)]
    return []


def _removable(detail: ErrorDetails) -> KeyPath:
    """Return what to remove for an error: the key with the wrong value, or the whole table that lacks a key."""
    path: KeyPath = tuple(detail["loc"])
    if detail["type"] == "missing":
        return path[:-1]
    if path[-1:] == ("[key]",):
        path = path[:-1]
    # Remove a whole array for one of its items, since nobody meant half of it; of an array of tables, one table.
    while isinstance(path[-1], int) and path[:-1] not in (("hosts",), ("metallb", "pools")):
        path = path[:-1]
    return path


def _without(value: Any, path: KeyPath, refused: set[KeyPath], origins: Origins) -> Any:
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


def _path_in_file(path: KeyPath, origins: Origins) -> KeyPath:
    """Return the path in the file of a path in the rest."""
    found: KeyPath = ()
    for part in path:
        found += (origins[found][part] if isinstance(part, int) and found in origins else part,)
    return found


def _involves(problem: Problem, refused: set[KeyPath]) -> bool:
    return any(path[: len(other)] == other for path in (problem.path, problem.other) if path for other in refused)

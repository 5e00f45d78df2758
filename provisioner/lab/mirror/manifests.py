"""Upstream's manifests at upstream's addresses: those of the catalogue, found by their SHA-256."""

import hashlib
import os
import shutil
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import cache

_PACKAGES = Path(__file__).resolve().parents[3]


def folder() -> Path:
    """Return the directory of the manifests; raises ProvisionerError if there is none.

    It is $PROVISIONER_UPSTREAM or else `shared/upstream` beside a checkout, or `upstream` in the cache.
    """
    candidates = [cache.base() / "upstream"]
    if (_PACKAGES / "pyproject.toml").is_file():
        candidates.insert(0, _PACKAGES.parent / "shared/upstream")
    if configured := os.environ.get("PROVISIONER_UPSTREAM"):
        candidates = [Path(configured)]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise ProvisionerError(
        f"no upstream manifests found in {' or '.join(str(candidate) for candidate in candidates)}",
        "set PROVISIONER_UPSTREAM to their directory",
    )


def catalogue() -> str:
    """Return the text of the catalogue."""
    return files("provisioner").joinpath("catalogue.toml").read_text(encoding="utf-8")


def pinned(tree: object) -> Iterator[tuple[str, str]]:
    """Yield (url, sha256) of every download in the parsed catalogue, at any depth."""
    if isinstance(tree, dict):
        if "url" in tree and "sha256" in tree:
            yield str(tree["url"]), str(tree["sha256"])
        for value in tree.values():
            yield from pinned(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from pinned(value)


def served_path(url: str) -> str:
    """Return the path of a download below the mirror's root: its address without the scheme."""
    return url.partition("://")[2]


def build() -> Path:
    """Return a directory with every manifest of the catalogue that `folder` has, by host and path of its address."""
    parsed: dict[str, Any] = tomllib.loads(catalogue())
    local = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in folder().rglob("*") if path.is_file()}
    found = {url: sha256 for url, sha256 in pinned(parsed) if sha256 in local}

    def copy(directory: Path) -> None:
        for url, sha256 in found.items():
            target = directory / served_path(url)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(local[sha256], target)

    return cache.artifact("manifests", {"files": found}, copy)

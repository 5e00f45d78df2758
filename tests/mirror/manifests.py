"""Upstream's manifests at upstream's addresses: those of the product's catalogue, found by their SHA-256."""

import hashlib
import os
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError
from tests.mirror import cache

_CHECKOUT = Path(__file__).resolve().parents[2]
CATALOGUE = _CHECKOUT / "provisioner/catalogue.toml"


def folder() -> Path:
    """Return where the manifests lie: $PROVISIONER_UPSTREAM, `shared/upstream` beside the checkout, or the cache."""
    candidates = [_CHECKOUT.parent / "shared/upstream", cache.base() / "upstream"]
    if named := os.environ.get("PROVISIONER_UPSTREAM"):
        candidates = [Path(named)]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise ProvisionerError(
        f"there are no upstream manifests in {' or '.join(str(candidate) for candidate in candidates)}",
        "name their folder in PROVISIONER_UPSTREAM",
    )


def pinned(catalogue: object) -> Iterator[tuple[str, str]]:
    """Yield (url, sha256) of every download in the catalogue, wherever it stands."""
    if isinstance(catalogue, dict):
        if "url" in catalogue and "sha256" in catalogue:
            yield str(catalogue["url"]), str(catalogue["sha256"])
        for value in catalogue.values():
            yield from pinned(value)
    elif isinstance(catalogue, list):
        for value in catalogue:
            yield from pinned(value)


def place(url: str) -> str:
    """Return where a download lies below the mirror's root: its address without the scheme."""
    return url.partition("://")[2]


def build() -> Path:
    """Return a directory with every manifest of the catalogue that is here, by host and path of its address."""
    catalogue: dict[str, Any] = tomllib.loads(CATALOGUE.read_text())
    local = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in folder().rglob("*") if path.is_file()}
    found = {url: sha256 for url, sha256 in pinned(catalogue) if sha256 in local}

    def copy(directory: Path) -> None:
        for url, sha256 in found.items():
            target = directory / place(url)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(local[sha256], target)

    return cache.artefact("manifests", {"files": found}, copy)

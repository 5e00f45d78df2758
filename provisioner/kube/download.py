"""Fetch a pinned file from the site's cache, upstream or the site's mirror; always verified."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner import ownership
from provisioner.catalogue import Download
from provisioner.errors import ProvisionerError

if TYPE_CHECKING:
    from provisioner.site import Site


def fetch(site: Site, download: Download) -> bytes:
    """Return the content of a pinned file, verified against its SHA-256.

    It is cached in `.provisioner/cache/SHA256`, so that a plan needs no network. With `mirror.manifests` set,
    `https://HOST/PATH` is read from `MIRROR/HOST/PATH`. Raise ProvisionerError if the download fails or differs.
    """
    cached = site.state / "cache" / download.sha256
    if cached.is_file():
        content = cached.read_bytes()
        if hashlib.sha256(content).hexdigest() == download.sha256:
            return content
    address = mirrored(download.url, site.mirror.manifests)
    content = _get(address, site.timeout(30))
    found = hashlib.sha256(content).hexdigest()
    if found != download.sha256:
        raise ProvisionerError(
            f"{address} has SHA-256 {found}, expected {download.sha256}",
            "nothing was applied; check the mirror, or whether upstream has changed the release",
        )
    _cache(cached, content)
    return content


def mirrored(url: str, mirror: str) -> str:
    """Return the URL to read `url` from: itself, or its path in a mirror with upstream's layout."""
    return f"{mirror.rstrip('/')}/{url.removeprefix('https://')}" if mirror else url


def _get(address: str, timeout: float) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=timeout) as answer:
            return bytes(answer.read())
    except (OSError, urllib.error.URLError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ProvisionerError(
            f"cannot download {address}: {reason}",
            "check this machine's network, or set mirror.manifests in hosts.toml",
        ) from error


def _cache(path: Path, content: bytes) -> None:
    ownership.make_folder(path.parent)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    ownership.give_back(partial)
    partial.replace(path)

"""Upstream's released manifests, if they are available."""

from __future__ import annotations

import hashlib

import pytest

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import manifests


@pytest.fixture(scope="package")
def published() -> dict[str, bytes]:
    """Return upstream's manifests by SHA-256; skip without them."""
    try:
        folder = manifests.folder()
    except ProvisionerError as error:
        pytest.skip(f"upstream's manifests are not tested: {error}")
    found = (path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return {hashlib.sha256(content).hexdigest(): content for content in found}

"""At its end the lab goes and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import drive

pytestmark = pytest.mark.e2e


def test_destroy_leaves_nothing() -> None:
    """No process, no namespace, no file."""
    drive.lab("destroy")
    assert not drive.LAB.exists()
    assert not [path.name for path in Path("/run/netns").iterdir() if path.name.startswith("provlab")]

"""Blank machines become a cluster in one apply, with a snapshot on the way."""

from __future__ import annotations

import time

import pytest

from tests.e2e import drive
from tests.e2e.drive import begins

pytestmark = pytest.mark.e2e


def test_apply_from_blank() -> None:
    """Take the snapshot before the control plane exists."""
    ran = drive.pausing(begins("control-plane"), lambda: _snapshot("prepared"))
    assert ran.status == 0, ran.text[-4000:]
    drive.say(f"apply from blank: {ran.seconds:.0f} s, {len(ran.changes())} changes")


def _snapshot(name: str) -> None:
    start = time.monotonic()
    ran = drive.lab("snapshot", name)
    assert ran.status == 0, ran.text
    drive.say(f"snapshot {name}: {time.monotonic() - start:.1f} s")

"""Blank machines become a cluster in one go, with a snapshot on the way."""

from __future__ import annotations

import time

import pytest

from tests.e2e import drive
from tests.e2e.drive import begins

pytestmark = pytest.mark.e2e


def test_apply_from_blank() -> None:
    """One apply makes a cluster of blank machines; a snapshot is taken on the way, before a control plane is there."""
    ran = drive.pausing(begins("control-plane"), lambda: _snapshot("prepared"))
    assert ran.status == 0, ran.text[-4000:]
    drive.say(f"apply from blank: {ran.seconds:.0f} s, {len(ran.changes())} changes")


def _snapshot(name: str) -> None:
    begun = time.monotonic()
    ran = drive.lab("snapshot", name)
    assert ran.status == 0, ran.text
    drive.say(f"snapshot {name}: {time.monotonic() - begun:.1f} s")

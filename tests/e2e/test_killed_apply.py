"""Blank machines become a cluster although apply is killed five times."""

from __future__ import annotations

import time

import pytest

from tests.e2e import drive, kills
from tests.e2e.drive import begins

pytestmark = pytest.mark.e2e


def test_apply_from_blank_machines_converges_after_five_kills() -> None:
    """Kill it before the control plane exists, then, from a snapshot, four more times; the last run converges."""
    start = time.monotonic()
    drive.killed_during(begins("control-plane"), lambda: True, "the step before the control plane")
    for verb in ("snapshot", "restore"):
        done = drive.lab(verb, "prepared")
        assert done.status == 0, done.text
    kills.at_every_point(drive.SITE)
    ran = drive.operator("apply", "-y")
    assert ran.status == 0, ran.text[-4000:]
    assert ran.changes(), "the last kill left something to do"
    drive.say(f"from blank machines to the cluster, with five kills: {time.monotonic() - start:.0f} s")

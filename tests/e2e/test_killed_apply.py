"""Blank machines become a cluster although apply is killed in every step."""

from __future__ import annotations

import time

import pytest

from tests.e2e import drive, kills

pytestmark = pytest.mark.e2e


def test_apply_from_blank_machines_converges_although_it_is_killed_in_every_step() -> None:
    """Killed at the start, in the middle and at the end of each step; the last run converges."""
    start = time.monotonic()
    count = kills.at_every_step(drive.SITE)
    drive.killed_during(drive.begins("preflight"), lambda: True, "a run whose lock has to expire")
    ran = drive.operator("apply", "-y")
    assert ran.status == 0, ran.text[-4000:]
    drive.say(f"from blank machines to the cluster, with {count} kills: {time.monotonic() - start:.0f} s")

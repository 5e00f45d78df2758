"""Blank machines become a cluster in one apply."""

from __future__ import annotations

import pytest

from tests.e2e import drive

pytestmark = pytest.mark.e2e


def test_apply_from_blank() -> None:
    """It makes its changes, and a plan is empty afterwards."""
    ran = drive.operator("apply", "-y")
    assert ran.status == 0, ran.text[-4000:]
    drive.say(f"apply from blank: {ran.seconds:.0f} s, {len(ran.changes())} changes")
    plan = drive.operator("plan")
    assert (plan.status, plan.changes()) == (0, []), plan.text[-4000:]

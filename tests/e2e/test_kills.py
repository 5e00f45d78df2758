"""From the quiet road's snapshot, a small site with a kill at every crossing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import drive, kills, secrets

pytestmark = pytest.mark.e2e


@pytest.fixture
def small() -> Path:
    """Give a site with no more than what the kills are about: the story had the rest, in minutes."""
    return drive.small_site()


def test_killed_at_every_crossing(small: Path) -> None:
    """From a snapshot: SIGKILL during init, a join, NFS and MetalLB; the next apply goes on each time."""
    assert drive.lab("restore", "prepared").status == 0
    kills.at_every_crossing(small)
    ran = drive.operator("apply", "-y", site=small)
    assert ran.status == 0, ran.text[-4000:]
    assert ran.changes(), "the last kill left something to do"


def test_converged_after_the_kills(small: Path) -> None:
    """The plan is empty, and nodes, names, volumes and external IPs are as after a quiet run."""
    plan = drive.operator("plan", site=small)
    assert plan.status == 0, plan.text[-4000:]
    verify = drive.operator("verify", "nodes", "system", "dns", "storage", "loadbalancer", site=small)
    assert verify.status == 0, verify.text[-6000:]
    secrets.none_in_logs()

"""Kill apply on a small site, from the snapshot that test_apply made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import drive, kills, secrets

pytestmark = pytest.mark.e2e


@pytest.fixture
def small() -> Path:
    """Return a site with few workloads, since test_apply had them all."""
    return drive.small_site()


def test_apply_converges_after_four_kills(small: Path) -> None:
    """SIGKILL during init, a join, NFS and MetalLB; the next apply continues each time."""
    assert drive.lab("restore", "prepared").status == 0
    kills.at_every_point(small)
    ran = drive.operator("apply", "-y", site=small)
    assert ran.status == 0, ran.text[-4000:]
    assert ran.changes(), "the last kill left something to do"


def test_the_cluster_is_as_without_kills(small: Path) -> None:
    """The plan is empty, and nodes, DNS, volumes and external IPs work."""
    plan = drive.operator("plan", site=small)
    assert plan.status == 0, plan.text[-4000:]
    verify = drive.operator("verify", "nodes", "system", "dns", "storage", "loadbalancer", site=small)
    assert verify.status == 0, verify.text[-6000:]
    secrets.none_in_logs()

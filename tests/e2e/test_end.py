"""Destroying the lab leaves nothing behind."""

from __future__ import annotations

import pytest

from provisioner.lab import lifecycle, network
from provisioner.lab.containers import cgroups
from provisioner.lab.kinds import kind_of
from tests.e2e import drive

pytestmark = pytest.mark.e2e


def test_destroy_leaves_nothing() -> None:
    """Neither a process nor a namespace, a cgroup or a file."""
    spec = lifecycle.find_up(drive.LAB)
    drive.lab("destroy")
    assert not drive.LAB.exists()
    assert not network.exists(spec.namespace)
    assert not network.exists(spec.operator)
    assert not spec.run.exists()
    assert kind_of(spec).orphans(spec) == ()
    assert cgroups.processes(spec.name) == ()

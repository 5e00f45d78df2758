"""Destroying the lab leaves nothing behind."""

from __future__ import annotations

import pytest

from provisioner.lab import lifecycle, network, qemu
from tests.e2e import drive

pytestmark = pytest.mark.e2e


def test_destroy_leaves_nothing() -> None:
    """Neither a process nor a namespace nor a file."""
    spec = lifecycle.find_up(drive.LAB)
    drive.lab("destroy")
    assert not drive.LAB.exists()
    assert not network.exists(spec.namespace)
    assert not network.exists(spec.operator)
    assert not spec.run.exists()
    assert qemu.orphans(spec) == ()

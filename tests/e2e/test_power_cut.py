"""All machines lose power at once while a pod writes, and the cluster comes back by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from provisioner.lab import lifecycle
from provisioner.site import load_site
from tests.drills import test_storage as storage
from tests.e2e import drive
from tests.e2e.node_state import done

pytestmark = pytest.mark.e2e


@pytest.fixture
def folder() -> Iterator[str]:
    """Return the directory of a pod that writes to a volume."""
    with storage.writing() as path:
        yield path


def test_the_cluster_comes_back_after_a_power_cut_of_all_machines(folder: str) -> None:
    """What a program was told is on the disk is still there; nothing is left to apply, and every check passes."""
    lab = lifecycle.find_up(drive.LAB)
    printed = storage.acknowledged()
    for vm in lab.vms:
        lifecycle.power_off(lab, vm.name)
    start = time.monotonic()
    for vm in lab.vms:
        lifecycle.start(lab, vm.name, drive.say)
    drive.until("every node to be ready", lambda: drive.operator("status", quiet=True).status == 0)
    drive.say(f"every node is ready {time.monotonic() - start:.0f} s after the power came back")
    drive.until("the writer to continue", lambda: storage.written(folder)[-1] > printed[-1] + 3)
    assert set(printed) <= set(storage.written(folder))
    site = load_site(drive.SITE)
    checks = ("nodes", "system", "dns") if not site.metallb.enabled else ()
    done("verify", *checks)
    plan = done("plan")
    assert plan.changes() == []

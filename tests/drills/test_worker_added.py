"""A worker that joins later gets its DaemonSet pod, and MetalLB's speaker. It stays, so this is the last drill.

Two cores that emulate four machines do not keep up: there, hold it on a lab that was made with `--workers 1`.
"""

from __future__ import annotations

import pytest

from provisioner.lab import lifecycle
from tests.e2e import drive

pytestmark = pytest.mark.drill


def test_a_worker_that_is_added_gets_what_every_node_has() -> None:
    """A blank machine more, `apply` as before: nothing is changed on the hosts that were there but their peers."""
    workers = lifecycle.find_up(drive.LAB).workers + 1
    up = drive.lab("up", "--workers", str(workers))
    assert up.status == 0, up.text[-4000:]
    ran = drive.operator("apply", "-y")
    assert ran.status == 0, ran.text[-4000:]
    everyone = ["master", *(f"worker{number}" for number in range(1, workers + 1))]
    assert drive.nodes_of("metallb-system", "component=speaker") == everyone
    verified = drive.operator("verify", "nodes", "daemonset", "loadbalancer")
    assert verified.status == 0, verified.text[-4000:]
    assert drive.nodes_of("course", "app.kubernetes.io/name=ds-pods") == everyone
    plan = drive.operator("plan")
    assert plan.status == 0, plan.text[-4000:]

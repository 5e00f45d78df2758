"""A worker that joins later gets its DaemonSet pods and MetalLB's speaker. It stays, so this is the last drill.

Two cores cannot emulate four machines fast enough; there, run it on a lab created with `--workers 1`.
"""

from __future__ import annotations

import pytest

from provisioner.lab import lifecycle
from tests.e2e import drive

pytestmark = pytest.mark.drill


def test_an_added_worker_gets_its_pods() -> None:
    """After `lab up` with one more worker, `apply` joins it; all checks pass and the plan is empty."""
    workers = lifecycle.find_up(drive.LAB).workers + 1
    up = drive.lab("up", "--workers", str(workers))
    assert up.status == 0, up.text[-4000:]
    ran = drive.operator("apply", "-y")
    assert ran.status == 0, ran.text[-4000:]
    nodes = ["master", *(f"worker{number}" for number in range(1, workers + 1))]
    assert drive.nodes_of("metallb-system", "component=speaker") == nodes
    verified = drive.operator("verify", "nodes", "daemonset", "loadbalancer")
    assert verified.status == 0, verified.text[-4000:]
    assert drive.nodes_of("course", "app.kubernetes.io/name=ds-pods") == nodes
    plan = drive.operator("plan")
    assert plan.status == 0, plan.text[-4000:]

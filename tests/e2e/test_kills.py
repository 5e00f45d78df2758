"""The same road with a kill at every crossing; at its end the lab goes and leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e import drive, secrets

pytestmark = pytest.mark.e2e


def changing(step: str, words: str = "") -> Any:
    """Return a test of an event: does this step make a change whose sentence starts with `words`?"""
    return lambda event: (
        event["kind"] == "change" and event.get("step") == step and str(event.get("text")).startswith(words)
    )


@pytest.fixture(scope="module")
def small() -> Path:
    """Give the lab's site with no more than what the kills are about: the story had the rest, in minutes."""
    tables = {
        "workloads": 'enabled = ["loadbalancer", "daemonset", "shared-volume"]',
        "metrics": "enabled = false",
        "ingress": "enabled = false",
    }
    return drive.other_site("small", tables=tables)


def test_killed_at_every_crossing(small: Path) -> None:
    """From a snapshot: SIGKILL during init, a join, NFS and MetalLB; the next apply goes on each time."""
    assert drive.lab("restore", "prepared").status == 0
    init = changing("control-plane", "kubeadm init")
    drive.killed_during(init, lambda: _runs("master", "kubeadm"), "kubeadm init", site=small)
    # The machine itself may die as well: the init that was left behind ends half-way.
    assert drive.ssh("master", "pkill -9 -x kubeadm").status == 0
    join = changing("join", "kubeadm join")
    begun = drive.killed_during(join, lambda: _runs("worker1", "kubeadm"), "a join", site=small)
    assert any(text.startswith("clean up a kubeadm init") for text in begun), begun
    # Nobody looks at argument lists more closely than while a token is in use.
    secrets.none_in_arguments("worker1")
    assert drive.ssh("worker1", "pkill -9 -x kubeadm || true").status == 0
    # The file is written and the kernel has not been told.
    drive.killed_during(changing("nfs", "export "), lambda: True, "the NFS step", site=small)
    drive.killed_during(changing("metallb"), lambda: True, "the MetalLB step", site=small)
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


def test_destroy_leaves_nothing() -> None:
    """No process, no namespace, no file."""
    drive.lab("destroy")
    assert not drive.LAB.exists()
    assert "provlab" not in Path("/run/netns").iterdir().__repr__()


def _runs(host: str, process: str) -> bool:
    return drive.ssh(host, f"pgrep -x {process} >/dev/null").status == 0

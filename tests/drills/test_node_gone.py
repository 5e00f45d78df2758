"""A worker's machine is gone for good, then returns; its pods need a second worker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from provisioner.lab import lifecycle
from tests.e2e import drive
from tests.e2e.node_state import CLUSTER_STATE, RUNTIME_STATE, done, live

pytestmark = pytest.mark.drill


def without(worker: str) -> Path:
    """Return the lab's site without a worker."""
    table = re.search(rf'\[\[hosts\]\]\nname = "{worker}"\n.*?\n(?=\n*\[)', drive.SITE.read_text(), re.DOTALL)
    assert table is not None
    return drive.other_site("without", (table[0], ""))


def test_the_node_of_a_machine_that_is_gone_is_removed_and_reset_when_it_returns() -> None:
    """--gone is refused while its kubelet reports; when the machine returns, it registers again until it is reset."""
    lab = lifecycle.find_up(drive.LAB)
    worker = lab.vms[-1].name
    rest = without(worker)
    refused = drive.operator("node", "remove", worker, "--gone", "-y")
    assert refused.status == 1
    assert "its machine is not gone" in refused.text
    assert live(worker)

    lifecycle.power_off(lab, worker)
    status = "get nodes --no-headers " + worker
    drive.until("the node to be NotReady", lambda: drive.kubectl(status).split()[1].startswith("NotReady"))
    done("node", "remove", worker, "--gone", "-y")
    assert live(worker) == {}
    done("apply", "-y", at=rest)  # waits for the pods that ran on it
    assert drive.operator("plan", site=rest).status == 0
    done("verify", "nodes", "system", "loadbalancer", at=rest)

    lifecycle.start(lab, worker, drive.say)
    drive.until("its kubelet to register it", lambda: live(worker) != {})
    done("reset", "--limit", worker, "-y")
    assert live(worker) == {}
    assert drive.ssh(worker, CLUSTER_STATE).text.strip() == ""
    assert drive.ssh(worker, RUNTIME_STATE).text.strip() == "active"
    done("apply", "-y")
    assert live(worker)["cordoned"] == "false"
    assert drive.operator("plan").status == 0
    # Nothing moves pods back to a node that has joined, and `verify` wants them on both.
    drive.kubectl("-n course delete pods -l app.kubernetes.io/name=shared-volume")

"""A worker's machine is off for good, and comes back all the same; it needs a second worker for its pods."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from provisioner.lab import lifecycle
from tests.drills.test_node import KEPT, LEFT, done, live
from tests.e2e import drive

pytestmark = pytest.mark.drill


def without(worker: str) -> Path:
    """Return the lab's site as its owner leaves it when a machine has gone."""
    table = re.search(rf'\[\[hosts\]\]\nname = "{worker}"\n.*?\n(?=\n*\[)', drive.SITE.read_text(), re.DOTALL)
    assert table is not None
    return drive.other_site("without", (table[0], ""))


def test_a_machine_that_is_gone_is_taken_out_and_one_that_came_back_can_be() -> None:
    """Refused while it reports; then nobody logs in to it. Back again it is a node, until it is reset."""
    lab = lifecycle.find_up(drive.LAB)
    worker = lab.vms[-1].name
    rest = without(worker)
    refused = drive.operator("node", "remove", worker, "--gone", "-y")
    assert refused.status == 1
    assert "its machine is not gone" in refused.text
    assert live(worker)

    lifecycle.power_off(lab, worker)
    silent = "get nodes --no-headers " + worker
    drive.until("the node to be given up", lambda: drive.kubectl(silent).split()[1].startswith("NotReady"))
    done("node", "remove", worker, "--gone", "-y")
    assert live(worker) == {}
    done("apply", "-y", at=rest)  # waits for the pods that were on it
    assert drive.operator("plan", site=rest).status == 0
    done("verify", "nodes", "system", "loadbalancer", at=rest)

    lifecycle.start(lab, worker, drive.say)
    drive.until("its kubelet to register it", lambda: live(worker) != {})
    done("reset", "--limit", worker, "-y")
    assert live(worker) == {}
    assert drive.ssh(worker, LEFT).text.strip() == ""
    assert drive.ssh(worker, KEPT).text.strip() == "active"
    done("apply", "-y")
    assert live(worker)["cordoned"] == "false"
    assert drive.operator("plan").status == 0

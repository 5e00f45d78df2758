"""A node is drained, rebuilt in spite of a kill, removed and joined again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provisioner.lab import lifecycle
from tests.e2e import drive
from tests.e2e.node_state import CLUSTER_STATE, RUNTIME_STATE, done, live

pytestmark = pytest.mark.drill


@pytest.fixture
def worker() -> str:
    """Return the last worker of the lab."""
    return f"worker{lifecycle.find_up(drive.LAB).workers}"


@pytest.fixture
def site() -> Path:
    """Return the lab's site with the DaemonSet, which a small lab does not have."""
    text = drive.SITE.read_text()
    if "[workloads]\nenabled" not in text:
        return drive.SITE
    old = next(line for line in text[text.index("[workloads]") :].splitlines() if line.startswith("enabled"))
    return drive.other_site("daemonset", (old, old.replace("[", '["daemonset", ')))


def movable_pods(node: str) -> list[str]:
    """Return the pods on a node that a drain has to evict."""
    items = json.loads(drive.kubectl(f"get pods -A -o json --field-selector spec.nodeName={node}"))["items"]
    kinds = {
        item["metadata"]["name"]: [owner["kind"] for owner in item["metadata"].get("ownerReferences", ())]
        for item in items
    }
    return [name for name, owners in kinds.items() if "DaemonSet" not in owners and "Node" not in owners]


def test_a_node_is_drained_and_uncordoned(worker: str) -> None:
    """The command proves that the external IPs are still announced."""
    ran = done("node", "drain", worker, "-y")
    assert movable_pods(worker) == []
    assert live(worker)["cordoned"] == "true"
    assert "announcements" in ran.text
    again = done("node", "drain", worker, "-y")
    assert again.changes() == []
    done("node", "uncordon", worker, "-y")
    assert live(worker)["cordoned"] == "false"


def test_a_killed_rebuild_continues(worker: str) -> None:
    """Killed during `kubeadm reset`, it continues when run again; the node is a new one, and the plan is empty."""
    before = live(worker)
    command = ("node", "rebuild", worker, "-y")
    resetting = "pgrep -f '[k]ubeadm reset'"
    drive.killed_during(
        drive.changing("leave"), lambda: drive.ssh(worker, resetting).status == 0, "kubeadm reset", command=command
    )
    done(*command)
    after = live(worker)
    assert after["uid"] != before["uid"]
    assert after["cordoned"] == "false"
    plan = drive.operator("plan")
    assert plan.status == 0, plan.text[-4000:]
    done("verify", "nodes", "system", "loadbalancer")


def test_a_removed_node_keeps_nothing_of_the_cluster_and_joins_again(worker: str, site: Path) -> None:
    """Its packages stay; when it joins again, it gets its DaemonSet pods."""
    done("apply", "-y", "--only", "workloads", at=site)
    done("node", "remove", worker, "-y", at=site)
    assert live(worker) == {}
    assert drive.ssh(worker, CLUSTER_STATE).text.strip() == ""
    assert drive.ssh(worker, RUNTIME_STATE).text.strip() == "active"
    done("apply", "-y", at=site)
    assert live(worker)["cordoned"] == "false"
    assert worker in drive.nodes_of("course", "app.kubernetes.io/name=ds-pods")
    assert worker in drive.nodes_of("metallb-system", "component=speaker")
    done("verify", "nodes", "system", "daemonset", "loadbalancer", at=site)

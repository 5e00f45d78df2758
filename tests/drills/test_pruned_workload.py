"""A workload that was removed from hosts.toml is removed from the cluster, and nothing else."""

from __future__ import annotations

import json

import pytest

from provisioner.site.model import Workloads
from tests.e2e import drive

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(
        drive.SITE.exists() and "[workloads]" in drive.SITE.read_text(),
        reason="a small lab rolls out no configmap workload: make lab",
    ),
]
KINDS = "deployments,statefulsets,daemonsets,services,configmaps,persistentvolumeclaims,ingresses,hpa"
GONE = {"Deployment cm-pods", "ConfigMap cm-pods"}


def live() -> dict[str, str]:
    """Return the UID of each object in the course namespace; a recreated one has another."""
    items = json.loads(drive.kubectl(f"-n course get {KINDS} -o json"))["items"]
    return {f"{item['kind']} {item['metadata']['name']}": item["metadata"]["uid"] for item in items}


def test_a_removed_workload_is_pruned_and_nothing_else() -> None:
    """The other objects stay the same; the plan is empty afterwards."""
    before = live()
    kept = json.dumps([name for name in Workloads().enabled if name != "configmap"])
    site = drive.other_site("pruned", tables={"workloads": f"enabled = {kept}"})
    ran = drive.operator("apply", "-y", "--only", "workloads", site=site)
    assert ran.status == 0, ran.text[-4000:]
    drive.until("the configmap workload to be deleted", lambda: not GONE & live().keys(), 120)
    assert live() == {name: uid for name, uid in before.items() if name not in GONE}
    plan = drive.operator("plan", site=site)
    assert plan.status == 0, plan.text[-4000:]


def test_the_workload_returns_with_the_old_hosts_toml() -> None:
    """The lab is then as before."""
    ran = drive.operator("apply", "-y", "--only", "workloads")
    assert ran.status == 0, ran.text[-4000:]
    assert live().keys() >= GONE

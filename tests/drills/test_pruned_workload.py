"""A workload that hosts.toml names no more goes, and only it."""

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


def living() -> dict[str, str]:
    """Return the course's objects with the UID of each: one that was made anew has another."""
    items = json.loads(drive.kubectl(f"-n course get {KINDS} -o json"))["items"]
    return {f"{item['kind']} {item['metadata']['name']}": item["metadata"]["uid"] for item in items}


def test_a_workload_that_is_taken_out_is_removed_and_only_it() -> None:
    """The others are the same objects as before; the plan afterwards is empty."""
    before = living()
    kept = json.dumps([name for name in Workloads().enabled if name != "configmap"])
    site = drive.other_site("pruned", tables={"workloads": f"enabled = {kept}"})
    ran = drive.operator("apply", "-y", "--only", "workloads", site=site)
    assert ran.status == 0, ran.text[-4000:]
    drive.until("the ConfigMap's workload to be gone", lambda: not GONE & living().keys(), 120)
    assert living() == {name: uid for name, uid in before.items() if name not in GONE}
    plan = drive.operator("plan", site=site)
    assert plan.status == 0, plan.text[-4000:]


def test_it_comes_back_with_the_hosts_toml_of_before() -> None:
    """So that the lab is as it was."""
    ran = drive.operator("apply", "-y", "--only", "workloads")
    assert ran.status == 0, ran.text[-4000:]
    assert living().keys() >= GONE

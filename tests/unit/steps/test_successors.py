"""What is waited for after pods had to move, and what is only reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.kube import Object
from provisioner.steps.successors import STEP, on_its_way
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node
from tests.unit.steps.doubles import fleet_for, site_at

NODES = {"worker1": node("worker1")}


def web(ready: int = 0, replicas: int = 1) -> Object:
    return {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": "web", "namespace": "course", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}},
        "status": {
            "observedGeneration": 1,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": ready,
        },
    }


def pod(on: str = "worker1", *, ready: bool = False, app: str = "web", **status: Any) -> Object:
    conditions = [{"type": "Ready", "status": str(ready)}, *status.pop("conditions", ())]
    return {
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "course", "labels": {"app": app}},
        "spec": {"nodeName": on} if on else {},
        "status": {"conditions": conditions, **status},
    }


def waiting(reason: str) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "web", "state": {"waiting": {"reason": reason}}}]}


UNSCHEDULABLE: dict[str, Any] = {
    "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]
}
TERMINATING = {**pod(), "metadata": {**pod()["metadata"], "deletionTimestamp": "2026-11-25T00:00:00Z"}}


@pytest.mark.parametrize(
    ("workload", "pods", "expected"),
    [
        pytest.param(web(ready=1), [pod(ready=True)], False, id="runs"),
        pytest.param(web(ready=1), [pod("worker2", ready=True)], True, id="counts as ready on a node that is gone"),
        pytest.param(web(), [pod("worker2")], True, id="on a node that is gone"),
        pytest.param(web(), [], True, id="not created yet"),
        pytest.param(web(), [TERMINATING], True, id="the old one terminates"),
        pytest.param(web(), [pod("")], True, id="not scheduled yet"),
        pytest.param(web(), [pod(**waiting("ContainerCreating"))], True, id="starts"),
        pytest.param(web(), [pod("", **UNSCHEDULABLE)], False, id="unschedulable"),
        pytest.param(web(), [pod(**waiting("CrashLoopBackOff"))], False, id="crashes"),
        pytest.param(web(), [pod(**waiting("ImagePullBackOff"))], False, id="has no image"),
        pytest.param(web(ready=1, replicas=2), [pod(ready=True)], True, id="the second not created yet"),
        pytest.param(web(), [pod(ready=True, app="other")], True, id="the pod of another workload"),
    ],
)
def test_what_is_on_its_way(workload: Object, pods: list[Object], expected: bool) -> None:
    assert on_its_way(workload, pods, NODES) is expected


def proven(tmp_path: Path, cluster: FakeCluster) -> list[str]:
    host = fleet_for(STEP, site_at(tmp_path))["master"]
    return list(STEP.proof(host, cluster, host.site))  # type: ignore[arg-type]


def test_nothing_is_said_when_everything_runs(tmp_path: Path) -> None:
    cluster = FakeCluster(node("worker1"), web(ready=1), pod(ready=True))
    assert proven(tmp_path, cluster) == []
    assert cluster.waits == ["the pods to run on other nodes"]


def test_a_workload_without_a_successor_is_reported(tmp_path: Path) -> None:
    cluster = FakeCluster(node("worker1"), web(), pod("", **UNSCHEDULABLE))
    assert proven(tmp_path, cluster) == [
        "Deployment course/web has 0 of 1 pod ready; see: kubectl get pods -A -o wide"
    ]


def test_a_successor_that_does_not_arrive_is_reported(tmp_path: Path) -> None:
    said = proven(tmp_path, FakeCluster(node("worker1"), web(), pod()))
    assert said[0].startswith("waited ")
    assert said[1].startswith("Deployment course/web has 0 of 1 pod ready")

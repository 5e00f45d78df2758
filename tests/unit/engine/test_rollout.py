"""When a rollout is complete, and how one that is not is explained."""

from __future__ import annotations

from typing import cast

import pytest

from provisioner.engine.rollout import complete, explain, wait_for_rollout
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object
from tests.unit.fake_cluster import FakeCluster


def live(kind: str, *, replicas: int | None = None, generation: int = 1, **status: int) -> Object:
    """Return a workload whose controller has observed generation 1."""
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "web", "namespace": "course", "generation": generation},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **({} if replicas is None else {"replicas": replicas})},
        "status": {"observedGeneration": 1, **status},
    }


def with_old_pods(item: Object, replicas: int) -> Object:
    """Return the workload with that many pods in total, old ones included."""
    return {**item, "status": {**item["status"], "replicas": replicas}}


def deployment(updated: int = 1, ready: int = 1, **more: int) -> Object:
    return live("Deployment", updatedReplicas=updated, readyReplicas=ready, **more)


def daemons(wanted: int = 3, updated: int = 3, ready: int = 3, **more: int) -> Object:
    counts = {"desiredNumberScheduled": wanted, "updatedNumberScheduled": updated, "numberReady": ready}
    return live("DaemonSet", **counts, **more)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(None, False, id="missing"),
        pytest.param({**live("Deployment"), "status": {}}, False, id="no status yet"),
        pytest.param(deployment(), True, id="one replica by default"),
        pytest.param(deployment(2, 1, replicas=2), False, id="one of two ready"),
        pytest.param(deployment(1, 2, replicas=2), False, id="one of two updated, an old pod still ready"),
        pytest.param(deployment(2, 2, replicas=2), True, id="both ready"),
        pytest.param(with_old_pods(deployment(2, 2, replicas=2), 3), False, id="an old pod remains"),
        pytest.param(with_old_pods(deployment(2, 2, replicas=2), 2), True, id="no old pod remains"),
        pytest.param(live("Deployment", replicas=0), True, id="zero replicas"),
        pytest.param(deployment(generation=2), False, id="change not observed"),
        pytest.param(live("StatefulSet", updatedReplicas=1, readyReplicas=1), True, id="stateful"),
        pytest.param(live("StatefulSet", updatedReplicas=0, readyReplicas=1), False, id="stateful, old pod"),
        pytest.param(daemons(), True, id="daemons"),
        pytest.param(daemons(ready=2), False, id="daemon not ready"),
        pytest.param(daemons(updated=2), False, id="old daemon"),
        pytest.param(daemons(wanted=0), False, id="daemons not scheduled yet"),
        pytest.param(daemons(generation=2), False, id="daemons, change not observed"),
    ],
)
def test_complete(found: Object | None, expected: bool) -> None:
    assert complete(found) is expected


def pod(name: str, states: list[Object] | None, on: str = "") -> Object:
    spec = {"nodeName": on} if on else {}
    status = {"containerStatuses": states} if states is not None else {}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "course", "labels": {"app": "web"}},
        "spec": spec,
        "status": status,
    }


def test_an_incomplete_rollout_is_explained() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    cluster = FakeCluster(
        pod("web-1", [{"name": "c", "ready": True, "state": {"running": {}}}], "worker1"),
        pod("web-2", [{"name": "c", "ready": False, "restartCount": 3, "state": waiting}], "worker2"),
        pod("web-3", None),
    )
    lines = explain(cast(Cluster, cluster), live("Deployment")).splitlines()
    assert lines == [
        "Warning Something about course/web",
        "pod web-2 on worker2: c waiting (CrashLoopBackOff), 3 restarts",
        "Warning Something about course/web-2",
        "log of course/web-2 c 5 True",
        "pod web-3 (not scheduled): no container has started",
        "Warning Something about course/web-3",
    ]
    assert explain(cast(Cluster, cluster), None) == "it does not exist"


def test_only_workloads_are_waited_for() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "course"}}
    cluster = FakeCluster(live("Deployment"))
    (wait,) = wait_for_rollout(cast(Cluster, cluster), [service, live("Deployment")])
    assert wait.summary == "wait for Deployment course/web"
    with pytest.raises(ClusterError) as raised:
        wait.do()
    assert "Something about course/web" in raised.value.tail
    cluster.hold(deployment())
    assert [*wait_for_rollout(cast(Cluster, cluster), [service, live("Deployment")])] == []
    wait.do()

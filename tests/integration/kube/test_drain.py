"""Drain a node through a real API server that enforces disruption budgets.

No kubelet runs here: the test removes terminating pods as a kubelet would.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from provisioner.kube import Cluster, Object
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps import delete_node, drain, uncordon

pytestmark = pytest.mark.integration
READY = [{"type": "Ready", "status": "True"}]


@contextmanager
def kubelet(cluster: Cluster, node: str) -> Iterator[None]:
    """Remove a node's terminating pods, as its kubelet would."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.2):
            for pod in cluster.list("Pod", fields=f"spec.nodeName={node}"):
                meta = pod["metadata"]
                if meta.get("deletionTimestamp"):
                    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}?gracePeriodSeconds=0"
                    cluster._api.request("DELETE", path)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def apply_step(step: Any, cluster: Cluster, site: Site) -> list[str]:
    """Do each change as it is yielded; return the summaries."""
    done = []
    for change in step.changes(cast(Host, SimpleNamespace(fleet={})), cluster, site):
        change.do()
        done.append(change.summary)
    return done


def pod(name: str, namespace: str, node: str, owner: Object, kind: str = "ConfigMap") -> Object:
    """Return a pod on the node; its controller can be any object that exists."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": node}, "ownerReferences": [reference]},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "registry.k8s.io/pause:3.2"}]},
    }


def test_a_drain_waits_for_disruption_budgets(cluster: Cluster, site: Site, course: str, name: str) -> None:
    node = f"node-of-{name}"
    cluster.wait("the namespace's service account", lambda: cluster.get("ServiceAccount", "default", course), 30)
    cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    cluster.merge("Node", node, {"status": {"conditions": READY}}, subresource="status")
    owner = cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": course}})
    pods = [f"{name}-a", f"{name}-b"]
    for one in pods:
        cluster.apply(pod(one, course, node, owner))
        status = {"phase": "Running", "conditions": READY}
        cluster.merge("Pod", one, {"status": status}, namespace=course, subresource="status")
    version = "policy/v1" if site.version.at_least(1, 22) else "policy/v1beta1"
    budget = {
        "apiVersion": version,
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": course},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": node}}},
    }
    cluster.apply(budget)

    def counted() -> bool:
        live = cluster.get("PodDisruptionBudget", name, course, version) or {}
        return bool(live.get("status", {}).get("currentHealthy") == 2)

    cluster.wait("the budget to count its pods", counted, 60)
    assert "disruption budget" in cluster.evict(course, pods[0])
    assert cluster.get("Pod", pods[0], course) is not None
    cluster.delete("PodDisruptionBudget", name, course, version)
    step = drain.step(node)
    planned = [change.summary for change in step.changes(cast(Host, SimpleNamespace(fleet={})), cluster, site)]
    with kubelet(cluster, node):
        done = apply_step(step, cluster, site)
    assert done == planned == [f"cordon {node}", f"evict from {node}: {course}/{pods[0]}, {course}/{pods[1]}"]
    assert apply_step(step, cluster, site) == [], "a second one has nothing to do"
    assert cluster.evict(course, pods[0]) == "", "evicting a deleted pod succeeds"
    assert apply_step(uncordon.step(node), cluster, site) == [f"uncordon {node}"]
    assert apply_step(uncordon.step(node), cluster, site) == []
    assert apply_step(delete_node.step((node,)), cluster, site) == [f"delete node {node} from the API"]
    assert cluster.get("Node", node) is None

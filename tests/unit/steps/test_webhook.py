"""What keeps the API server from reaching MetalLB's webhook is named."""

from __future__ import annotations

from typing import cast

import pytest

from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object
from provisioner.steps.webhook import why_unready
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node

NAMESPACE = "metallb-system"
HOOK: Object = {
    "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": "metallb"},
    "webhooks": [
        {"clientConfig": {"service": {"name": "webhook", "namespace": NAMESPACE}}},
        {"clientConfig": {"service": {"name": "other", "namespace": "elsewhere"}}},
        {"clientConfig": {"url": "https://example.com"}},
    ],
}


def endpoints(ready: bool) -> Object:
    labels = {"kubernetes.io/service-name": "webhook"}
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": "webhook-x", "namespace": NAMESPACE, "labels": labels},
        "endpoints": [{"conditions": {"ready": ready}}],
    }


def proxy(on: str, *, ready: bool = True, reason: str = "") -> Object:
    state = {"waiting": {"reason": reason}} if reason else {}
    return {
        "kind": "Pod",
        "metadata": {"name": f"kube-proxy-{on}", "namespace": "kube-system", "labels": {"k8s-app": "kube-proxy"}},
        "spec": {"nodeName": on},
        "status": {"phase": "Pending", "containerStatuses": [{"ready": ready, "state": state}]},
    }


def master() -> Object:
    found = node("master")
    found["metadata"]["labels"] = {"node-role.kubernetes.io/control-plane": ""}
    return found


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ([endpoints(True), proxy("master")], ""),
        ([endpoints(False), proxy("master")], "no pod of Service metallb-system/webhook is ready"),
        ([endpoints(True)], "there is no kube-proxy on master"),
        (
            [endpoints(True), proxy("master", ready=False, reason="ImagePullBackOff"), proxy("worker1")],
            "kube-proxy on master is not ready (ImagePullBackOff)",
        ),
        ([endpoints(True), proxy("master"), proxy("worker1", ready=False)], ""),
    ],
    ids=["all there", "no pod", "no kube-proxy", "kube-proxy down", "kube-proxy of a worker"],
)
def test_what_is_missing(objects: list[Object], said: str) -> None:
    cluster = FakeCluster(master(), node("worker1"), HOOK, *objects)
    assert why_unready(cast(Cluster, cluster), NAMESPACE) == said


def test_an_api_that_does_not_say() -> None:
    cluster = FakeCluster(master())
    cluster.errors["Pod"] = ClusterError("the API is busy")
    assert why_unready(cast(Cluster, cluster), NAMESPACE) == "nothing more is known, since the API is busy"

"""Pod metrics: of every ready pod, and what explains missing ones."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provisioner.checks import hpa, metrics
from provisioner.kube import Object
from tests.unit.checks.contexts import context, findings
from tests.unit.checks.test_hpa import pod_metrics, scaler
from tests.unit.checks.test_http import on_loopback
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import pod


class Scraped(FakeCluster):
    """A metrics-server that reports one more pod, in the order of `names`, at each request."""

    def __init__(self, *objects: Object, names: list[str]) -> None:
        super().__init__(*objects)
        self.scraped = names
        self.requests = 0
        self.on_request: Callable[[], None] = lambda: None

    def raw(self, path: str, retry_for: float = 30) -> Any:
        assert path == metrics.PATH
        self.requests += 1
        self.on_request()
        return pod_metrics(*self.scraped[: self.requests])


PODS = [pod("np-a", "w1"), pod("np-b", "w2"), pod("starting", "w2", ready=False), pod("gone", "w1")]


def test_metrics_of_every_ready_pod_are_waited_for(tmp_path: Path) -> None:
    cluster = Scraped(*PODS, pod("elsewhere", "w1", namespace="other"), names=["np-a", "gone", "np-b"])
    found = findings(hpa.CHECK, on_loopback(tmp_path, cluster))
    assert cluster.requests == 3, "two pods are not enough, and one that is not ready needs none"
    assert found["METRICS_PODS"][0].detail.startswith("has metrics for 3 pods of course (gone 2m 5Mi, ")


def test_pods_without_metrics_are_named_with_their_nodes(tmp_path: Path) -> None:
    server = pod("metrics-server-1", "w1", namespace="kube-system")
    server["metadata"]["labels"] = {"k8s-app": "metrics-server"}
    cluster = Scraped(*PODS, server, scaler(0), names=["np-a"])
    found = findings(hpa.CHECK, context(tmp_path, cluster))
    (one,) = found["METRICS_PODS_MISSING"]
    assert not one.ok
    assert one.detail == "has metrics for 1 pod of course and none for gone on w1, np-b on w2"
    assert one.evidence[-1] == "log of kube-system/metrics-server-1  8 False"
    assert "METRICS_PODS" not in found
    assert found["HPA_METRIC"][0].ok, "the autoscaler is checked all the same"


def test_pods_that_come_or_go_meanwhile_do_not_count(tmp_path: Path) -> None:
    """A StatefulSet's pod returns under its name with another uid."""
    again = pod("np-b", "w2", metadata={"uid": "another"})
    cluster = Scraped(*PODS, names=["np-a"])

    def change() -> None:
        if cluster.requests == 2:
            cluster.objects = [PODS[0], again, pod("late", "w1")]

    cluster.on_request = change
    found = findings(hpa.CHECK, on_loopback(tmp_path, cluster))
    assert found["METRICS_PODS"][0].ok
    assert cluster.requests == 2


def test_missing_metrics_are_explained_by_metrics_server(tmp_path: Path) -> None:
    api = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "status": {"conditions": [{"type": "Available", "status": "False", "message": "no endpoints"}]},
    }
    server = pod("metrics-server-1", "w1", namespace="kube-system", ready=False)
    server["metadata"]["labels"] = {"k8s-app": "metrics-server"}
    found = findings(hpa.CHECK, context(tmp_path, FakeCluster(api, server, scaler(None))))
    assert found["METRICS_MISSING"][0].evidence == (
        "APIService v1beta1.metrics.k8s.io: Available False: no endpoints",
        "metrics-server-1: running but not ready",
        "log of kube-system/metrics-server-1  8 False",
    )


def test_usage_is_formatted_as_kubectl_top_does() -> None:
    containers: list[Any] = [{"usage": {"cpu": "1234567n", "memory": "5000Ki"}}, {"usage": {"cpu": "12m"}}, {}]
    assert metrics.total(containers) == "14m 4Mi"
    assert metrics.total([{"usage": {"cpu": "0", "memory": "1Gi"}}]) == "0m 1024Mi"
    assert doctest.testmod(metrics).failed == 0

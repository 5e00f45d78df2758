"""Shared by the tests of collecting: clusters with some objects, a metrics client, and MetalLB's pods."""

from __future__ import annotations

from typing import Any, cast

from provisioner.errors import ProvisionerError, Unreachable
from provisioner.kube import Cluster, Object
from provisioner.l2.collect.api_reader import ApiReader
from provisioner.l2.collect.metrics_token import MetricsClient
from tests.unit.fake_cluster import FakeCluster

SPEAKER = {"app": "metallb", "component": "speaker"}
HELM = {"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": "speaker"}
API = "metallb.io/v1beta1"


def cluster_with(answers: dict[str, Any] | None = None, /, **kinds: list[Object]) -> FakeCluster:
    """Return a cluster with these objects by kind; answers: what a GET returns, by path."""
    cluster = FakeCluster(*({"kind": kind, **item} for kind, items in kinds.items() for item in items))
    cluster.answers = answers or {}
    return cluster


class FakeMetricsClient(MetricsClient):
    """A MetricsClient without SSH. shown: metrics by port; error: raised when a token is requested."""

    def __init__(self, shown: dict[int, str] | None = None, error: ProvisionerError | None = None) -> None:
        self.shown = shown or {}
        self.error = error

    def token(self) -> str:
        if self.error is not None:
            raise self.error
        return "token"

    def metrics(self, pod: Object, port: int) -> str:
        if port not in self.shown:
            raise Unreachable(pod["spec"]["nodeName"], "no route to host")
        return self.shown[port]


def api_reader(cluster: FakeCluster | None = None) -> tuple[ApiReader, list[str]]:
    notes: list[str] = []
    return ApiReader(cast(Cluster, cluster or FakeCluster()), notes.append), notes


def pod(name: str = "speaker-1", *, on: str = "w1", ready: bool = True, **known: Any) -> Object:
    container = {
        "name": "speaker",
        "image": known.get("image", "quay.io/metallb/speaker:v0.13.12"),
        "args": known.get("args", []),
        "env": known.get("env", []),
        "ports": known.get("ports", []),
    }
    metadata = {
        "name": name,
        "namespace": known.get("namespace", "metallb-system"),
        "labels": known.get("labels", SPEAKER),
    }
    if known.get("terminating"):
        metadata["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    return {
        "metadata": metadata,
        "spec": {"nodeName": on, "containers": known.get("containers", [container])},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


ML = [
    {"name": "METALLB_ML_BIND_ADDR", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    {"name": "METALLB_ML_LABELS", "value": "app=metallb,component=speaker"},
]

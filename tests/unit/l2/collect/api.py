"""What the tests of collecting share: an API that holds what it is given, and MetalLB's pods."""

from __future__ import annotations

from typing import Any, cast

from provisioner.errors import ClusterError, ProvisionerError, Unreachable
from provisioner.kube import Cluster, Object
from provisioner.l2.collect.api_reader import ApiReader
from provisioner.l2.collect.metrics_token import MetricsClient

SPEAKER = {"app": "metallb", "component": "speaker"}
HELM = {"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": "speaker"}
API = "metallb.io/v1beta1"


class Api:
    """A Cluster that holds these objects by (kind, apiVersion); an exception in their place is raised."""

    def __init__(self, objects: dict[str, Any] | None = None, raw: dict[str, Any] | None = None) -> None:
        self.objects = objects or {}
        self.answers = raw or {}
        self.there = True
        self.asked: list[str] = []

    def list(self, kind: str, namespace: str | None = None, api_version: str = "v1", **_: str) -> list[Object]:
        self.asked.append(kind)
        found = self.objects.get(kind, [])
        if isinstance(found, Exception):
            raise found
        return [item for item in found if item.get("apiVersion", api_version) == api_version]

    def get(self, kind: str, name: str, namespace: str | None = None, api_version: str = "v1") -> Object | None:
        self.asked.append(f"{kind} {name}")
        found = self.objects.get(f"{kind} {name}")
        if isinstance(found, Exception):
            raise found
        return cast("Object | None", found)

    def raw(self, path: str, patience: float = 30) -> Any:
        self.asked.append(path)
        found = self.answers.get(path, ClusterError(f"the API refused to GET {path}: not found (404)"))
        if isinstance(found, Exception):
            raise found
        return found

    def nodes(self) -> dict[str, Object]:
        return {node["metadata"]["name"]: node for node in self.list("Node")}

    def reachable(self) -> bool:
        return self.there


class Token(MetricsClient):
    """Stands in for a Bearer, which asks over SSH. shown: texts by port; error: raised when asked for a token."""

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


def asker(api: Api | None = None) -> tuple[ApiReader, list[str]]:
    notes: list[str] = []
    return ApiReader(cast(Cluster, api or Api()), notes.append), notes


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
    if known.get("going"):
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

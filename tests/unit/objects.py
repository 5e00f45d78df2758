"""Kubernetes objects as the API shows them, for unit tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provisioner.kube import Object


def storage_class(name: str = "nfs") -> Object:
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}


def event(uid: str, message: str = "no volume is large enough") -> Object:
    """Return an event about the object with that uid."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"event of {uid}", "namespace": "course"},
        "involvedObject": {"uid": uid},
        "type": "Normal",
        "reason": "FailedBinding",
        "message": message,
    }


def node(
    name: str,
    address: str = "192.0.2.99",
    *,
    version: str = "v1.20.2",
    ready: str = "True",
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> Object:
    """Return a node as its kubelet registers it; `spec` are fields of its spec."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "message": "what the kubelet says"}],
            "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}],
            "nodeInfo": {"kubeletVersion": version},
        },
    }


def pod(name: str, where: str, *, namespace: str = "course", app: str = "", ready: bool = True, **more: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid of {name}",
            "labels": {"app.kubernetes.io/name": app},
            **more.pop("metadata", {}),
        },
        "spec": {"nodeName": where, **more.pop("spec", {})},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"name": "agnhost", "ready": ready, "restartCount": 0, "state": {"running": {}}}],
            **more,
        },
    }


def service(name: str, *, namespace: str = "course", kind: str = "ClusterIP", **more: Any) -> Object:
    given = [{"ip": ip} for ip in more.pop("given", [])]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "type": kind,
            "clusterIP": "10.96.1.1",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            "selector": {"app.kubernetes.io/name": name},
            **more,
        },
        "status": {"loadBalancer": {"ingress": given} if given else {}},
    }


def workload(kind: str, name: str, namespace: str, wanted: int = 1, ready: int | None = None) -> Object:
    ready = wanted if ready is None else ready
    status: dict[str, Any] = {"observedGeneration": 1, "readyReplicas": ready, "updatedReplicas": wanted}
    if kind == "DaemonSet":
        status |= {
            "desiredNumberScheduled": wanted,
            "updatedNumberScheduled": wanted,
            "numberReady": ready,
        }
    labels = {"app.kubernetes.io/name": name}
    template = {"metadata": {"labels": labels}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "generation": 1},
        "spec": {"replicas": wanted, "selector": {"matchLabels": labels}, "template": template},
        "status": status,
    }


def load_balancer(name: str, *ips: str, **annotations: str) -> Object:
    """Return a Service of type LoadBalancer with these external IPs and MetalLB's annotations, "-" written "_"."""
    return {
        "kind": "Service",
        "metadata": {
            "namespace": "course",
            "name": name,
            "annotations": {
                f"metallb.universe.tf/{key.replace('_', '-')}": value for key, value in annotations.items()
            },
        },
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}},
    }

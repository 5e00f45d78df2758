"""A cluster with MetalLB, as objects in the API: nodes, speakers, pools, Services and events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from provisioner.kube import Cluster, Object
from provisioner.kube.manifests import load
from provisioner.lab.mirror import manifests

MASTER, WORKER = "192.0.2.10", "192.0.2.11"
SECRET = "swordfish-and-nobody-else"


def node(cluster: Cluster, name: str, ip: str, **labels: str) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
    conditions = [
        {"type": "Ready", "status": "True", "lastHeartbeatTime": None, "lastTransitionTime": None},
        {"type": "NetworkUnavailable", "status": "False", "lastHeartbeatTime": None, "lastTransitionTime": None},
    ]
    # No Hostname, which the API server would resolve to reach a kubelet.
    patch = {"status": {"conditions": conditions, "addresses": [{"type": "InternalIP", "address": ip}]}}
    cluster.merge("Node", name, patch, subresource="status")


def pod(
    cluster: Cluster, name: str, spec: Object, *, on: str, ip: str = "", labels: dict[str, str], ready: bool = True
) -> None:
    """Create a MetalLB pod that runs, as far as the API shows."""
    metadata = {"name": name, "namespace": "metallb-system", "labels": labels}
    spec = {**spec, "nodeName": on, "automountServiceAccountToken": False}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    status: dict[str, Any] = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    if ip:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    cluster.merge("Pod", name, {"status": status}, namespace="metallb-system", subresource="status")


def service(cluster: Cluster, name: str, *ips: str, **metadata: Any) -> None:
    spec = {
        "type": "LoadBalancer",
        "ports": [{"port": 80, "targetPort": 8080}],
        "loadBalancerSourceRanges": ["198.51.100.0/24"],
        "externalTrafficPolicy": "Local",
    }
    place = {"name": name, "namespace": "default", **metadata}
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": place, "spec": spec})
    status = {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}}
    cluster.merge("Service", name, {"status": status}, namespace="default", subresource="status")


def event(cluster: Cluster, about: str, reason: str, message: str, by: str) -> None:
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{about}.{reason}".lower(), "namespace": "default"},
            "involvedObject": {"kind": "Service", "namespace": "default", "name": about},
            "reason": reason,
            "message": message,
            "source": {"component": by},
            "lastTimestamp": "2026-11-22T12:00:00Z",
        }
    )


def released(version: str) -> list[Object]:
    return load(manifests.folder() / "metallb" / version / "metallb-native.yaml")


def plain(schema: Any) -> Any:
    """Return a CRD without CEL rules, which this old API server rejects."""
    if isinstance(schema, dict):
        return {key: plain(value) for key, value in schema.items() if key != "x-kubernetes-validations"}
    return [plain(item) for item in schema] if isinstance(schema, list) else schema


def templates(version: str) -> dict[str, Object]:
    """Return a release's pod templates by component."""
    return {
        item["spec"]["template"]["metadata"]["labels"]["component"]: item["spec"]["template"]
        for item in released(version)
        if item["kind"] in ("DaemonSet", "Deployment")
    }


def fill(cluster: Cluster) -> None:
    """Create a cluster with MetalLB 0.13.12 and the CRDs of 0.16.1: one Service announced, one pending."""
    wanted = ("ipaddresspools", "l2advertisements", "servicel2statuses", "configurationstates")
    for item in released("v0.16.1"):
        if item["kind"] == "Namespace" or item["metadata"]["name"].split(".")[0] in wanted:
            cluster.apply(plain(item))
    cluster.wait("the CRDs", lambda: cluster.list("IPAddressPool", api_version="metallb.io/v1beta1") == [], 60)
    api = {"apiVersion": "metallb.io/v1beta1"}

    def accepted(item: Object) -> Callable[[], Object]:
        return lambda: cluster.apply(item)

    place = {"namespace": "metallb-system"}
    for item in (
        api
        | {
            "kind": "IPAddressPool",
            "metadata": {"name": "lab", "labels": {"tier": "web"}, **place},
            "spec": {"addresses": ["192.0.2.200-192.0.2.230"], "avoidBuggyIPs": True},
        },
        api
        | {
            "kind": "L2Advertisement",
            "metadata": {"name": "lab", **place},
            "spec": {
                "ipAddressPoolSelectors": [{"matchLabels": {"tier": "web"}}],
                "nodeSelectors": [{"matchLabels": {"zone": "a"}}],
                "interfaces": ["eth1"],
            },
        },
        api
        | {
            "kind": "ServiceL2Status",
            "metadata": {"name": "l2-x", **place, "labels": {"metallb.io/node": "worker1"}},
            "spec": {},
        },
    ):
        cluster.wait("the kind to be served", accepted(item), 60)
    announced = {
        "node": "worker1",
        "serviceName": "web",
        "serviceNamespace": "default",
        "interfaces": [{"name": "eth1"}],
    }
    where = {"namespace": "metallb-system", "api_version": "metallb.io/v1beta1", "subresource": "status"}
    cluster.merge("ServiceL2Status", "l2-x", {"status": announced}, **where)
    node(cluster, "master", MASTER, **{"node.kubernetes.io/exclude-from-external-load-balancers": ""})
    node(cluster, "worker1", WORKER, zone="a")
    cluster.wait("the account of pods", lambda: cluster.get("ServiceAccount", "default", "metallb-system"), 60)
    parts = templates("v0.13.12")
    speaker = {**parts["speaker"]["spec"]}
    container = speaker["containers"][0]
    container["env"] = [*container["env"], {"name": "TOKEN", "value": SECRET}]
    for name, on, ip, ready in (("speaker-m", "master", MASTER, False), ("speaker-w", "worker1", WORKER, True)):
        spec = {key: value for key, value in speaker.items() if key not in ("volumes", "serviceAccountName")}
        spec["containers"] = [{key: value for key, value in container.items() if key != "volumeMounts"}]
        pod(cluster, name, spec, on=on, ip=ip, labels={"app": "metallb", "component": "speaker"}, ready=ready)
    service(cluster, "web", "192.0.2.200", labels={"app": "web"}, annotations={"note": SECRET})
    annotations = {"metallb.io/address-pool": "lab", "metallb.universe.tf/loadBalancerIPs": "192.0.2.201, nowhere"}
    service(cluster, "late", annotations=annotations)
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": "web", "namespace": "default"},
            "subsets": [
                {"addresses": [{"ip": "10.244.1.2", "nodeName": "worker1"}], "ports": [{"port": 8080}]},
                {"notReadyAddresses": [{"ip": "10.244.0.2", "nodeName": "master"}], "ports": [{"port": 8080}]},
            ],
        }
    )
    event(cluster, "web", "nodeAssigned", 'announcing from node "worker1" with protocol "layer2"', "metallb-speaker")
    event(cluster, "web", "Sync", "somebody else's", "some-controller")
    config = "mode: ipvs\nipvs:\n  strictARP: true\n"
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
            "data": {"config.conf": config, "kubeconfig.conf": f"token: {SECRET}"},
        }
    )
    exclude = next(item for item in released("v0.16.1") if item["metadata"]["name"] == "metallb-excludel2")
    cluster.apply(exclude)

"""A cluster in memory: the reads of kube.Cluster over a list of plain objects, and a site in a temporary file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from provisioner.checks import Context, Finding
from provisioner.checks.check import Check
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object
from provisioner.site import load_site
from provisioner.ssh import Host

SITE = """
[cluster]
kubernetes = "1.20.2"
timeout_scale = 0.001
[[hosts]]
name = "master"
address = "192.0.2.10"
roles = ["control-plane"]
[[hosts]]
name = "w1"
address = "192.0.2.11"
roles = ["worker"]
[[hosts]]
name = "w2"
address = "192.0.2.12"
roles = ["worker"]
[[metallb.pools]]
name = "lab"
addresses = ["192.0.2.200-192.0.2.210"]
[workloads]
enabled = [
    "nodeport", "loadbalancer", "ingress", "hpa", "daemonset", "configmap", "statefulset", "shared-volume",
]
"""


class Memory:
    """The part of kube.Cluster that checks use. `shell` stands for exec; `asked` counts the requests.

    The `on_…` stand for the controllers: what they do when something was written. `said` are the waits.
    """

    def __init__(self, *objects: Object) -> None:
        self.objects = list(objects)
        self.shell: Callable[[str, Sequence[str]], str] = lambda pod, command: ""
        self.on_delete: Callable[[str, str], None] = lambda kind, name: None
        self.on_merge: Callable[[str, str, Object], None] = lambda kind, name, patch: None
        self.phase = "Pending"  # of a new claim
        self.told = True  # whether an event says why it waits
        self.metrics: Any = None
        self.up = True
        self.why = ""
        self.asked = 0
        self.said: list[str] = []
        self.progress: Callable[[str], None] = self.said.append

    def reachable(self) -> bool:
        return self.up

    def list(
        self, kind: str, namespace: str | None = None, api_version: str = "v1", labels: str = "", fields: str = ""
    ) -> list[Object]:
        self.asked += 1
        wanted = dict(part.split("=") for part in labels.split(",") if part).items()
        about = fields.removeprefix("involvedObject.uid=") if fields else None
        return [
            one
            for one in self.objects
            if one["kind"] == kind
            and one["apiVersion"] == api_version
            and namespace in (None, one["metadata"].get("namespace"))
            and wanted <= one["metadata"].get("labels", {}).items()
            and about in (None, one.get("involvedObject", {}).get("uid"))
        ]

    def get(self, kind: str, name: str, namespace: str | None = None, api_version: str = "v1") -> Object | None:
        found = self.list(kind, namespace, api_version)
        return next((one for one in found if one["metadata"]["name"] == name), None)

    def nodes(self) -> dict[str, Object]:
        return {one["metadata"]["name"]: one for one in self.list("Node")}

    def events(self, namespace: str, name: str = "") -> Sequence[str]:
        return [f"Warning Something about {namespace}/{name}"]

    def logs(self, namespace: str, pod: str, container: str = "", lines: int = 20, previous: bool = False) -> str:
        return f"log of {namespace}/{pod} {container} {lines} {previous}"

    def raw(self, path: str, patience: float = 30) -> Any:
        if self.metrics is None:
            raise ClusterError(f"the API refused to GET {path} (503, {patience})")
        return self.metrics

    def exec(self, namespace: str, pod: str, command: Sequence[str], container: str = "", timeout: float = 30) -> str:
        assert namespace == "course"
        assert not container
        assert timeout
        return self.shell(pod, command)

    def wait(self, what: str, look: Callable[[], Any], timeout: float, why: Callable[[], str] = lambda: "") -> Any:
        """Look again and again as kube.Cluster does, but ten times instead of `timeout` seconds, without a pause."""
        last = ""
        for _ in range(10 if timeout else 1):
            try:
                if found := look():
                    return found
            except ClusterError as error:
                last = str(error)
            self.progress(f"waiting for {what}")
        raise ClusterError(f"waited {timeout:.0f} s for {what} ({last})", tail=why())

    def apply(self, manifest: Object) -> Object:
        """Create an object, as a server does that gives a nodePort once."""
        wanted = {port.get("nodePort") for port in manifest["spec"].get("ports", [])}
        for one in self.list("Service"):
            for port in one["spec"]["ports"]:
                if port.get("nodePort") in wanted - {None}:
                    raise ClusterError(
                        "the API refused to apply Service: spec.ports[0].nodePort: "
                        f"Invalid value: {port['nodePort']}: provided port is already allocated (422)"
                    )
        if manifest["kind"] == "PersistentVolumeClaim":
            named = manifest["metadata"] | {"uid": f"uid of {manifest['metadata']['name']}"}
            manifest = manifest | {"metadata": named, "status": {"phase": self.phase}}
            self.objects += [event(named["uid"])] if self.told else []
        self.objects.append(manifest)
        return manifest

    def merge(self, kind: str, name: str, patch: Object, **where: Any) -> Object:
        one = self.get(kind, name, where["namespace"], where.get("api_version", "v1"))
        assert one, f"there is no {kind} {name}"
        if where.get("subresource") == "scale":
            one["spec"]["replicas"] = patch["spec"]["replicas"]
        elif kind == "ConfigMap":
            one["data"] |= patch["data"]
        self.on_merge(kind, name, patch)
        return one

    def delete(self, kind: str, name: str, namespace: str | None = None, api_version: str = "v1") -> None:
        one = self.get(kind, name, namespace, api_version)
        assert one
        if kind != "Pod":  # those go when their controllers say so
            self.objects.remove(one)
        self.on_delete(kind, name)


def context(folder: Path, cluster: Memory, text: str = SITE, hosts: Mapping[str, Any] | None = None) -> Context:
    """Return a context over a cluster in memory; its timeouts are milliseconds."""
    (folder / "hosts.toml").write_text(text)
    site = load_site(folder / "hosts.toml")
    return Context(site, cast(Cluster, cluster), cast("Mapping[str, Host]", hosts or {}))


def findings(check: Check, where: Context) -> dict[str, list[Finding]]:
    """Run a check and return its findings by code."""
    found: dict[str, list[Finding]] = {}
    for finding in check.run(where):
        found.setdefault(finding.code, []).append(finding)
    return found


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


def node(name: str, address: str, *, version: str = "v1.20.2", ready: str = "True", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
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

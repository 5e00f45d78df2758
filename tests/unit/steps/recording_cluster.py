"""A Cluster that records what a step does to it; why that is enough, doubles.py says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from provisioner.errors import ClusterError
from provisioner.kube import ApiState, Object
from provisioner.kube.objects import difference


@dataclass
class RecordingCluster:
    """Record what a step does to the cluster; `holds` are the objects that the API has."""

    holds: dict[tuple[str, str, str], Object] = field(default_factory=dict)  # (kind, namespace, name)
    answers: ApiState = ApiState.READY
    why: str = "connection refused"
    applied: list[Object] = field(default_factory=list)
    deleted: list[tuple[str, str, str]] = field(default_factory=list)
    merged: list[tuple[str, str, Object]] = field(default_factory=list)
    evicted: list[str] = field(default_factory=list)
    budgets: dict[str, str] = field(default_factory=dict)  # pod -> why its disruption budget does not let it go
    waits: list[str] = field(default_factory=list)
    forgotten: int = 0
    config: Object | None = None
    wait_fails: bool = False

    def hold(self, *objects: Object) -> RecordingCluster:
        for item in objects:
            metadata = item["metadata"]
            self.holds[item["kind"], metadata.get("namespace") or "", metadata["name"]] = item
        return self

    def _silence(self) -> None:
        if self.answers is not ApiState.READY:
            raise ClusterError(f"the API does not answer: {self.why}")

    def state(self) -> ApiState:
        return self.answers

    def reachable(self) -> bool:
        return self.answers is ApiState.READY

    def forget(self) -> None:
        self.forgotten += 1

    def kubeconfig(self) -> Object | None:
        return self.config

    def get(self, kind: str, name: str, namespace: str | None = None, api_version: str = "v1") -> Object | None:
        del api_version
        self._silence()
        return self.holds.get((kind, namespace or "", name))

    def list(self, kind: str, namespace: str | None = None, api_version: str = "v1", **_: Any) -> list[Object]:
        del api_version
        self._silence()
        return [item for key, item in self.holds.items() if key[0] == kind and namespace in (None, key[1])]

    def nodes(self) -> dict[str, Object]:
        self._silence()
        return {name: item for (kind, _, name), item in self.holds.items() if kind == "Node"}

    def diff(self, manifest: Mapping[str, Any]) -> str:
        self._silence()
        metadata = manifest["metadata"]
        live = self.holds.get((manifest["kind"], metadata.get("namespace") or "", metadata["name"]))
        return difference(metadata["name"], live, manifest)

    def diffs(self, manifests: Iterable[Mapping[str, Any]]) -> Any:
        return [self.diff(manifest) for manifest in manifests]

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        assert not dry_run
        self._silence()
        self.applied.append(manifest)
        self.hold(manifest)
        return manifest

    def merge(self, kind: str, name: str, patch: Object, **_: Any) -> Object:
        self.merged.append((kind, name, patch))
        return {}

    def evict(self, namespace: str, pod: str) -> str:
        self._silence()
        self.evicted.append(f"{namespace}/{pod}")
        because = self.budgets.get(f"{namespace}/{pod}", "")
        if not because:
            self.holds.pop(("Pod", namespace, pod), None)
        return because

    def delete(
        self, kind: str, name: str, namespace: str | None = None, api_version: str = "v1", *, version: str = ""
    ) -> None:
        del api_version
        live = self.holds.get((kind, namespace or "", name))
        if version and live and live["metadata"].get("resourceVersion") != version:
            raise ClusterError(f"the API refused to delete {kind} {name}: Precondition failed (409)")
        self.deleted.append((kind, namespace or "", name))
        self.holds.pop((kind, namespace or "", name), None)

    def events(self, namespace: str, name: str = "") -> Any:
        return [f"Warning FailedScheduling {namespace}/{name}: no nodes"]

    def logs(self, namespace: str, pod: str, container: str = "", lines: int = 20, previous: bool = False) -> str:
        return f"log of {namespace}/{pod}/{container} ({lines}, previous={previous})"

    def wait(self, what: str, look: Callable[[], Any], timeout: float, why: Callable[[], str] = lambda: "") -> Any:
        assert timeout > 0
        self.waits.append(what)
        found = look() or look()  # what the first look asks for, the second finds done
        if self.wait_fails or not found:
            raise ClusterError(f"waited for {what}", tail=why())
        return found


def node(name: str, **labels: str) -> Object:
    """Return a node as a kubelet registers it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }

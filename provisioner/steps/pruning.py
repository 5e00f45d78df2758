"""Part of the step workloads: delete the objects of workloads that hosts.toml no longer enables.

A ConfigMap in the cluster lists the objects of each workload. An object is deleted if it is on the list, no longer
wanted, and was applied by our field manager. Namespaces and objects that hold data (claims, volumes, definitions) are
never deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from provisioner.engine import Change
from provisioner.engine.changes import objects
from provisioner.kube import Cluster, Object
from provisioner.kube.objects import difference, is_managed, join_name, object_name

NAME = "provisioner-workloads"
NAMESPACE = "kube-system"
# Deleting a definition deletes all objects of its kind, a claim or volume possibly data, a namespace everything.
KEPT = ("Namespace", "PersistentVolumeClaim", "PersistentVolume", "CustomResourceDefinition")


@dataclass(frozen=True)
class Entry:
    """One object of a workload. namespace: "" where the manifest names none."""

    workload: str
    api_version: str
    kind: str
    namespace: str
    name: str

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Return what identifies the object: the API group, but not the version, under which it was applied."""
        group = self.api_version.rpartition("/")[0]
        return group, self.kind, self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.api_version} {self.kind} {join_name(self.name, self.namespace)}"


def entries(files: Mapping[str, Sequence[Object]]) -> list[Entry]:
    """Return the objects of each workload that may be deleted later."""
    return [
        Entry(workload, item["apiVersion"], item["kind"], item["metadata"].get("namespace", ""), name)
        for workload, manifests in files.items()
        for item in manifests
        for name in [item["metadata"]["name"]]
        if item["kind"] not in KEPT
    ]


def recorded(cluster: Cluster) -> list[Entry]:
    """Return the entries of the cluster's list; ignore lines that are not entries."""
    live = cluster.get("ConfigMap", NAME, NAMESPACE) or {}
    found = []
    for workload, text in (live.get("data") or {}).items():
        for line in text.splitlines():
            words = line.split()
            if len(words) == 3 and words[1] not in KEPT:
                namespace, _, name = words[2].rpartition("/")
                found.append(Entry(workload, words[0], words[1], namespace, name))
    return found


def changes(cluster: Cluster, files: Mapping[str, Sequence[Object]]) -> Iterator[Change]:
    """Yield the deletions that are due, then the update of the list.

    In this order an interrupted deletion is still on the list, and objects are on it before they are applied.
    """
    wanted, before = entries(files), recorded(cluster)
    identities = {entry.identity for entry in wanted}
    for entry in before:
        if entry.identity in identities:
            continue
        live = cluster.get(entry.kind, entry.name, entry.namespace or None, entry.api_version)
        if live is not None and is_managed(live):  # not if somebody recreated it by hand since
            reason = "is no longer enabled" if entry.workload not in files else "no longer contains it"
            summary = f"delete {object_name(live)}: workload {entry.workload} {reason}"
            yield Change(summary, _deleting(cluster, entry), difference(object_name(live), live, None))
    if wanted:
        yield from objects(cluster, [_list(wanted)])
    elif before:
        yield Change(
            f"delete ConfigMap {NAMESPACE}/{NAME}",
            lambda: cluster.delete("ConfigMap", NAME, NAMESPACE),
            f"- v1 ConfigMap {NAMESPACE}/{NAME}\n",
        )


def _list(wanted: Sequence[Entry]) -> Object:
    data: dict[str, str] = {}
    for entry in wanted:
        data[entry.workload] = data.get(entry.workload, "") + f"{entry}\n"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": data,
    }


def _deleting(cluster: Cluster, entry: Entry) -> Callable[[], None]:
    where = (entry.kind, entry.name, entry.namespace or None, entry.api_version)

    def delete() -> None:
        cluster.delete(*where)
        cluster.wait(f"{entry.kind} {entry.name} to be gone", lambda: cluster.get(*where) is None, 120)

    return delete

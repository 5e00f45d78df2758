"""Storage that is no longer configured: what is deleted, and what stays because it may hold data or is not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import ClusterError
from provisioner.kube import Object
from provisioner.steps import storage
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import RecordingHost, carry_out, drain, fleet_for, site_at, summaries

PART = {"app.kubernetes.io/part-of": "provisioner-storage"}
OURS = [{"manager": "provisioner", "operation": "Apply"}]
CLAIM = {"namespace": "course", "name": "data"}
FREE = "not in hosts.toml, and never claimed; 192.168.56.10:/srv/nfs/{} stays on the server"
UNUSED = "not in hosts.toml, and no volume or claim uses it"


class Api(FakeCluster):
    """A cluster that adds what a real server would: field manager, resourceVersion, and a new volume's phase."""

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        before = self.get(kind, name, None, manifest["apiVersion"]) or {}
        version = str(len(self.applied) + 1)
        metadata = manifest["metadata"] | {"managedFields": OURS, "resourceVersion": version}
        made = manifest | {"metadata": metadata}
        if kind == "PersistentVolume":
            kept = {key: before["spec"][key] for key in ("claimRef",) if before and key in before["spec"]}
            made |= {"spec": manifest["spec"] | kept, "status": before.get("status") or {"phase": "Available"}}
        super().apply(made, dry_run=dry_run)
        return made

    def diff(self, manifest: Any) -> str:
        """Compare only the fields of the manifest."""
        live = self.get(manifest["kind"], manifest["metadata"]["name"], None, manifest["apiVersion"])
        if live is None:
            return "+"
        return "" if all(live["spec"][key] == value for key, value in manifest.get("spec", {}).items()) else "-+"


def machine(tmp_path: Path, nfs: str) -> RecordingHost:
    return fleet_for(storage.STEP, site_at(tmp_path, rest=f"[nfs]\n{nfs}\n[workloads]\nenabled = []"))["master"]


@pytest.fixture(autouse=True)
def _no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "csi_driver", lambda site: [])


def left_behind(tmp_path: Path, **phases: str) -> Api:
    """Return a cluster with four volumes of the class nfs; those named have a claim and this phase."""
    cluster = Api()
    carry_out(storage.STEP, machine(tmp_path, "volumes = 4"), cluster)
    for name, phase in phases.items():
        volume = cluster.live("PersistentVolume", name.replace("_", "-"))
        volume["spec"]["claimRef"] = CLAIM
        volume["status"] = {"phase": phase}
    cluster.applied.clear()
    return cluster


def removals(said: list[str]) -> list[str]:
    return [text.removeprefix("delete ").partition(":")[0] for text in said if text.startswith("delete ")]


def volume(number: int) -> str:
    return f"PersistentVolume nfs-{number:02d}"


SHRUNK: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "as many": ("volumes = 4", {}, []),
    "more": ("volumes = 6", {}, []),
    "fewer": ("volumes = 2", {}, [volume(3), volume(4)]),
    "fewer, one in use": ("volumes = 2", {"nfs_03": "Bound"}, [volume(4)]),
    "fewer, one whose claim is gone": ("volumes = 2", {"nfs_04": "Released"}, [volume(3)]),
    "fewer, one that failed": ("volumes = 2", {"nfs_04": "Failed"}, [volume(3)]),
    "fewer, one reserved for a claim": ("volumes = 2", {"nfs_04": "Available"}, [volume(3)]),
    "fewer, none of them free": ("volumes = 2", {"nfs_03": "Bound", "nfs_04": "Released"}, []),
    "none": ("volumes = 0", {}, [volume(1), volume(2), volume(3), volume(4)]),
    "csi, which makes its own": ('provisioner = "csi"', {"nfs_01": "Bound"}, [volume(2), volume(3), volume(4)]),
    "another class": ('volumes = 4\nclass = "fast"', {}, ["StorageClass nfs"]),
    "another class and fewer": ('volumes = 3\nclass = "fast"', {}, [volume(4), "StorageClass nfs"]),
    "another class, fewer, the old in use": ('volumes = 3\nclass = "fast"', {"nfs_04": "Released"}, []),
    "another class and csi": (
        'provisioner = "csi"\nclass = "fast"',
        {},
        [volume(1), volume(2), volume(3), volume(4), "StorageClass nfs"],
    ),
    "another class and csi, the old in use": (
        'provisioner = "csi"\nclass = "fast"',
        {"nfs_01": "Bound"},
        [volume(2), volume(3), volume(4)],
    ),
}


@pytest.mark.parametrize(("nfs", "phases", "expected"), SHRUNK.values(), ids=SHRUNK)
def test_what_is_deleted_when_hosts_toml_has_less(
    tmp_path: Path, nfs: str, phases: dict[str, str], expected: list[str]
) -> None:
    cluster, host = left_behind(tmp_path, **phases), machine(tmp_path, nfs)
    claimed = [item["metadata"]["name"] for item in cluster.objects if item.get("spec", {}).get("claimRef")]
    planned = summaries(storage.STEP, host, cluster)
    assert removals(planned) == expected
    assert carry_out(storage.STEP, host, cluster) == planned, "an apply does what the plan showed"
    assert {*claimed} <= {*cluster.names("PersistentVolume")}, "what holds data stays"
    assert drain(storage.STEP, host, cluster) == [], "a second plan is empty"


def test_a_deletion_has_a_reason(tmp_path: Path) -> None:
    cluster = left_behind(tmp_path)
    host = machine(tmp_path, 'volumes = 3\nclass = "fast"')
    found = {change.summary: change.diff for change in drain(storage.STEP, host, cluster)}
    gone = f"delete {volume(4)}: {FREE.format('nfs-04')}"
    assert found.keys() > {gone, f"delete StorageClass nfs: {UNUSED}"}
    assert "-    path: /srv/nfs/nfs-04" in found[gone]


CLASS: Object = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "old", "labels": PART, "managedFields": OURS},
    "provisioner": "kubernetes.io/no-provisioner",
}
FIFTH: Object = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": "nfs-05", "labels": PART, "managedFields": OURS},
    "spec": {"storageClassName": "old", "nfs": {"server": "192.168.56.10", "path": "/srv/nfs/nfs-05"}},
    "status": {"phase": "Available"},
}


def changed(item: Object, **metadata: Any) -> Object:
    return item | {"metadata": item["metadata"] | metadata}


@pytest.mark.parametrize(
    ("metadata", "goes"),
    [
        ({}, True),
        ({"labels": {}}, False),
        ({"labels": None}, False),
        ({"labels": {"app.kubernetes.io/part-of": "mine"}}, False),
        ({"managedFields": [{"manager": "kubectl"}]}, False),
        ({"managedFields": None}, False),
    ],
)
def test_only_objects_of_this_step_are_deleted(tmp_path: Path, metadata: dict[str, Any], goes: bool) -> None:
    """A workload's volume has the same field manager, and one made by hand may have the label."""
    host = machine(tmp_path, "volumes = 4")
    cluster = left_behind(tmp_path).hold(changed(CLASS, **metadata))
    assert removals(summaries(storage.STEP, host, cluster)) == (["StorageClass old"] if goes else [])
    cluster = left_behind(tmp_path).hold(changed(FIFTH, **metadata))
    assert removals(summaries(storage.STEP, host, cluster)) == ([volume(5)] if goes else [])


@pytest.mark.parametrize("phase", ["Pending", "Released", "Failed", None])
def test_only_available_volumes_are_deleted(tmp_path: Path, phase: str | None) -> None:
    """A volume that just lost its claim still has its old phase; a new one has none."""
    cluster = left_behind(tmp_path).hold(FIFTH | {"status": {"phase": phase} if phase else {}})
    assert removals(summaries(storage.STEP, machine(tmp_path, "volumes = 4"), cluster)) == []


def claim(kind: str, **spec: Any) -> Object:
    return {"kind": kind, "metadata": {"namespace": "course", "name": "one"}, "spec": spec}


TEMPLATE = {"metadata": {"name": "data"}, "spec": {"storageClassName": "old"}}
BETA = {"annotations": {"volume.beta.kubernetes.io/storage-class": "old"}}
USERS: dict[str, tuple[Object, bool]] = {
    "a claim of it": (claim("PersistentVolumeClaim", storageClassName="old"), True),
    "a claim of it, in the old way": (changed(claim("PersistentVolumeClaim"), **BETA), True),
    "a claim of another": (claim("PersistentVolumeClaim", storageClassName="nfs"), False),
    "a claim of none": (claim("PersistentVolumeClaim"), False),
    "claims that a StatefulSet may make": (claim("StatefulSet", volumeClaimTemplates=[TEMPLATE]), True),
    "a StatefulSet without claims": (claim("StatefulSet"), False),
    "somebody's volume of it": (changed(FIFTH, labels={}), True),
    "a volume that csi-driver-nfs made": (
        changed(FIFTH, name="pvc-1", labels={}, managedFields=[{"manager": "csi-provisioner"}]),
        True,
    ),
}


@pytest.mark.parametrize(("user", "kept"), USERS.values(), ids=USERS)
def test_a_class_in_use_stays(tmp_path: Path, user: Object, kept: bool) -> None:
    cluster = left_behind(tmp_path).hold(CLASS, user)
    said = removals(summaries(storage.STEP, machine(tmp_path, "volumes = 4"), cluster))
    assert said == ([] if kept else ["StorageClass old"])


def test_a_class_that_the_operators_volumes_name_stays(tmp_path: Path) -> None:
    """Their nfs/volume.yaml names it, whatever the class of hosts.toml is called."""
    cluster = left_behind(tmp_path)
    (tmp_path / "nfs").mkdir()
    shipped = (Path(__file__).parents[3] / "nfs/volume.yaml").read_text()
    (tmp_path / "nfs/volume.yaml").write_text(shipped.replace("${nfs_class}", "nfs"))
    assert summaries(storage.STEP, machine(tmp_path, 'volumes = 4\nclass = "fast"'), cluster) == [
        "apply StorageClass fast"
    ]


def test_a_volume_that_is_claimed_after_the_plan_stays(tmp_path: Path) -> None:
    cluster, host = left_behind(tmp_path), machine(tmp_path, "volumes = 3")
    (change,) = drain(storage.STEP, host, cluster)
    live = cluster.live("PersistentVolume", "nfs-04")
    bound = {"spec": live["spec"] | {"claimRef": CLAIM}, "status": {"phase": "Bound"}}
    cluster.hold(changed(live, resourceVersion="99") | bound)
    with pytest.raises(ClusterError, match="refused to delete PersistentVolume nfs-04"):
        change.do()
    assert "nfs-04" in cluster.names("PersistentVolume")
    assert drain(storage.STEP, host, cluster) == []

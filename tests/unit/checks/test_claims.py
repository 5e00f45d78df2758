"""Claims: why one is not bound, where its volume lies, and one too large for any volume."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.checks import claims, storage
from provisioner.kube import Object, templates
from tests.unit.checks.contexts import SITE, context, findings
from tests.unit.checks.test_storage import DEPLOYMENT, FREE, NFS, PODS, TOO_LARGE, course, too_large
from tests.unit.checks.volumes import claim, volume
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import event, pod, storage_class

CSI = SITE.replace("1.20.2", "1.30.0") + '[nfs]\nprovisioner = "csi"\n'


def test_an_event_about_an_earlier_claim_with_that_name_does_not_count(tmp_path: Path) -> None:
    old = event("uid of an earlier run's shared-volume-too-large", "an hour ago")
    cluster = course(FREE, old)
    cluster.explains = False
    (one,) = findings(storage.CHECK, context(tmp_path, cluster))["STORAGE_TOO_LARGE_NOT_TOLD"]
    assert one.detail.startswith("is Pending, and should be Pending with an event that says why")


def test_a_claim_that_is_too_large_but_bound_fails(tmp_path: Path) -> None:
    cluster = course(FREE)
    cluster.phase = "Bound"
    (one,) = findings(storage.CHECK, context(tmp_path, cluster))["STORAGE_TOO_LARGE_NOT_TOLD"]
    assert one.detail.endswith("should be Pending with an event that says why (the volumes have 1Gi each)")
    assert too_large(cluster) is None


def test_a_claim_that_is_too_large_is_skipped_without_an_available_volume(tmp_path: Path) -> None:
    """Any claim would stay Pending, with an event. Volumes of another class do not count."""
    other = volume({"storageClassName": "other", "nfs": {"server": "x", "path": "/y"}}, "other", "Available", "1Ti")
    reserved = volume({"claimRef": {"name": "somebodys"}}, "reserved", "Available")
    alone = volume({"accessModes": ["ReadWriteOnce"]}, "alone", "Available")
    cluster = course(other, reserved, alone, volume({}, "released", "Released"))
    (one,) = findings(storage.CHECK, context(tmp_path, cluster))["NOT_TRIED"]
    assert one.ok
    assert one.subject == f"claim course/{TOO_LARGE} for 1Pi"
    assert "none of the 4 volumes of class nfs is available" in one.detail
    assert too_large(cluster) is None


def test_only_volumes_of_the_same_class_are_listed(tmp_path: Path) -> None:
    other = volume({"storageClassName": "other"}, "other", "Available", "1Ti")
    more = volume({}, "nfs-3", "Available", "2Gi")
    (one,) = findings(storage.CHECK, context(tmp_path, course(FREE, more, other)))["STORAGE_TOO_LARGE"]
    assert "although nfs-2 and 1 more are available (the volumes have 1Gi and 2Gi each): " in one.detail


@pytest.mark.parametrize("text", [SITE, CSI])
def test_a_missing_class_fails_although_the_claim_is_bound(tmp_path: Path, text: str) -> None:
    cluster = course(FREE)
    cluster.objects = [one for one in cluster.objects if one["kind"] != "StorageClass"]
    found = findings(storage.CHECK, context(tmp_path, cluster, text))
    (one,) = found["STORAGE_NO_CLASS"]
    assert (one.ok, one.subject, one.remedy) == (False, "StorageClass nfs", "provisioner apply")
    assert one.evidence
    assert "STORAGE_TOO_LARGE" not in found


def test_no_claim_is_too_large_for_csi(tmp_path: Path) -> None:
    found = findings(storage.CHECK, context(tmp_path, course(FREE), CSI))
    (one,) = found["NOT_TRIED"]
    assert one.detail.startswith("was not tried: csi-driver-nfs provisions volumes of any size")
    assert "STORAGE_LINES" in found
    assert "STORAGE_TOO_LARGE" not in found


def driver(*, ready: bool = True) -> Object:
    metadata = {"labels": {"app": "csi-nfs-controller"}}
    return pod("csi-nfs-1", "w1", namespace="kube-system", metadata=metadata, ready=ready)


PENDING = claim(phase="Pending", volume="")


@pytest.mark.parametrize(
    ("text", "objects", "words", "remedy"),
    [
        (
            SITE,
            [PENDING, storage_class(), NFS],
            "is Pending: none of the 1 volumes of class nfs is available",
            "kubectl get pv;",
        ),
        (SITE, [PENDING, storage_class()], "is Pending: no volume has class nfs", "provisioner apply"),
        (
            SITE,
            [PENDING, storage_class(), NFS, FREE],
            "is Pending: no available volume of class nfs fits it (nfs-2 has 1Gi)",
            "[nfs] volumes and size in hosts.toml",
        ),
        (
            SITE,
            [claim(phase="Lost"), storage_class(), FREE],
            "is Lost: its volume nfs-1 was deleted",
            "provisioner apply recreates the volumes of hosts.toml",
        ),
        (
            CSI,
            [claim(phase="Lost"), storage_class()],
            "is Lost: its volume nfs-1 was deleted",
            "delete pvc shared-volume",
        ),
        (SITE, [PENDING, FREE], "is Pending: its StorageClass nfs does not exist", "provisioner apply"),
        (CSI, [PENDING, driver()], "is Pending: its StorageClass nfs does not exist", "provisioner apply"),
        (
            SITE,
            [claim(phase="Pending", volume="", class_="fast"), storage_class(), FREE],
            "is Pending: its StorageClass fast does not exist",
            "hosts.toml has nfs",
        ),
        (
            CSI,
            [PENDING, storage_class(), FREE],
            "is Pending: csi-driver-nfs has provisioned no volume for it (csi-nfs-controller has no pod)",
            "logs deployment/csi-nfs-controller",
        ),
        (
            CSI,
            [PENDING, storage_class(), driver(ready=False)],
            "is Pending: csi-driver-nfs has provisioned no volume for it (csi-nfs-1: running but not ready)",
            "logs deployment/csi-nfs-controller",
        ),
        (
            CSI,
            [PENDING, storage_class(), driver()],
            "is Pending: csi-driver-nfs has provisioned no volume for it",
            "logs deployment/csi-nfs-controller",
        ),
    ],
)
def test_why_a_claim_is_not_bound(tmp_path: Path, text: str, objects: list[Object], words: str, remedy: str) -> None:
    cluster = FakeCluster(*objects, DEPLOYMENT, *PODS)
    found = findings(storage.CHECK, context(tmp_path, cluster, text))
    assert [*found] == ["STORAGE_NOT_BOUND"]
    (one,) = found["STORAGE_NOT_BOUND"]
    assert (one.ok, one.detail) == (False, words)
    assert remedy in one.remedy
    assert "Warning Something about course/shared-volume" in one.evidence
    of_driver = "agnhost: log of kube-system/csi-nfs-1 agnhost 8 False"
    assert (of_driver in one.evidence) is ("csi-driver" in words and "has no pod" not in words)


def test_the_path_of_a_csi_volume() -> None:
    csi = {"driver": "nfs.csi.k8s.io", "volumeAttributes": {"server": "nas", "share": "/x"}}
    assert claims.nfs_source(volume({"csi": csi})) == "nas:/x/nfs-1"
    csi["volumeAttributes"] = {"server": "nas", "share": "/", "subdir": "pvc-7"}
    assert claims.nfs_source(volume({"csi": csi})) == "nas:/pvc-7"
    assert claims.nfs_source(volume({"csi": csi | {"driver": "ebs.csi.aws.com"}})) == ""


def test_the_path_of_a_volume_of_the_shipped_class(tmp_path: Path) -> None:
    """The driver keeps the case of the class's parameters and fills in the directory's name."""
    site = context(tmp_path, FakeCluster(), CSI).site
    (shipped,) = templates.read(site, "nfs/storageclass-csi.yaml")
    template = "${pvc.metadata.namespace}-${pvc.metadata.name}-${pv.metadata.name}"
    attributes = {
        key: "course-shared-volume-pvc-7" if value == template else value
        for key, value in shipped["parameters"].items()
    }
    assert attributes != shipped["parameters"], "the class names a directory"
    made = volume({"csi": {"driver": shipped["provisioner"], "volumeAttributes": attributes}}, "pvc-7")
    assert claims.nfs_source(made) == "192.0.2.10:/srv/nfs/course-shared-volume-pvc-7"

"""Claims: why one has no volume, where the volume of one lies, and one that is too large for any."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.checks import claims, storage
from provisioner.kube import Object, templates
from tests.unit.checks.contexts import SITE, context, findings
from tests.unit.checks.test_storage import DEPLOYMENT, FREE, NFS, SHARING, TOO_LARGE, course, too_large
from tests.unit.checks.volumes import claim, volume
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import event, pod, storage_class

CSI = SITE.replace("1.20.2", "1.30.0") + '[nfs]\nprovisioner = "csi"\n'


def test_an_event_about_an_earlier_claim_of_that_name_says_nothing(tmp_path: Path) -> None:
    old = event("uid of an earlier run's shared-volume-too-large", "what it said an hour ago")
    cluster = course(FREE, old)
    cluster.explains = False
    (one,) = findings(storage.CHECK, context(tmp_path, cluster))["STORAGE_TOO_LARGE_NOT_TOLD"]
    assert one.detail.startswith("is Pending, and should be Pending and say why")


def test_a_claim_that_is_too_large_and_bound_all_the_same(tmp_path: Path) -> None:
    cluster = course(FREE)
    cluster.phase = "Bound"
    (one,) = findings(storage.CHECK, context(tmp_path, cluster))["STORAGE_TOO_LARGE_NOT_TOLD"]
    assert one.detail.startswith("is Bound, and should be Pending and say why: the volumes have 1Gi each")
    assert too_large(cluster) is None


def test_a_claim_is_not_shown_to_be_too_large_while_no_volume_is_free(tmp_path: Path) -> None:
    """Any claim would wait then, with an event. Volumes of another class are not for it."""
    other = volume({"storageClassName": "other", "nfs": {"server": "x", "path": "/y"}}, "other", "Available", "1Ti")
    reserved = volume({"claimRef": {"name": "somebodys"}}, "reserved", "Available")
    alone = volume({"accessModes": ["ReadWriteOnce"]}, "alone", "Available")
    cluster = course(other, reserved, alone, volume({}, "released", "Released"))
    (one,) = findings(storage.CHECK, context(tmp_path, cluster))["NOT_TRIED"]
    assert one.ok
    assert one.subject == f"claim course/{TOO_LARGE} for 1Pi"
    assert "none of the 4 volumes of class nfs is free" in one.detail
    assert too_large(cluster) is None


def test_only_the_sizes_of_the_own_class_are_told(tmp_path: Path) -> None:
    other = volume({"storageClassName": "other"}, "other", "Available", "1Ti")
    more = volume({}, "nfs-3", "Available", "2Gi")
    (one,) = findings(storage.CHECK, context(tmp_path, course(FREE, more, other)))["STORAGE_TOO_LARGE"]
    assert "though nfs-2 and 1 more are free: the volumes have 1Gi and 2Gi each, and it says: " in one.detail


@pytest.mark.parametrize("text", [SITE, CSI])
def test_a_missing_class_is_told_though_the_claim_is_bound(tmp_path: Path, text: str) -> None:
    cluster = course(FREE)
    cluster.objects = [one for one in cluster.objects if one["kind"] != "StorageClass"]
    found = findings(storage.CHECK, context(tmp_path, cluster, text))
    (one,) = found["STORAGE_NO_CLASS"]
    assert (one.ok, one.subject, one.remedy) == (False, "StorageClass nfs", "provisioner apply")
    assert one.evidence
    assert "STORAGE_TOO_LARGE" not in found


def test_on_csi_it_is_said_that_no_claim_is_too_large(tmp_path: Path) -> None:
    found = findings(storage.CHECK, context(tmp_path, course(FREE), CSI))
    (one,) = found["NOT_TRIED"]
    assert one.detail.startswith("not tried: csi-driver-nfs makes a volume of any size")
    assert "STORAGE_LINES" in found
    assert "STORAGE_TOO_LARGE" not in found


def driver(*, ready: bool = True) -> Object:
    metadata = {"labels": {"app": "csi-nfs-controller"}}
    return pod("csi-nfs-1", "w1", namespace="kube-system", metadata=metadata, ready=ready)


WAITING = claim(phase="Pending", volume="")


@pytest.mark.parametrize(
    ("text", "objects", "words", "remedy"),
    [
        (SITE, [WAITING, storage_class(), NFS], "is Pending: none of the 1 volumes of class nfs is free", "get pv: a"),
        (SITE, [WAITING, storage_class()], "is Pending: there is no volume of class nfs", "provisioner apply"),
        (
            SITE,
            [WAITING, storage_class(), NFS, FREE],
            "is Pending: no free volume of class nfs fits it (nfs-2 has 1Gi)",
            "[nfs] volumes and size in hosts.toml",
        ),
        (
            SITE,
            [claim(phase="Lost"), storage_class(), FREE],
            "is Lost: its volume nfs-1 is gone",
            "provisioner apply makes the volumes of hosts.toml again",
        ),
        (CSI, [claim(phase="Lost"), storage_class()], "is Lost: its volume nfs-1 is gone", "delete pvc shared-volume"),
        (SITE, [WAITING, FREE], "is Pending: its StorageClass nfs does not exist", "provisioner apply"),
        (CSI, [WAITING, driver()], "is Pending: its StorageClass nfs does not exist", "provisioner apply"),
        (
            SITE,
            [claim(phase="Pending", volume="", class_="fast"), storage_class(), FREE],
            "is Pending: its StorageClass fast does not exist",
            "that of hosts.toml is nfs",
        ),
        (
            CSI,
            [WAITING, storage_class(), FREE],
            "is Pending: csi-driver-nfs has made no volume for it (no pod of csi-nfs-controller is there)",
            "logs deployment/csi-nfs-controller",
        ),
        (
            CSI,
            [WAITING, storage_class(), driver(ready=False)],
            "is Pending: csi-driver-nfs has made no volume for it (csi-nfs-1: running but not ready)",
            "logs deployment/csi-nfs-controller",
        ),
        (
            CSI,
            [WAITING, storage_class(), driver()],
            "is Pending: csi-driver-nfs has made no volume for it",
            "logs deployment/csi-nfs-controller",
        ),
    ],
)
def test_why_a_claim_has_no_volume(tmp_path: Path, text: str, objects: list[Object], words: str, remedy: str) -> None:
    cluster = FakeCluster(*objects, DEPLOYMENT, *SHARING)
    found = findings(storage.CHECK, context(tmp_path, cluster, text))
    assert [*found] == ["STORAGE_NOT_BOUND"]
    (one,) = found["STORAGE_NOT_BOUND"]
    assert (one.ok, one.detail) == (False, words)
    assert remedy in one.remedy
    assert "Warning Something about course/shared-volume" in one.evidence
    of_driver = "agnhost: log of kube-system/csi-nfs-1 agnhost 8 False"
    assert (of_driver in one.evidence) is ("csi-driver" in words and "no pod" not in words)


def test_storage_on_the_csi_driver() -> None:
    csi = {"driver": "nfs.csi.k8s.io", "volumeAttributes": {"server": "nas", "share": "/x"}}
    assert claims.nfs_source(volume({"csi": csi})) == "nas:/x/nfs-1"
    csi["volumeAttributes"] = {"server": "nas", "share": "/", "subdir": "pvc-7"}
    assert claims.nfs_source(volume({"csi": csi})) == "nas:/pvc-7"
    assert claims.nfs_source(volume({"csi": csi | {"driver": "ebs.csi.aws.com"}})) == ""


def test_the_path_of_a_volume_of_the_shipped_class(tmp_path: Path) -> None:
    """The driver hands a class's parameters on with their case, and the directory's name filled in."""
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

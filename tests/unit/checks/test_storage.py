"""The storage check: a volume that pods on several workers share."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provisioner.checks import storage, volume_files
from provisioner.kube import Object
from tests.unit.checks.contexts import context, findings
from tests.unit.checks.volumes import ClaimingCluster, Volumes, claim, volume
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import pod, storage_class, workload

NFS = volume({"nfs": {"server": "192.0.2.10", "path": "/srv/nfs/1"}})
FREE = volume({"nfs": {"server": "192.0.2.10", "path": "/srv/nfs/2"}}, "nfs-2", "Available")
DEPLOYMENT = workload("Deployment", "shared-volume", "course", 2)
PODS = [pod("sv-1", "w1", app="shared-volume"), pod("sv-2", "w2", app="shared-volume")]
TOO_LARGE = "shared-volume-too-large"


def course(*more: Object) -> ClaimingCluster:
    """Return a cluster whose storage works, with `more` in it."""
    cluster = ClaimingCluster(storage_class(), claim(), NFS, DEPLOYMENT, *PODS, *more)
    cluster.shell = Volumes(sv_1="nfs-1", sv_2="nfs-1")
    return cluster


def too_large(cluster: FakeCluster) -> Object | None:
    return cluster.get("PersistentVolumeClaim", TOO_LARGE, "course")


def test_shared_storage_passes_and_is_cleaned_up(tmp_path: Path) -> None:
    cluster = course(FREE)
    shell = Volumes(sv_1="nfs-1", sv_2="nfs-1")
    cluster.shell = shell
    found = findings(storage.CHECK, context(tmp_path, cluster))
    assert found["STORAGE_BOUND"][0].detail == "is bound to nfs-1 (192.0.2.10:/srv/nfs/1)"
    assert [(one.ok, one.subject) for one in found["STORAGE_SHARED"]] == [(True, "NFS from w1 to w2")]
    assert "another one read on another node" in found["STORAGE_SHARED"][0].detail
    assert (shell.written, shell.files) == (1, {})
    (lines,) = found["STORAGE_LINES"]
    assert (lines.subject, lines.detail) == ("/data/lines in pod sv-1", "has lines of sv-1 and sv-2")
    (large,) = found["STORAGE_TOO_LARGE"]
    assert "stays Pending, as it should, although nfs-2 is available (the volumes have 1Gi each)" in large.detail
    assert large.detail.endswith(": Normal FailedBinding: no volume is large enough")
    assert all(one.ok for many in found.values() for one in many)
    assert too_large(cluster) is None


class Server:
    """The NFS server, which shows the end of a file."""

    name = "master"

    def __init__(self, text: str) -> None:
        self.text = text
        self.commands: list[str] = []

    def run(self, command: str, *, check: bool = True) -> Any:
        assert not check
        self.commands.append(command)
        return SimpleNamespace(stdout=self.text, stderr="tail: cannot open")


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("2026-11-22T19:00:00Z sv-1\n2026-11-22T19:00:00Z sv-2\n", ""),
        ("2026-11-22T19:00:00Z sv-1\ngarbled line of sv-2\n", "has no line of sv-2"),
        ("", "has no line of sv-1 and sv-2"),
    ],
)
def test_the_lines_of_all_pods_must_be_in_one_file_on_the_server(tmp_path: Path, text: str, missing: str) -> None:
    cluster = course()
    server = Server(text)
    found = findings(storage.CHECK, context(tmp_path, cluster, hosts={"master": server}))
    assert server.commands == [volume_files.server_script("/srv/nfs/1", "lines")]
    if not missing:
        assert [one.subject for one in found["STORAGE_LINES"]][1] == "/srv/nfs/1/lines on the server master"
    else:
        (one,) = found["STORAGE_LINES_MISSING"]
        assert one.detail == missing
        assert one.evidence


# The pods whose events and log lines are evidence of a finding.
EXPLAINED = {"STORAGE_READ_DIFFERS": ["sv-2"], "STORAGE_WRITE_FAILED": ["sv-1"], "STORAGE_ONE_NODE": ["sv-1"]}


@pytest.mark.parametrize(
    ("objects", "shell", "code", "words"),
    [
        ([DEPLOYMENT, *PODS], Volumes(), "STORAGE_NO_CLAIM", "does not exist"),
        (
            [claim(), volume({"hostPath": {"path": "/x"}}), DEPLOYMENT, *PODS],
            Volumes(),
            "STORAGE_NOT_NFS",
            "is bound to nfs-1, which is not on NFS",
        ),
        ([claim(), NFS], Volumes(), "STORAGE_NO_PODS", "has 0 of 1 pods ready"),
        (
            [claim(), NFS, DEPLOYMENT, PODS[0], pod("sv-2", "w2", app="shared-volume", ready=False)],
            Volumes(),
            "STORAGE_NO_PODS",
            "has 1 of 2 pods ready (w2: running but not ready)",
        ),
        (
            [claim(), NFS, workload("Deployment", "shared-volume", "course", 1), PODS[0]],
            Volumes(),
            "STORAGE_ONE_NODE",
            "has pods on w1 only, although hosts.toml has 2 workers",
        ),
        (
            [claim(), NFS, DEPLOYMENT, *PODS],
            Volumes(sv_1="read-only"),
            "STORAGE_WRITE_FAILED",
            "cannot be written from pod sv-1",
        ),
        (
            [claim(), NFS, DEPLOYMENT, *PODS],
            Volumes(sv_1="nfs-1", sv_2="another"),
            "STORAGE_READ_DIFFERS",
            "pod sv-2 does not read what was written",
        ),
    ],
)
def test_broken_storage_fails(tmp_path: Path, objects: list[Object], shell: Volumes, code: str, words: str) -> None:
    cluster = ClaimingCluster(storage_class(), FREE, *objects)
    cluster.shell = shell
    found = findings(storage.CHECK, context(tmp_path, cluster))
    unrelated = {"STORAGE_BOUND", "STORAGE_LINES", "STORAGE_TOO_LARGE"}
    if code == "STORAGE_READ_DIFFERS":  # then the lines are not in one file either
        unrelated.add("STORAGE_LINES_MISSING")
    assert set(found) - unrelated == {code}
    (one,) = found[code]
    assert not one.ok
    assert words in one.detail
    assert one.remedy
    assert not shell.files
    for pod_name in EXPLAINED.get(code, ()):
        assert f"Warning Something about course/{pod_name}" in one.evidence
        assert f"agnhost: log of course/{pod_name} agnhost 8 False" in one.evidence
    if code == "STORAGE_ONE_NODE":
        assert "Warning Something about default/w2" in one.evidence, "events of the node without a pod"

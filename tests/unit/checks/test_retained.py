"""The retained check: its claim and Deployment are created and deleted, and the file is read on the server.

The API, its controllers and the server's shell are in memory; the storage drill uses a real server.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provisioner.checks import retained
from provisioner.kube import Object
from tests.unit.checks.contexts import context, findings
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import pod

MODEL: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shared-volume", "namespace": "course"},
    "spec": {
        "replicas": 3,
        "template": {
            "spec": {
                "securityContext": {"runAsUser": 65534},
                "topologySpreadConstraints": [{"maxSkew": 1}],
                "containers": [{"name": "agnhost", "image": "agnhost:1", "command": ["sh", "-c"], "args": ["loop"]}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "shared-volume"}}],
            }
        },
    },
}


def volume(name: str, phase: str = "Available", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": "nfs",
            "capacity": {"storage": "1Gi"},
            "nfs": {"server": "192.0.2.10", "path": f"/srv/nfs/{name}"},
            **spec,
        },
        "status": {"phase": phase},
    }


@dataclass
class Server:
    """The NFS server's files by path, and its shell: what volume_files.server_script returns, and `rm -f PATH`."""

    files: dict[str, str] = field(default_factory=dict)

    def run(self, command: str, *, check: bool = True) -> Any:
        assert not check
        words = command.replace(";", "").split()
        path = words[2] if words[0] == "rm" else f"{words[2]}/{words[words.index('dd') + 1].removeprefix('if=')}"
        if words[0] == "rm":
            self.files.pop(path, None)
        return SimpleNamespace(stdout=self.files.get(path, ""), stderr="" if path in self.files else "no such file")


class Api(FakeCluster):
    """An API with the controllers of claims and Deployments."""

    def __init__(self, *volumes: Object, starts: bool = True, policy: str = "Retain") -> None:
        super().__init__(copy.deepcopy(MODEL), *volumes)
        self.nfs = Server()
        self.starts, self.policy = starts, policy
        self.shell = self.in_pod
        self.on_merge = self.free
        self.on_delete = self.release

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        made = super().apply(copy.deepcopy(manifest), dry_run=dry_run)
        if manifest["kind"] == "PersistentVolumeClaim":
            one = next(one for one in self.list("PersistentVolume") if one["status"]["phase"] == "Available")
            one["status"]["phase"] = "Bound"
            one["spec"]["claimRef"] = {"namespace": "course", "name": manifest["metadata"]["name"]}
            made["spec"]["volumeName"] = one["metadata"]["name"]
        else:
            self.objects.append(pod(f"{retained.NAME}-1", "w1", app=retained.NAME, ready=self.starts))
        return made

    def release(self, kind: str, name: str) -> None:
        if kind == "Deployment":
            self.objects = [one for one in self.objects if one["kind"] != "Pod"]
        for one in self.list("PersistentVolume") if kind == "PersistentVolumeClaim" else ():
            if one["spec"].get("claimRef", {}).get("name") == name:
                one["status"]["phase"] = "Released"
                if self.policy == "Recycle":
                    self.nfs.files.clear()

    def free(self, kind: str, name: str, patch: Object) -> None:
        assert patch == {"spec": {"claimRef": None}}
        self.live(kind, name)["status"]["phase"] = "Available"

    def in_pod(self, name: str, command: Sequence[str]) -> str:
        assert name == f"{retained.NAME}-1"
        held = [one for one in self.list("PersistentVolume") if one["status"]["phase"] == "Bound"]
        path = command[5].replace("/data", held[-1]["spec"]["nfs"]["path"])
        self.nfs.files[path] = command[4]
        return ""


def checked(tmp_path: Path, api: Api, **more: Any) -> dict[str, Any]:
    where = context(tmp_path, api, hosts={"master": api.nfs})
    return findings(retained.CHECK, replace(where, **more))


@pytest.mark.parametrize(
    ("api", "code", "ok"),
    [
        (Api(volume("nfs-01")), "STORAGE_RETAINED", True),
        (Api(volume("nfs-01"), policy="Recycle"), "STORAGE_NOT_RETAINED", False),
        (Api(volume("nfs-01"), starts=False), "STORAGE_NO_PODS", False),
        (Api(volume("nfs-01", "Bound")), "NOT_TRIED", True),
        (Api(volume("other", storageClassName="another")), "NOT_TRIED", True),
    ],
)
def test_findings_on_the_file(tmp_path: Path, api: Api, code: str, ok: bool) -> None:
    api.nfs.files["/srv/nfs/nfs-01/of-others"] = "kept"
    before = copy.deepcopy(api.list("PersistentVolume"))
    found = checked(tmp_path, api)
    assert {name: one.ok for name, (one,) in found.items()} == {code: ok}
    assert all(one.evidence for (one,) in found.values() if not one.ok)
    assert api.list("PersistentVolume") == before, "the volume is as before"
    assert [one["metadata"]["name"] for one in api.objects if one["kind"] != "PersistentVolume"] == ["shared-volume"]
    assert f"/srv/nfs/nfs-01/{retained.FILE}" not in api.nfs.files


def test_other_files_stay(tmp_path: Path) -> None:
    api = Api(volume("nfs-01"))
    api.nfs.files["/srv/nfs/nfs-01/of-others"] = "kept"
    checked(tmp_path, api)
    assert api.nfs.files == {"/srv/nfs/nfs-01/of-others": "kept"}


def test_the_pod_is_like_those_of_the_shared_volume_but_idle(tmp_path: Path) -> None:
    api = Api(volume("nfs-01"))
    checked(tmp_path, api)
    claim, deployment = api.applied
    assert claim["spec"]["storageClassName"] == "nfs"
    spec = deployment["spec"]["template"]["spec"]
    assert spec == {
        "securityContext": {"runAsUser": 65534},
        "containers": [{"name": "agnhost", "image": "agnhost:1", "args": ["pause"]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": retained.NAME}}],
    }


def test_the_volume_of_a_killed_run_is_released(tmp_path: Path) -> None:
    ours = volume("nfs-01", "Released", claimRef={"namespace": "course", "name": retained.NAME})
    others = volume("nfs-02", "Released", claimRef={"namespace": "course", "name": "of-others"})
    api = Api(ours, others)
    assert set(checked(tmp_path, api)) == {"STORAGE_RETAINED"}
    assert ours["status"]["phase"] == "Available"
    assert others["status"]["phase"] == "Released"


def test_a_slow_site_skips_it(tmp_path: Path) -> None:
    api = Api(volume("nfs-01"))
    site = context(tmp_path, api).site
    slow = site.model_copy(update={"cluster": site.cluster.model_copy(update={"timeout_scale": 8.0})})
    assert set(checked(tmp_path, api, site=slow)) == {"NOT_TRIED"}
    assert api.applied == []

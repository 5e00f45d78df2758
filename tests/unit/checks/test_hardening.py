"""The hardening check: what it makes of etcd's bytes, audit logs, admission and the kubelets' answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import CHECKS, hardening
from provisioner.checks.check import Finding
from provisioner.errors import ApiForbidden, ClusterError
from provisioner.kube import Object
from provisioner.site import HostSpec
from provisioner.ssh.command import CommandResult
from tests import hosts_toml
from tests.unit.checks.contexts import context, findings
from tests.unit.fake_cluster import FakeCluster
from tests.unit.kube.test_hardening import cluster_of
from tests.unit.objects import node

TEXT = '[cluster]\nkubernetes = "1.37"\nvip = "192.0.2.9"\ntimeout_scale = 0.001\n' + "".join(
    hosts_toml.host(name, f"192.0.2.{number}", role)
    for number, (name, role) in enumerate((("a", "control-plane"), ("b", "control-plane"), ("w", "worker")), 10)
)
FLAGS = [
    "audit-log-maxage=30", "audit-log-maxbackup=10", "audit-log-maxsize=100",
    "kubelet-certificate-authority=/etc/kubernetes/pki/ca.crt",
]  # fmt: skip


@dataclass
class Cluster:
    """A hardened cluster and its hosts; the fields are what can be wrong."""

    folder: Path
    prefix: bytes = b"k8s:enc:secretbox:v1:key1:"
    plain: bool = False  # the value lies in etcd, whatever its prefix
    restricted: tuple[str, ...] = ("verify-hardening-",)
    logged: bool = True
    leaks: bool = False
    sizes: tuple[int, ...] = (1000,)
    flags: list[str] = field(default_factory=lambda: [*FLAGS])
    answers: dict[str, str] = field(default_factory=dict)  # by "NODE QUESTION"
    protects: bool = True
    forbidden: str = ""
    other_key: str = ""  # a control plane whose API server cannot read the Secret
    off: tuple[str, ...] = ()
    made: FakeCluster = field(default_factory=FakeCluster)

    def found(self) -> dict[str, list[Finding]]:
        lines = "".join(f"{item} = false\n" for item in self.off)
        site = hosts_toml.load(self.folder, f"{TEXT}\n[hardening]\n{lines}")
        self.made = cluster_of(site).hold(*(node(name) for name in "abw"))
        self.made.shell = self.etcdctl
        self.made.admit = self.admit
        config = {"kubeletconfig": {"protectKernelDefaults": self.protects}}
        self.made.answers = {f"/api/v1/nodes/{name}/proxy/configz": config for name in "abw"}
        hosts = {spec.name: Machine(self, spec) for spec in site.hosts}
        original = self.made.apply

        def apply(manifest: Object, *, dry_run: bool = False) -> Object:
            if manifest["kind"] == "Namespace":
                account = {"name": "default", "namespace": manifest["metadata"]["name"]}
                self.made.hold({"kind": "ServiceAccount", "metadata": account})
            return original(manifest, dry_run=dry_run)

        self.made.apply = apply  # type: ignore[method-assign]
        return findings(hardening.CHECK, context(self.folder, self.made, TEXT, hosts))

    @property
    def token(self) -> str:
        (secret,) = [one for one in self.made.applied if one["kind"] == "Secret"]
        return str(secret["stringData"]["token"])

    def etcdctl(self, pod: str, command: Sequence[str]) -> str:
        assert command[-1].startswith("/registry/secrets/default/verify-hardening-")
        raw = self.prefix + (self.token.encode() if self.plain else b"\x00\xff")
        return json.dumps({"kvs": [{"value": base64.b64encode(raw).decode()}]})

    def admit(self, pod: Object) -> None:
        assert pod["spec"]["containers"][0]["securityContext"]["privileged"]
        if pod["metadata"]["namespace"].startswith(self.restricted or "-"):
            raise ApiForbidden('the API refused to apply Pod: violates PodSecurity "baseline:latest" (403)')


@dataclass
class Machine:
    """A host that answers what the check asks."""

    cluster: Cluster
    spec: HostSpec

    @property
    def name(self) -> str:
        return self.spec.name

    def run(self, command: str, **_: Any) -> CommandResult:
        if "grep -cF" in command:
            here = self.name == "a" and self.cluster.logged
            lines = [f"found {int(here)}", f"leaked {int(self.cluster.leaks)}"]
            lines += [f"size {size} audit-{number}.log" for number, size in enumerate(self.cluster.sizes)]
            return self._says([*lines, *(f"flag {flag}" for flag in self.cluster.flags)])
        if "kubectl" in command:
            encoded = base64.b64encode(self.cluster.token.encode()).decode()
            return self._says(["" if self.name == self.cluster.other_key else encoded])
        if "curl" in command:
            usual = {"anonymous": "401", "read-only": "000", "verified": "401"}
            asked = [f"{name} {question}" for name in "abw" for question in usual]
            return self._says([f"{one} {self.cluster.answers.get(one, usual[one.split()[1]])}" for one in asked])
        if "cmdline" in command:
            return self._says([f"flag {flag}" for flag in self.cluster.flags])
        if "[ -w " in command:
            return self._says([self.cluster.forbidden])
        assert command == "true", command
        return self._says([])

    def _says(self, lines: list[str]) -> CommandResult:
        return CommandResult("".join(f"{line}\n" for line in lines), "", 0, 0.0)


def bad(seen: dict[str, list[Finding]]) -> list[str]:
    return [code for code, each in seen.items() if not all(one.ok for one in each)]


def test_a_hardened_cluster(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    seen = cluster.found()
    assert bad(seen) == []
    assert {code: len(each) for code, each in seen.items()} == {
        "SECRETS_ENCRYPTED": 1, "SECRETS_READABLE": 1, "AUDIT_LOGGED": 1, "AUDIT_LIMITED": 2, "PODS_RESTRICTED": 1,
        "PODS_SYSTEM_ADMITTED": 1, "KUBELET_CLOSED": 3, "KUBELETS_VERIFIED": 1,
    }  # fmt: skip
    assert cluster.made.names("Secret") == cluster.made.names("Namespace") == [], "what was made is deleted"
    assert hardening.CHECK in CHECKS


@pytest.mark.parametrize(
    ("wrong", "codes"),
    [
        ({"prefix": b"k8s\x00\n\x0c", "plain": True}, ["SECRETS_PLAIN"]),
        ({"plain": True}, ["SECRETS_PLAIN"]),
        ({"prefix": b"k8s:enc:aescbc:v1:key1:"}, ["SECRETS_PLAIN"]),
        ({"other_key": "b"}, ["SECRETS_UNREADABLE"]),
        ({"logged": False}, ["AUDIT_MISSING"]),
        ({"leaks": True}, ["AUDIT_LEAKS"]),
        ({"sizes": (200 * 2**20,)}, ["AUDIT_NOT_ROTATED"]),
        ({"sizes": (100 * 2**20,) * 12}, ["AUDIT_NOT_ROTATED"]),
        ({"flags": FLAGS[3:]}, ["AUDIT_UNLIMITED"]),
        ({"restricted": ()}, ["PODS_UNRESTRICTED"]),
        ({"restricted": ("verify-hardening-", "kube-system")}, ["PODS_SYSTEM_RESTRICTED"]),
        ({"answers": {"w anonymous": "200"}}, ["KUBELET_ANONYMOUS"]),
        ({"answers": {"w anonymous": "000", "w verified": "000"}}, ["KUBELET_SILENT", "KUBELET_UNVERIFIED"]),
        ({"answers": {"b read-only": "200"}}, ["KUBELET_READ_ONLY_PORT"]),
        ({"answers": {"w verified": "000"}}, ["KUBELET_UNVERIFIED"]),
        ({"flags": FLAGS[:3]}, ["KUBELETS_NOT_VERIFIED"]),
        ({"protects": False}, ["KUBELET_UNPROTECTED"]),
        ({"protects": False, "forbidden": "/proc/sys/kernel/panic"}, []),
    ],
)
def test_what_does_not_hold(tmp_path: Path, wrong: dict[str, Any], codes: list[str]) -> None:
    cluster = Cluster(tmp_path, **wrong)
    seen = cluster.found()
    assert bad(seen) == codes
    assert all(one.remedy for code in codes for one in seen[code])
    assert cluster.made.names("Secret") == cluster.made.names("Namespace") == []


def test_items_that_the_cluster_does_not_have_are_not_tried(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, off=("encryption", "audit", "pod_security", "kubelet", "verify_kubelets"))
    seen = cluster.found()
    assert list(seen) == ["NOT_TRIED"]
    assert cluster.made.applied == []


def test_the_value_never_reaches_a_finding(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, prefix=b"", plain=True)
    (finding,) = cluster.found()["SECRETS_PLAIN"]
    assert cluster.token[:8] not in str(finding)


def test_a_pod_refused_for_another_reason_proves_nothing(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)

    def quota(pod: Object) -> None:
        raise ApiForbidden("the API refused to apply Pod: exceeded quota (403)")

    cluster.admit = quota  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match="exceeded quota"):
        cluster.found()

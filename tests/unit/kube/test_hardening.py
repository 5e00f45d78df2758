"""The files of a hardened API server, and what a running cluster was created with."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml

from provisioner.kube import hardening as documents
from provisioner.kube import kubeadm
from provisioner.redact import redact
from provisioner.site import Site, hardening
from tests.hosts_toml import UNHARDENED
from tests.unit.fake_cluster import FakeCluster
from tests.unit.kube.test_kubeadm_drift import document
from tests.unit.steps.doubles import site_at


def cluster_of(site: Site) -> FakeCluster:
    """Return a cluster that was created from this site."""
    made = {one["kind"]: one for one in kubeadm.init_documents(site, site.first)}
    return FakeCluster(
        document("kubeadm-config", "ClusterConfiguration", made["ClusterConfiguration"]),
        document("kubelet-config", "kubelet", made["KubeletConfiguration"]),
    )


@pytest.mark.parametrize("version", ["1.20.2", "1.22", "1.23", "1.30", "1.37"])
@pytest.mark.parametrize("off", [(), ("encryption",), ("audit", "kubelet"), hardening.ITEMS])
def test_what_a_cluster_was_created_with_is_read_from_it(tmp_path: Path, version: str, off: tuple[str, ...]) -> None:
    lines = "".join(f"{item} = false\n" for item in off)
    site = site_at(tmp_path, f'kubernetes = "{version}"', f"[hardening]\n{lines}")
    found = documents.created_with(cluster_of(site), site_at(tmp_path, f'kubernetes = "{version}"'))  # type: ignore[arg-type]
    assert found == hardening.items(site)


def test_a_cluster_without_kubeadms_config_map_tells_nothing(tmp_path: Path) -> None:
    assert documents.created_with(FakeCluster(), site_at(tmp_path)) is None  # type: ignore[arg-type]


def test_a_file_of_the_operators_own_is_not_ours(tmp_path: Path) -> None:
    other = '[kubeadm]\napi_server = { "audit-policy-file" = "/etc/kubernetes/pki/audit.yaml" }\n'
    site = site_at(tmp_path, rest=other)
    assert "audit" not in (documents.created_with(cluster_of(site), site) or ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "api"), [("1.23", "v1beta1"), ("1.24", "v1beta1"), ("1.25", "v1"), ("1.37", "v1")]
)
def test_pod_security_by_version(tmp_path: Path, version: str, api: str) -> None:
    text = documents.files(site_at(tmp_path, f'kubernetes = "{version}"'))[hardening.ADMISSION]
    (plugin,) = yaml.safe_load(text)["plugins"]
    assert plugin["name"] == "PodSecurity"
    assert plugin["configuration"]["apiVersion"] == f"pod-security.admission.config.k8s.io/{api}"
    assert plugin["configuration"]["defaults"]["enforce"] == "baseline"
    assert {"kube-system", "kube-flannel", "metallb-system"} <= set(
        plugin["configuration"]["exemptions"]["namespaces"]
    )


def test_files_of_items_that_are_off_are_not_written(tmp_path: Path) -> None:
    assert documents.files(site_at(tmp_path, rest=UNHARDENED)) == {}
    assert set(documents.files(site_at(tmp_path, 'kubernetes = "1.20.2"'))) == {hardening.AUDIT_POLICY}


def test_the_audit_policy_never_logs_a_body(tmp_path: Path) -> None:
    policy = yaml.safe_load(documents.files(site_at(tmp_path))[hardening.AUDIT_POLICY])
    assert {rule["level"] for rule in policy["rules"]} == {"None", "Metadata"}
    assert policy["rules"][-1] == {"level": "Metadata"}, "what no rule names is logged"


def test_every_key_is_new_of_32_bytes_and_masked_wherever_it_is_printed() -> None:
    texts = [documents.new_encryption() for _ in range(2)]
    keys = []
    for text in texts:
        (resource,) = yaml.safe_load(text)["resources"]
        assert resource["resources"] == ["secrets"]
        first, last = resource["providers"]
        (key,) = first["secretbox"]["keys"]
        assert len(base64.b64decode(key["secret"], validate=True)) == 32
        assert last == {"identity": {}}, "what was written before stays readable"
        assert key["secret"] not in redact(f"{text} {key['secret']}")
        keys.append(key["secret"])
    assert keys[0] != keys[1]

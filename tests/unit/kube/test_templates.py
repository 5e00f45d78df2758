"""Which file a manifest is read from."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.kube import templates
from tests import hosts_toml

ROOT = Path(__file__).parents[3]


def test_a_file_beside_hosts_toml_takes_precedence_over_the_shipped_one(tmp_path: Path) -> None:
    site = hosts_toml.load(tmp_path, hosts_toml.host("master", "192.0.2.10", "control-plane"))
    assert templates.find(site, "workloads/hpa.yaml") == ROOT / "workloads/hpa.yaml"
    (tmp_path / "workloads").mkdir()
    own = tmp_path / "workloads/hpa.yaml"
    own.write_text("{apiVersion: v1, kind: Namespace, metadata: {name: '${cluster}'}}")
    assert templates.find(site, "workloads/hpa.yaml") == own
    assert [item["metadata"]["name"] for item in templates.read(site, "workloads/hpa.yaml")] == ["lab"]


def test_a_missing_file_is_reported_with_the_paths_tried(tmp_path: Path) -> None:
    site = hosts_toml.load(tmp_path, hosts_toml.host("master", "192.0.2.10", "control-plane"))
    with pytest.raises(ProvisionerError) as raised:
        templates.find(site, "nfs/absent.yaml")
    assert raised.value.message == (
        f"nfs/absent.yaml not found (tried {tmp_path}/nfs/absent.yaml and {ROOT}/nfs/absent.yaml)"
    )
    assert raised.value.remedy == "the shipped ones are storageclass, storageclass-csi and volume"

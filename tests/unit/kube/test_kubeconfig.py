"""Merging the admin kubeconfig into a person's own."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.errors import ProvisionerError
from provisioner.kube import kubeconfig

ADMIN: dict[str, Any] = {
    "clusters": [{"name": "kubernetes", "cluster": {"server": "https://192.0.2.10:6443"}}],
    "contexts": [{"name": "kubernetes-admin@kubernetes", "context": {"cluster": "kubernetes", "user": "x"}}],
    "users": [{"name": "kubernetes-admin", "user": {"client-key-data": "a2V5"}}],
    "current-context": "kubernetes-admin@kubernetes",
}


def test_merging_keeps_other_contexts_and_replaces_its_own(tmp_path: Path) -> None:
    path = tmp_path / ".kube" / "config"
    kubeconfig.merge_into(path, kubeconfig.renamed(ADMIN, "work"))
    kubeconfig.merge_into(path, kubeconfig.renamed(ADMIN, "lab"))
    changed = {**ADMIN, "clusters": [{"name": "kubernetes", "cluster": {"server": "https://192.0.2.99:6443"}}]}
    kubeconfig.merge_into(path, kubeconfig.renamed(changed, "lab"))
    found = yaml.safe_load(path.read_text())
    assert [entry["name"] for entry in found["clusters"]] == ["work", "lab"]
    assert [entry["name"] for entry in found["users"]] == ["work-admin", "lab-admin"]
    assert found["clusters"][1]["cluster"]["server"] == "https://192.0.2.99:6443"
    assert found["clusters"][0]["cluster"]["server"] == "https://192.0.2.10:6443"
    assert found["current-context"] == "lab"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = yaml.safe_load(path.with_name("config.before").read_text())
    assert before["clusters"][1]["cluster"]["server"] == "https://192.0.2.10:6443"


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [\n"])
def test_a_file_that_is_not_a_kubeconfig_is_not_changed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ProvisionerError, match="nothing was merged"):
        kubeconfig.merge_into(path, kubeconfig.renamed(ADMIN, "lab"))
    assert path.read_text() == text

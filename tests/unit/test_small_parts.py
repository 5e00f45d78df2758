"""sudo's password sources, OpenSSH's words, kubeconfig merging, the table of nodes."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.cli import status
from provisioner.errors import ProvisionerError
from provisioner.kube import kubeconfig
from provisioner.ssh import openssh
from provisioner.ssh.connect import jump_login, login
from provisioner.ssh.sudo import read_password
from tests.unit.sites import site


class TestPassword:
    def test_from_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SUDO_PW", "x y")
        assert read_password("env:SUDO_PW", tmp_path) == "x y"
        monkeypatch.delenv("SUDO_PW")
        with pytest.raises(ProvisionerError, match=r"\$SUDO_PW, which is not set"):
            read_password("env:SUDO_PW", tmp_path)

    def test_from_a_private_file_only(self, tmp_path: Path) -> None:
        file = tmp_path / "pw"
        file.write_text("secret word\n")
        file.chmod(0o600)
        assert read_password("file:pw", tmp_path) == "secret word"
        for mode in (0o640, 0o604, 0o620):
            file.chmod(mode)
            with pytest.raises(ProvisionerError, match="others may read") as caught:
                read_password("file:pw", tmp_path)
            assert "chmod 600" in caught.value.remedy
        with pytest.raises(ProvisionerError, match="cannot read"):
            read_password("file:nothing", tmp_path)


class TestLogin:
    def test_a_hosts_own_settings_come_first(self, tmp_path: Path) -> None:
        text = '[ssh]\nuser = "a"\nkey = "keys/id"\nport = 2022\n'
        made = site(text, tmp_path)
        target = login(made, made.hosts[1])
        assert (target.user, target.address, target.port) == ("a", "192.0.2.11", 2022)
        assert target.key == str(tmp_path / "keys/id")
        own = made.hosts[1].ssh.model_copy(update={"user": "b", "port": 23})
        other = made.hosts[1].model_copy(update={"ssh_address": "node.example.org", "ssh": own})
        target = login(made, other)
        assert (target.user, target.address, target.port) == ("b", "node.example.org", 23)

    @pytest.mark.parametrize(
        ("jump", "user", "address", "port"),
        [
            ("gate", "vagrant", "gate", 22),
            ("ann@gate:2222", "ann", "gate", 2222),
            ("a@[fd00::1]:23", "a", "fd00::1", 23),
        ],
    )
    def test_jump(self, jump: str, user: str, address: str, port: int) -> None:
        found = jump_login(site(f'[ssh]\njump = "{jump}"\n'))
        assert found is not None
        assert (found.user, found.address, found.port) == (user, address, port)

    def test_openssh_judges_host_keys_as_we_do(self, tmp_path: Path) -> None:
        made = site('[ssh]\nhost_keys = "strict"\njump = "j@gate:2222"\nkey = "/k"\n', tmp_path)
        words = openssh.arguments(made, made.hosts[0])
        known = f'UserKnownHostsFile="{tmp_path}/.provisioner/known_hosts"'
        assert words[0] == "ssh"
        assert words[-1] == "vagrant@192.0.2.10"
        assert "StrictHostKeyChecking=yes" in words
        assert known in words
        proxy = next(word for word in words if word.startswith("ProxyCommand="))
        assert "-p 2222" in proxy
        assert "StrictHostKeyChecking=yes" in proxy
        assert proxy.endswith("-W '[%h]:%p' j@gate")
        off = openssh.arguments(site('[ssh]\nhost_keys = "off"\n'), made.hosts[0])
        assert 'UserKnownHostsFile="/dev/null"' in off


ADMIN: dict[str, Any] = {
    "clusters": [{"name": "kubernetes", "cluster": {"server": "https://192.0.2.10:6443"}}],
    "contexts": [{"name": "kubernetes-admin@kubernetes", "context": {"cluster": "kubernetes", "user": "x"}}],
    "users": [{"name": "kubernetes-admin", "user": {"client-key-data": "a2V5"}}],
    "current-context": "kubernetes-admin@kubernetes",
}


class TestKubeconfig:
    def test_merging_keeps_others_and_replaces_its_own(self, tmp_path: Path) -> None:
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
    def test_a_file_that_is_no_kubeconfig_is_left_alone(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "config"
        path.write_text(text)
        with pytest.raises(ProvisionerError, match="nothing was merged"):
            kubeconfig.merge_into(path, kubeconfig.renamed(ADMIN, "lab"))
        assert path.read_text() == text


def node(name: str, ready: str = "True", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {}, "creationTimestamp": "2020-01-01T00:00:00Z"},
        "spec": spec,
        "status": {
            "conditions": [{"type": "Ready", "status": ready}, {"type": "DiskPressure", "status": "False"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.10"}],
            "nodeInfo": {"kubeletVersion": "v1.31.2"},
        },
    }


def test_status_shows_what_the_site_and_the_api_know() -> None:
    nodes = {"master": node("master", unschedulable=True), "two": node("two", "Unknown"), "stray": node("stray")}
    nodes["master"]["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = ""
    found = {row["name"]: row for row in status.rows(site(), nodes)}
    assert list(found) == ["master", "one", "two", "stray"]
    assert found["master"]["status"] == "Ready, cordoned"
    assert found["master"]["roles"] == "control-plane"
    assert found["one"]["status"] == "not a node"
    assert found["two"]["status"] == "Unknown"
    assert found["stray"]["status"] == "Ready, not in hosts.toml"
    heading, *lines = status.table(list(found.values()))
    assert heading.split() == ["NAME", "STATUS", "ROLES", "VERSION", "ADDRESS", "AGE"]
    assert len(lines) == 4

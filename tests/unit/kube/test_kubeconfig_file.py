"""A user's kubeconfig: files merged as kubectl merges them, and mistakes that name file, key and remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import Inconclusive
from provisioner.kube import kubeconfig_file


def document(name: str = "home", **changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example:6443"}}],
        "users": [{"name": name, "user": {"token": name}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
        **changes,
    }


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))  # JSON is YAML
    return path


def test_the_current_context_is_the_first_files_and_the_first_of_a_name_wins(tmp_path: Path) -> None:
    first = write(tmp_path / "first", document("home") | {"current-context": ""})
    second = write(tmp_path / "second", document("work"))
    third = write(tmp_path / "third", document("home", users=[{"name": "home", "user": {"token": "later"}}]))
    merged = [first, second, third]
    assert kubeconfig_file.load(merged).context == "work"
    home = kubeconfig_file.load(merged, "home")
    assert (home.server, home.user) == ("https://home.example:6443", {"token": "home"})
    assert home.files == f"{first}:{second}:{third}"


def test_paths_are_relative_to_the_file_that_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    cluster = {"server": "https://192.0.2.1:6443", "certificate-authority": "ca.crt"}
    user = {"client-certificate": "/abs/own.crt", "client-key": "keys/own.key"}
    text = document(clusters=[{"name": "home", "cluster": cluster}], users=[{"name": "home", "user": user}])
    write(tmp_path / "etc/config", text)
    monkeypatch.chdir(tmp_path)
    found = kubeconfig_file.load([Path("etc/config")])
    assert found.cluster["certificate-authority"] == str(tmp_path / "etc/ca.crt")
    assert found.user == {"client-certificate": "/abs/own.crt", "client-key": str(tmp_path / "etc/keys/own.key")}


def test_the_default_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kubeconfig_file.default_paths({}) == ()
    (tmp_path / ".kube").mkdir()
    own = write(tmp_path / ".kube/config", document())
    other = write(tmp_path / "other", document())
    assert kubeconfig_file.default_paths({}) == (own,)
    assert kubeconfig_file.default_paths({"KUBECONFIG": f"{other}::{tmp_path}/gone:~/.kube/config"}) == (other, own)
    assert kubeconfig_file.default_paths({"KUBECONFIG": f"{tmp_path}/gone"}) == ()


@pytest.mark.parametrize(
    ("content", "context", "message"),
    [
        ("", "", "is not a kubeconfig"),
        ("- a", "", "is not a kubeconfig"),
        ("clusters: [\n", "", "FILE:2: is not YAML"),
        (
            document(clusters={}),
            "",
            "context 'home' names the cluster 'home', which is missing; the clusters are none",
        ),
        (document(clusters={"a": 1}), "", "clusters is not a list"),
        (document(users=[{"user": {}}]), "", "users[0] is not a named user"),
        (document(users=[]), "", "context 'home' names the user 'home', which is missing"),
        (document(**{"current-context": ""}), "", "no current-context; choose one with --context: home"),
        (document(), "work", "no context 'work'; the contexts are home"),
        (document(clusters=[{"name": "home", "cluster": {}}]), "", "cluster 'home' has no server URL"),
    ],
)
def test_a_mistake_names_file_and_remedy(tmp_path: Path, content: Any, context: str, message: str) -> None:
    path = write(tmp_path / "config", content)
    with pytest.raises(Inconclusive) as caught:
        kubeconfig_file.load([path], context)
    assert message.replace("FILE", str(path)) in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.remedy


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path, what in ((tmp_path / "gone", "no such file"), (tmp_path, "is not a regular file")):
        with pytest.raises(Inconclusive, match=what):
            kubeconfig_file.load([path])


def test_a_syntax_error_does_not_show_a_key(tmp_path: Path) -> None:
    path = write(tmp_path / "config", "users: [{client-key-data: c2VjcmV0\nclusters: {")
    with pytest.raises(Inconclusive) as caught:
        kubeconfig_file.load([path])
    assert "c2VjcmV0" not in str(caught.value)
    assert caught.value.__cause__ is None

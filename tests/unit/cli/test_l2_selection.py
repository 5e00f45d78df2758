"""Which cluster an l2 command asks about, and that its messages name the same one and never suggest `apply`."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from provisioner.cli import l2_sources
from provisioner.cli.kubectl_l2 import kubectl_l2
from provisioner.cli.l2 import l2
from provisioner.cli.l2_selection import Selection
from provisioner.cli.options import Options
from provisioner.errors import ApiUnreachable, Inconclusive
from provisioner.kube import ApiState, ClusterView
from provisioner.l2.collect import collector
from provisioner.l2.facts import Facts, Node

ROOT = Path(__file__).parents[3]
FACTS = Facts(nodes=(Node(name="w1"),), services=())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("SUDO_USER", raising=False)
    return tmp_path


def kubeconfig(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example"}} for name in names],
        "users": [{"name": name, "user": {}} for name in names],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in names],
        "current-context": names[0],
    }
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the API servers that are read, instead of reading them; each has FACTS."""
    servers: list[str] = []

    def from_cluster(cluster: Any, hosts: Any, site: Any, **_: Any) -> Facts:
        assert (hosts, site) == (None, None), "no SSH without hosts.toml"
        servers.append(cluster._api.access.server)
        return FACTS

    monkeypatch.setattr(ClusterView, "state", lambda self: ApiState.READY)
    monkeypatch.setattr(collector, "from_cluster", from_cluster)
    return servers


def run(*words: str, plugin: bool = False, **options: Any) -> Result:
    if plugin:
        return CliRunner().invoke(kubectl_l2, words)
    return CliRunner().invoke(l2, words, obj=Options(**options))


@pytest.mark.parametrize(
    ("words", "server"),
    [
        ((), "https://home.example"),
        (("--context", "work"), "https://work.example"),
        (("--kubeconfig", "other"), "https://other.example"),
    ],
)
def test_without_hosts_toml_a_kubeconfig_is_read(
    home: Path, read: list[str], words: tuple[str, ...], server: str
) -> None:
    kubeconfig(home / ".kube/config", "home", "work")
    kubeconfig(home / "other", "other")
    ended = run("collect", "-o", "-", *words)
    assert (ended.exit_code, read) == (0, [server]), ended.stderr
    assert [node["name"] for node in json.loads(ended.stdout)["nodes"]] == ["w1"]


def test_a_kubeconfig_of_the_environment(home: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    kubeconfig(home / ".kube/config", "home")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(home / "env", "env")))
    assert run("collect", "-o", "-").exit_code == 0
    assert read == ["https://env.example"]


def test_hosts_toml_comes_before_the_default_kubeconfig_and_after_an_explicit_one(
    home: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_session(*_: Any) -> Any:
        raise Inconclusive("hosts.toml was used")

    monkeypatch.setattr(l2_sources, "open_session", open_session)
    kubeconfig(home / ".kube/config", "home")
    (home / "hosts.toml").touch()
    assert "hosts.toml was used" in run("collect", "-o", "-").stderr
    assert run("collect", "-o", "-", "--context", "home").exit_code == 0
    assert run("collect", "-o", "-", plugin=True).exit_code == 0, "kubectl l2 does not read hosts.toml"
    assert read == ["https://home.example"] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "--facts", "x", "--context", "y"), "--context and --facts are two sources"),
        (("check", "--offline", "--kubeconfig", "y"), "--offline contacts no cluster: leave out --kubeconfig"),
        (("collect", "-o", "-", "--context", "y"), "no kubeconfig for --context y; $KUBECONFIG and ~/.kube/config"),
        (("collect", "-o", "-"), "there is no cluster to read: neither hosts.toml nor a kubeconfig"),
        (("check", "--kubeconfig", "gone"), "gone: no such file"),
    ],
)
def test_a_contradiction_or_a_missing_file_is_an_error(words: tuple[str, ...], message: str) -> None:
    ended = run(*words)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert message in ended.stderr


def test_a_site_and_a_kubeconfig_exclude_each_other() -> None:
    ended = run("check", "--context", "x", file=Path("lab.toml"))
    assert "-f lab.toml and --context name two clusters" in ended.stderr


def test_an_unreachable_cluster_says_which_and_how_to_probe_without(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raw(self: Any, path: str, retry_for: float = 30) -> Any:
        raise ApiUnreachable("the API at https://home.example does not answer: timed out")

    monkeypatch.setattr(ClusterView, "raw", raw)
    path = kubeconfig(home / ".kube/config", "home")
    ended = run("check", "default/web")
    assert f"cannot read the cluster (context home of {path} (https://home.example); --offline probes" in ended.stderr
    assert ended.exit_code == 2


def test_commands_in_messages_find_the_same_cluster(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/kubectl-l2"])
    selection = Selection(kubeconfig=Path("my config"), context="work")
    options = Options(plugin=True, siteless=True, kubectl=selection.words(cluster_only=True))
    assert selection.words() == " --kubeconfig 'my config' --context work"
    assert options.runnable("kubectl -n a get pods; provisioner l2 scan 192.0.2.1") == (
        "kubectl --kubeconfig 'my config' --context work -n a get pods; kubectl l2 scan 192.0.2.1"
    )
    assert options.runnable("provisioner exec --limit w1 -- ip link") == "ssh w1 sudo ip link"
    assert options.runnable("look: provisioner status") == (
        "look: kubectl --kubeconfig 'my config' --context work get nodes"
    )
    assert options.runnable(options.runnable("kubectl get nodes")).count("--context") == 1


@pytest.mark.parametrize("output", [("-o", "json", "check", "x/y"), ("check", "x/y", "-o", "json")])
def test_the_plugin_takes_its_output_format_on_either_side(output: tuple[str, ...]) -> None:
    ended = run(*output, plugin=True)
    assert json.loads(ended.stdout)["problem"].startswith("'x/y' is not an address")


def test_no_text_of_l2_suggests_apply() -> None:
    """A diagnosis is run by people who may not want to change the cluster, or whose cluster is not of this project."""
    suggestion = re.compile(r"\b(provisioner|kubectl)( -\S+( \S+)?)* apply\b")
    assert suggestion.search("; provisioner -f x.toml apply")
    assert suggestion.search("kubectl apply -f metallb/metrics.yaml")
    files = [*(ROOT / "provisioner/l2").rglob("*.py"), *(ROOT / "provisioner/cli").glob("l2*.py")]
    assert len(files) > 60
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not suggestion.search(node.value), f"{path.name}: {node.value}"
    for path in (ROOT / "docs/l2").glob("*.md"):
        assert not suggestion.search(path.read_text()), path.name

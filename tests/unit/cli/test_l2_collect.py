"""`l2 collect`: the file, stdout, and a cluster that is lost during the run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from provisioner.cli import l2_sources
from provisioner.cli.l2 import l2
from provisioner.cli.options import Options
from provisioner.errors import ClusterError
from provisioner.kube import ApiState
from provisioner.l2 import facts_file
from provisioner.l2.collect import collector
from provisioner.l2.facts import Counters, Facts, Metrics, Node, Service

FACTS = Facts(nodes=(Node(name="w1"),), services=(Service(namespace="a", name="web"),))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    (tmp_path / "hosts.toml").touch()
    return tmp_path


def run(
    monkeypatch: pytest.MonkeyPatch,
    *words: str,
    note: str = "",
    reachable: bool = True,
    state: ApiState = ApiState.READY,
    counted: Metrics | None = None,
) -> Result:
    """Run the command with a cluster that returns FACTS and the metrics `counted`. note: on what could not be read."""

    @contextmanager
    def open_session(*_: Any) -> Iterator[Any]:
        cluster = SimpleNamespace(reachable=lambda: reachable, state=lambda: state)
        yield SimpleNamespace(cluster=cluster, hosts={}, site=None, report=SimpleNamespace(emit=lambda *_: None))

    def from_cluster(*_: Any, note: Any, **__: Any) -> Facts:
        if unread:
            note(unread)
        return FACTS

    unread = note
    monkeypatch.setattr(l2_sources, "open_session", open_session)
    monkeypatch.setattr(collector, "from_cluster", from_cluster)
    monkeypatch.setattr(collector, "metrics", lambda *_, **__: counted)
    return CliRunner().invoke(l2, ["collect", *words], obj=Options())


def test_the_file_contains_the_facts_for_the_next_command(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(monkeypatch, "-o", "my facts.json")
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert facts_file.load(here / "my facts.json") == FACTS
    assert "nodes: 1, Services of type LoadBalancer: 1" in ended.stderr
    assert "provisioner l2 check --facts 'my facts.json'" in ended.stderr


def test_stdout_has_only_the_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(monkeypatch, "-o", "-", note="w1: no network cards: connection refused")
    assert ended.exit_code == 0
    assert json.loads(ended.stdout)["schema"] == "l2facts/v2"
    assert ended.stderr == "note: w1: no network cards: connection refused\n"


def test_a_cluster_lost_during_the_run_is_status_two(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(monkeypatch, "-o", "facts.json", note="the API was lost midway", reachable=False)
    assert ended.exit_code == 2
    assert "inconclusive: lost the cluster during the run" in ended.stderr
    assert facts_file.load(here / "facts.json") == FACTS  # what was read is kept


def test_without_a_cluster_the_old_file_is_unchanged(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "facts.json").write_text("old")

    def open_session(*_: Any) -> Any:
        raise ClusterError("there is no cluster yet", "provisioner apply")

    monkeypatch.setattr(l2_sources, "open_session", open_session)
    ended = CliRunner().invoke(l2, ["collect", "-o", "facts.json"], obj=Options())
    assert (ended.exit_code, ended.stderr) == (2, "there is no cluster yet; provisioner apply\n")
    assert (here / "facts.json").read_text() == "old"


BEFORE: Metrics = {"w1": {"192.0.2.1": Counters(requests_received=1, responses_sent=1)}}
AFTER: Metrics = {"w1": {"192.0.2.1": Counters(requests_received=7, responses_sent=7)}}


def test_again_adds_the_counters_and_changes_nothing_else(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = FACTS.model_copy(update={"metrics": BEFORE})
    (here / "facts.json").write_text(facts_file.dump(earlier))
    ended = run(monkeypatch, "-o", "facts.json", "--again", counted=AFTER)
    assert ended.exit_code == 0, ended.stderr
    assert facts_file.load(here / "facts.json") == earlier.model_copy(update={"metrics_after": AFTER})
    assert "l2 check --facts facts.json" in ended.stderr


@pytest.mark.parametrize(
    ("before", "now", "when"),
    [(None, AFTER, "when the file was written"), (BEFORE, None, "now")],
)
def test_again_without_counters_leaves_the_file_unchanged(
    here: Path, monkeypatch: pytest.MonkeyPatch, before: Metrics | None, now: Metrics | None, when: str
) -> None:
    text = facts_file.dump(FACTS.model_copy(update={"metrics": before}))
    (here / "facts.json").write_text(text)
    ended = run(monkeypatch, "-o", "facts.json", "--again", counted=now)
    assert ended.exit_code == 2
    assert f"no speaker's counters could be read {when}; the file is unchanged" in ended.stderr
    assert (here / "facts.json").read_text() == text


def test_again_needs_the_file_of_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(monkeypatch, "-o", "-", "--again")
    assert ended.exit_code == 2
    assert "give the one that the check used" in ended.stderr
    ended = run(monkeypatch, "-o", "none.json", "--again", counted=AFTER)
    assert ended.exit_code == 2
    assert "none.json" in ended.stderr

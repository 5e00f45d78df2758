"""`l2 collect` as a person meets it: the file, the standard output, and a cluster that is lost meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from provisioner.cli import l2_collect
from provisioner.cli.l2 import l2
from provisioner.cli.options import Options
from provisioner.errors import ClusterError
from provisioner.l2 import facts_file
from provisioner.l2.collect import collector
from provisioner.l2.facts import Counters, Facts, Metrics, Node, Service

FACTS = Facts(nodes=(Node(name="w1"),), services=(Service(namespace="a", name="web"),))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(
    monkeypatch: pytest.MonkeyPatch,
    *words: str,
    note: str = "",
    reachable: bool = True,
    counted: Metrics | None = None,
) -> Result:
    """Run the command with a cluster that gives FACTS and then `counted`, with a note on what could not be read."""

    @contextmanager
    def open_session(*_: Any) -> Iterator[Any]:
        cluster = SimpleNamespace(reachable=lambda: reachable)
        yield SimpleNamespace(cluster=cluster, hosts={}, site=None, report=SimpleNamespace(emit=lambda *_: None))

    def from_cluster(*_: Any, note: Any, **__: Any) -> Facts:
        if said:
            note(said)
        return FACTS

    said = note
    monkeypatch.setattr(l2_collect, "open_session", open_session)
    monkeypatch.setattr(collector, "from_cluster", from_cluster)
    monkeypatch.setattr(collector, "metrics", lambda *_, **__: counted)
    return CliRunner().invoke(l2, ["collect", *words], obj=Options())


def test_the_file_is_what_check_reads(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(monkeypatch, "-o", "my facts.json")
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert facts_file.load(here / "my facts.json") == FACTS
    assert "nodes: 1, services of type LoadBalancer: 1" in ended.stderr
    assert "provisioner l2 check --facts 'my facts.json'" in ended.stderr


def test_to_the_standard_output_goes_nothing_but_the_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(monkeypatch, "-o", "-", note="w1: no network cards: connection refused")
    assert ended.exit_code == 0
    assert json.loads(ended.stdout)["schema"] == "l2facts/v1"
    assert ended.stderr == "note: w1: no network cards: connection refused\n"


def test_a_cluster_lost_meanwhile_is_not_a_success(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(monkeypatch, "-o", "facts.json", note="the API was lost midway", reachable=False)
    assert ended.exit_code == 2
    assert "inconclusive: the cluster was lost in the middle" in ended.stderr
    assert facts_file.load(here / "facts.json") == FACTS  # what was read is kept


def test_no_cluster_leaves_the_old_file_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "facts.json").write_text("old")

    def open_session(*_: Any) -> Any:
        raise ClusterError("there is no cluster yet", "provisioner apply")

    monkeypatch.setattr(l2_collect, "open_session", open_session)
    ended = CliRunner().invoke(l2, ["collect", "-o", "facts.json"], obj=Options())
    assert (ended.exit_code, ended.stderr) == (2, "there is no cluster yet; provisioner apply\n")
    assert (here / "facts.json").read_text() == "old"


BEFORE: Metrics = {"w1": {"192.0.2.1": Counters(requests_received=1, responses_sent=1)}}
AFTER: Metrics = {"w1": {"192.0.2.1": Counters(requests_received=7, responses_sent=7)}}


def test_again_adds_what_was_counted_since_and_changes_nothing_else(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = FACTS.model_copy(update={"metrics": BEFORE})
    (here / "facts.json").write_text(facts_file.dump(earlier))
    ended = run(monkeypatch, "-o", "facts.json", "--again", counted=AFTER)
    assert ended.exit_code == 0, ended.stderr
    assert facts_file.load(here / "facts.json") == earlier.model_copy(update={"metrics_after": AFTER})
    assert "l2 check --facts facts.json" in ended.stderr


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (None, AFTER, "no speaker showed its counters when the file was written"),
        (BEFORE, None, "no speaker showed its counters now"),
    ],
)
def test_again_without_counters_leaves_the_file_alone(
    here: Path, monkeypatch: pytest.MonkeyPatch, before: Metrics | None, now: Metrics | None, said: str
) -> None:
    text = facts_file.dump(FACTS.model_copy(update={"metrics": before}))
    (here / "facts.json").write_text(text)
    ended = run(monkeypatch, "-o", "facts.json", "--again", counted=now)
    assert ended.exit_code == 2
    assert f"{said}; the file was left as it is" in ended.stderr
    assert (here / "facts.json").read_text() == text


def test_again_wants_the_file_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run(monkeypatch, "-o", "-", "--again")
    assert ended.exit_code == 2
    assert "name the one that the check was given" in ended.stderr
    ended = run(monkeypatch, "-o", "none.json", "--again", counted=AFTER)
    assert ended.exit_code == 2
    assert "none.json" in ended.stderr

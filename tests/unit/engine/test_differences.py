"""The differences of a plan as lines, JSON and Prometheus' text format."""

from __future__ import annotations

import json

import pytest

from provisioner.engine import Change, differences
from provisioner.engine.runner import Failure, Outcome
from provisioner.errors import HostError
from provisioner.text import unified_diff

TOKEN = "abcdef.0123456789abcdef"


def change(summary: str, old: str = "", new: str = "", by_hand: str = "") -> Change:
    return Change(summary, lambda: None, unified_diff("f", old, new), by_hand=by_hand)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", "", ""),
        ("", "a\nb\n", "missing"),
        ("a: 1\nb: 2\n", "a: 1\nb: 3\n", "has `b: 2`, not `b: 3`"),
        ("a\nb\nc\n", "a\n", "has `b` (and 1 more)"),
        ("a\n", "a\nb\n", "lacks `b`"),
        ("a\n", "a\n\n", ""),
        (f"{'x' * 80}\ny\n", "y\n", f"has `{'x' * 59}…`"),
    ],
)
def test_a_diff_in_brief(old: str, new: str, said: str) -> None:
    assert differences.brief(unified_diff("f", old, new)) == said


def outcome() -> Outcome:
    return Outcome(
        changes=[
            ("kubelet", "one", change("change config.yaml", "maxPods: 50\n", "maxPods: 110\n")),
            ("kubelet", "two", change("restart the kubelet")),
            ("nfs", "one", change("/etc/exports exports /srv/nfs", by_hand="remove the line")),
        ],
        seconds={("kubelet", "one"): 1.0, ("kubelet", "two"): 1.0, ("nfs", "one"): 0.0, ("pools", "one"): 0.0},
    )


def test_lines_say_what_is_who_wins_and_what_apply_does() -> None:
    assert [str(each) for each in differences.differences(outcome())] == [
        "one kubelet: has `maxPods: 50`, not `maxPods: 110`; hosts.toml wins; apply: change config.yaml",
        "two kubelet: hosts.toml wins; apply: restart the kubelet",
        "one nfs: /etc/exports exports /srv/nfs; apply leaves it alone; by hand: remove the line",
    ]


def test_the_document_has_everything_and_no_secret() -> None:
    found = outcome()
    found.changes.append(("join", "two", change("join", "", f"token: {TOKEN}\n")))
    found.failures = [Failure("pools", "one", HostError("one", "no answer", "wait"))]
    found.waiting = {"workloads": ("pools",)}
    text = differences.document("lab", found)
    assert TOKEN not in text
    body = json.loads(text)
    assert (body["schema"], body["cluster"], len(body["differences"])) == ("drift/v1", "lab", 4)
    first, *_, by_hand, _ = body["differences"]
    assert (first["wins"], first["apply"], first["by_hand"]) == ("hosts.toml", "change config.yaml", "")
    assert (by_hand["wins"], by_hand["apply"], by_hand["by_hand"]) == ("nobody", "", "remove the line")
    assert body["failures"] == [{"step": "pools", "host": "one", "error": "one: no answer; wait"}]
    assert body["unseen"] == {"workloads": ["pools"]}


def test_prometheus_has_a_sample_for_each_step_and_host_that_was_looked_at() -> None:
    lines = list(differences.prometheus('l"b', outcome(), now=1_800_000_000.4, seconds=6.04))
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    label = 'cluster="l\\"b",host="{}",step="{}"'
    assert samples == {
        f"provisioner_drift_differences{{{label.format('one', 'kubelet')}}}": "1",
        f"provisioner_drift_differences{{{label.format('two', 'kubelet')}}}": "1",
        f"provisioner_drift_differences{{{label.format('one', 'nfs')}}}": "1",
        f"provisioner_drift_differences{{{label.format('one', 'pools')}}}": "0",
        'provisioner_drift_complete{cluster="l\\"b"}': "1",
        'provisioner_drift_last_run_timestamp_seconds{cluster="l\\"b"}': "1800000000",
        'provisioner_drift_duration_seconds{cluster="l\\"b"}': "6.0",
    }
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) == 4


def test_prometheus_says_that_not_everything_was_looked_at() -> None:
    found = Outcome(failures=[Failure("connect", "one", HostError("one", "no answer"))])
    assert 'provisioner_drift_complete{cluster="lab"} 0' in differences.prometheus("lab", found, now=0, seconds=0)

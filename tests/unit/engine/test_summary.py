"""The text of plans, failures and summaries."""

from __future__ import annotations

from pathlib import Path

from provisioner.engine import Change
from provisioner.engine.runner import Failure, Outcome
from provisioner.engine.summary import failure_lines, plan_lines, plan_summary, retry_commands, summary
from provisioner.errors import HostError

TOKEN = "abcdef.0123456789abcdef"


def change(text: str, diff: str = "") -> Change:
    return Change(text, lambda: None, diff)


def failed_join() -> Outcome:
    error = HostError(
        "one", "the node did not register", "see the kubelet", command="kubeadm join\n--x", tail=f"E1\ntoken {TOKEN}"
    )
    return Outcome(
        changes=[("prepare", "master", change("x"))],
        failures=[Failure("join", "one", error)],
        visited=dict.fromkeys(("master", "one", "two")),
        seconds={("prepare", "master"): 2.0, ("join", "one"): 61.0, ("join", "two"): 3.0},
    )


def test_a_plan_lists_each_change_once_with_its_hosts() -> None:
    outcome = Outcome(
        changes=[
            ("prepare", "one", change("install curl", "+ curl\n")),
            ("prepare", "two", change("install curl", "+ curl\n")),
            ("prepare", "two", change("turn swap off")),
        ],
        waiting={"join": ("prepare",)},
        visited=dict.fromkeys(("one", "two")),
    )
    assert list(plan_lines(outcome)) == [
        "prepare",
        "  install curl  [one, two]",
        "  turn swap off  [two]",
        "join  after: prepare",
    ]
    assert "      + curl" in list(plan_lines(outcome, diff=True))
    assert plan_summary(outcome) == "3 changes on 2 hosts; 1 step to be known after them"
    assert plan_summary(Outcome(visited={"one": None})) == "nothing to do on 1 host"


def test_a_failure_shows_command_output_cause_remedy_log_and_retry_commands() -> None:
    outcome = failed_join()
    lines = list(failure_lines(outcome.failures, Path("logs/x.log")))
    assert lines[0] == "one: join failed"
    assert "  command: kubeadm join …" in lines
    assert "  | E1" in lines
    assert "  cause: the node did not register" in lines
    assert "  try: see the kubelet" in lines
    assert lines[-1] == "log: logs/x.log"
    assert TOKEN not in "".join(lines)
    assert list(retry_commands(outcome, ["preflight", "join"])) == [
        "retry: provisioner apply --from join",
        "failed hosts only: provisioner apply --limit one --from join",
    ]


def test_a_failure_to_connect_is_retried_from_the_start() -> None:
    outcome = Outcome(failures=[Failure("connect", "one", HostError("one", "x"))])
    assert list(retry_commands(outcome, ["preflight", "join"])) == ["retry: provisioner apply"]


def test_equal_errors_of_several_hosts_are_merged() -> None:
    error = HostError("three", "connection refused", "start sshd")
    lines = list(failure_lines([Failure("preflight", name, error) for name in ("one", "two")], None))
    assert lines == ["one, two: preflight failed", "  cause: three: connection refused", "  try: start sshd"]


def test_the_summary_counts_hosts_and_lists_the_slowest_steps() -> None:
    text, data = summary(failed_join(), 75)
    assert text == "1 changed, 1 unchanged, 1 failed in 1 min 15 s; slowest: join 1 min 1 s, prepare 2.0 s"
    assert (data["changed"], data["unchanged"], data["failed"]) == (["master"], ["two"], ["one"])
    assert data["hosts"] == {"master": 2.0, "one": 61.0, "two": 3.0}

"""What is shown and what is logged."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path

from rich.console import Console

from provisioner.cli.screen import HEARTBEAT, Plain, Terminal, json_lines
from provisioner.engine import Change
from provisioner.engine.runner import Failure, Outcome
from provisioner.engine.summary import failure_lines, plan_lines, plan_verdict, retry_commands, summary
from provisioner.errors import HostError
from provisioner.report import Event, Log, Report

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


def test_the_log_is_complete_private_and_redacted(tmp_path: Path) -> None:
    log = Log(tmp_path / "logs" / "x.log")
    report = Report(log=log)
    assert not log.path.exists()
    report.emit("change", "write /etc/x", host="one", step="s", diff=f"+ token {TOKEN}\n+ fine\n")
    report.command("one", "kubeadm token list", status=0, seconds=1.2, stdout=f"{TOKEN}\n", stderr="warning\n")
    log.close()
    text = log.path.read_text()
    assert TOKEN not in text
    for part in ("write /etc/x", "+ fine", "kubeadm token list", "exit 0 after 1.2 s", "warning"):
        assert part in text
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.path.parent.stat().st_mode) == 0o700


def test_events_are_redacted_before_anyone_sees_them() -> None:
    seen: list[Event] = []
    Report(seen.append).emit("output", f"join --token {TOKEN}", diff=TOKEN, nested={"a": [TOKEN]})
    assert TOKEN not in seen[0].text + json.dumps(dict(seen[0].data))


def test_json_is_one_event_a_line() -> None:
    out = io.StringIO()
    report = Report(json_lines(out))
    report.emit("step", "two\nlines", step="join", hosts=["a", "b"])
    report.emit("done", host="a", step="join", changes=0, seconds=1.5)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["kind"], first["text"], first["hosts"]) == ("step", "two\nlines", ["a", "b"])
    assert (second["changes"], second["seconds"]) == (0, 1.5)
    assert "text" not in second


def test_nothing_is_shown_after_close() -> None:
    seen: list[Event] = []
    report = Report(seen.append)
    report.close()
    report.emit("failed", "too late")
    assert not seen


def test_plain_output_shows_a_sign_of_life_but_not_every_line() -> None:
    out = io.StringIO()
    view = Plain(out)
    view(Event("host", host="one", time=0))
    for second in range(0, 100, 10):
        view(Event("output", f"line {second}", host="one", time=second))
    assert out.getvalue().splitlines() == [
        f"   one: | line {second}" for second in range(0, 100, 10) if second and second % HEARTBEAT == 0
    ]
    loud = io.StringIO()
    Plain(loud, verbose=1)(Event("output", "line", host="one", time=0))
    assert "line" in loud.getvalue()


def test_a_terminal_ends_with_a_line_a_step() -> None:
    out = io.StringIO()
    view = Terminal(Console(file=out, force_terminal=True, width=80, color_system=None))
    report = Report(view)
    report.emit("step", "join the workers", step="join", hosts=["one", "two"])
    for host in ("one", "two"):
        report.emit("host", host=host, step="join")
    report.emit("change", "kubeadm join [as worker]", host="one", step="join")
    report.emit("output", "[preflight] Running pre-flight checks", host="one", step="join")
    view._live.refresh()  # type: ignore[union-attr]
    report.emit("done", host="one", step="join", changes=1, seconds=75.0)
    report.emit("failed", "two: did not", host="two", step="join", seconds=2.0)
    report.emit("step-done", step="join", seconds=75.1)
    text = out.getvalue()
    assert "one: kubeadm join [as worker]" in text
    assert "[preflight] Running pre-flight checks" in text
    assert "✘ join" in text
    assert "failed on two" in text
    assert "1 min 15 s" in text
    assert view._live is None


def test_a_plan_tells_each_change_once_with_its_hosts() -> None:
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
    assert plan_verdict(outcome) == "3 changes on 2 hosts, and 1 step to be known after them"
    assert plan_verdict(Outcome(visited={"one": None})) == "nothing to do on 1 host"


def test_a_failure_tells_command_last_lines_cause_remedy_log_and_what_to_type() -> None:
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
        "again: provisioner apply --from join",
        "only what failed: provisioner apply --limit one --from join",
    ]


def test_what_failed_at_the_beginning_starts_over() -> None:
    outcome = Outcome(failures=[Failure("connect", "one", HostError("one", "x"))])
    assert list(retry_commands(outcome, ["preflight", "join"])) == ["again: provisioner apply"]


def test_the_same_error_of_several_hosts_is_told_once() -> None:
    error = HostError("three", "does not answer", "switch it on")
    lines = list(failure_lines([Failure("preflight", name, error) for name in ("one", "two")], None))
    assert lines == ["one, two: preflight failed", "  cause: three: does not answer", "  try: switch it on"]


def test_the_summary_counts_hosts_and_names_the_slowest_steps() -> None:
    text, data = summary(failed_join(), 75)
    assert text == "1 changed, 1 unchanged, 1 failed in 1 min 15 s; slowest: join 1 min 1 s, prepare 2.0 s"
    assert (data["changed"], data["unchanged"], data["failed"]) == (["master"], ["two"], ["one"])
    assert data["hosts"] == {"master": 2.0, "one": 61.0, "two": 3.0}

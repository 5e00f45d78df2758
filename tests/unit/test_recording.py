"""README's recording shows what today's code prints: it is rendered again from the events behind it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from provisioner.checks import CHECKS, Finding
from provisioner.cli import execute, verify
from provisioner.cli.hints import INSIDE
from provisioner.cli.options import Options
from provisioner.cli.terminal import Terminal
from provisioner.engine import Change, summary
from provisioner.engine.runner import Outcome
from provisioner.report import Report
from provisioner.steps import STEPS
from tests.recording import CAST, COLUMNS, EVENTS, ROWS, SVG
from tests.recording.cast import Cast, lines
from tests.recording.film import draw
from tests.unit.steps.doubles import site_at

TOP = Path(__file__).parents[2]
AGAIN = "the recording is out of date; make it again: make e2e SUITE=recording"
OPTIONS = Options(file=Path(".provisioner/lab/hosts.toml"))


@pytest.fixture(autouse=True)
def inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INSIDE, "provisioner")


def recorded() -> list[list[Any]]:
    return [json.loads(line) for line in EVENTS.read_text(encoding="utf-8").splitlines()]


def events(kind: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (text, data) of the events of a kind."""
    return [(entry[2], entry[3]) for entry in recorded() if entry[:2] == ["event", kind]]


def shown() -> list[str]:
    return lines("".join(text for _, text in Cast.load(CAST).sent))


def rendered() -> list[str]:
    """Return what today's code prints for the events and findings, without the commands that were typed."""
    out = io.StringIO()
    view = Terminal(Console(file=out, force_terminal=True, width=COLUMNS, height=ROWS))
    report = Report(view)
    findings = []
    for what, *entry in recorded():
        if what == "event":
            kind, text, data = entry
            report.emit(kind, text, **data)
        else:
            check, fields = entry
            findings.append(Finding(**{**fields, "evidence": tuple(fields["evidence"])}))
            view.close()
            for line in verify.finding_lines(OPTIONS, check, findings[-1], False, COLUMNS):
                out.write(f"{line}\n")
    view.close()
    out.write(f"{verify.summary(findings)}\n")
    return lines(out.getvalue().replace("\n", "\r\n"))


def test_the_recording_shows_what_the_code_prints_today() -> None:
    kept = [line for line in shown() if not line.startswith("$ ")]
    *same, last = kept
    assert same == rendered(), AGAIN
    assert last == "next: provisioner lab ssh master sudo kubectl --kubeconfig /etc/kubernetes/admin.conf get pods -A"


def test_it_has_the_steps_and_checks_of_today(tmp_path: Path) -> None:
    site = site_at(tmp_path, 'kubernetes = "1.37"')
    enabled = {step.name: step.summary for step in STEPS if step.enabled(site)}
    steps = {data["step"]: text for text, data in events("step") if "number" in data}
    assert steps == enabled, AGAIN
    assert [*steps] == [*enabled], AGAIN
    assert [(data["step"], text) for text, data in events("check")] == [
        (each.name, each.summary) for each in CHECKS
    ], AGAIN


def test_it_ends_with_the_summary_of_today() -> None:
    ((text, data),) = events("summary")
    names = [*data["changed"], *data["unchanged"]]
    outcome = Outcome(
        changes=[("x", name, Change("x", lambda: None)) for name in data["changed"]],
        visited=dict.fromkeys(names),
        seconds={(step, names[0]): taken for step, taken in data["steps"].items()},
    )
    assert text == summary.summary(outcome, data["seconds"])[0], AGAIN
    following = [text for text, data in events("note") if data.get("follow_up")]
    assert following[: len(execute.APPLY.on_success)] == [
        OPTIONS.runnable(line) for line in execute.APPLY.on_success
    ], AGAIN


def test_it_shows_a_run_that_succeeded() -> None:
    assert all(entry[2]["ok"] for entry in recorded() if entry[0] == "finding")
    assert not events("failed")
    assert any(re.fullmatch(r"\d+ passed, \d+ skipped", line) for line in shown())


def test_the_film_is_of_this_recording_and_readme_shows_it() -> None:
    title = json.loads(CAST.read_text(encoding="utf-8").splitlines()[0])["title"]
    assert SVG.read_text(encoding="utf-8") == draw(Cast.load(CAST), title), AGAIN
    assert "docs/recording/lab.svg" in (TOP / "README.md").read_text(encoding="utf-8")

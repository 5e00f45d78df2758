"""What `verify` prints and its exit status."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from provisioner.checks import Finding
from provisioner.cli.options import Options
from provisioner.cli.verify import finding_lines, status, summary

LONG = "a-name-that-is-longer-than-a-line-of-this-terminal-is"
PASSED = Finding(True, "w1", "is Ready", code="NODE_READY")
ADVICE = Finding(True, "w1", "is cordoned", "uncordon it", "NODE_CORDONED")
FAILED = Finding(False, "w2", "is not Ready", "look at its kubelet", "NODE_NOT_READY", ("the last event",))
SKIPPED = Finding(True, "scaling", "needs --full", code="NOT_TRIED")
DISABLED = Finding(False, "hpa", "was not checked: [metrics] is not enabled", "enable it", "NOT_ENABLED")
INCONCLUSIVE = Finding(False, "192.0.2.200", "cannot be judged from here", code="L2_INCONCLUSIVE")


@pytest.mark.parametrize(
    ("findings", "text", "code"),
    [
        ([PASSED, ADVICE], "2 passed", 0),
        ([PASSED, SKIPPED], "1 passed, 1 skipped", 0),
        ([SKIPPED], "0 passed, 1 skipped", 0),
        ([PASSED, INCONCLUSIVE], "1 passed, 1 failed", 2),
        ([PASSED, INCONCLUSIVE, FAILED, SKIPPED], "1 passed, 2 failed, 1 skipped", 1),
        ([DISABLED], "0 passed, 1 failed", 1),
    ],
)
def test_summary_and_exit_status(findings: list[Finding], text: str, code: int) -> None:
    assert summary(findings) == text
    assert status(findings) == code


@pytest.mark.parametrize(
    ("finding", "lines"),
    [
        (PASSED, ["ok     nodes        w1: is Ready"]),
        (ADVICE, ["ok     nodes        w1: is cordoned", "         advice: uncordon it"]),
        (SKIPPED, ["skip   nodes        scaling: needs --full"]),
        (
            FAILED,
            [
                "FAILED nodes        w2: is not Ready",
                "         | the last event",
                "         try: look at its kubelet",
            ],
        ),
    ],
)
def test_a_finding_as_text(finding: Finding, lines: list[str]) -> None:
    assert list(finding_lines(Options(), "nodes", finding, as_json=False)) == lines


def test_a_finding_as_json() -> None:
    (line,) = finding_lines(Options(), "nodes", FAILED, as_json=True)
    assert json.loads(line) == {
        "check": "nodes",
        "ok": False,
        "subject": "w2",
        "detail": "is not Ready",
        "remedy": "look at its kubelet",
        "code": "NODE_NOT_READY",
        "evidence": ["the last event"],
    }


def test_a_sentence_is_folded_between_words_and_nothing_else_is() -> None:
    long = replace(FAILED, subject=f"pod course/{LONG}", detail="is gone")
    lines = list(finding_lines(Options(), "nodes", long, False, 40))
    assert lines[:2] == [
        "FAILED nodes        pod",
        f"                    course/{LONG}:",
    ]
    assert lines[2].strip() == "is gone"
    assert lines[3:] == list(finding_lines(Options(), "nodes", FAILED, False, None))[1:]

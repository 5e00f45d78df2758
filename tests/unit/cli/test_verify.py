"""What `verify` prints and its exit status."""

from __future__ import annotations

import json

import pytest

from provisioner.checks import Finding
from provisioner.cli.options import Options
from provisioner.cli.verify import finding_lines, status, summary

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

"""What must hold for a finished cluster, however it came about."""

from __future__ import annotations

import json

import pytest

from tests.e2e import drive, secrets

pytestmark = pytest.mark.e2e


def test_a_second_apply_changes_nothing() -> None:
    """apply is idempotent."""
    ran = drive.operator("apply", "-y")
    assert ran.status == 0, ran.text[-4000:]
    assert ran.changes() == []


def test_plan_is_empty() -> None:
    """plan exits 0."""
    ran = drive.operator("plan")
    assert ran.status == 0, ran.text[-4000:]
    assert ran.changes() == []


def test_verify_passes() -> None:
    """All checks pass, from outside the cluster."""
    ran = drive.operator("verify")
    assert ran.status == 0, ran.text[-6000:]


def test_verdicts_from_a_facts_file_equal_those_from_the_cluster() -> None:
    """`l2 collect` writes all that `l2 check` needs; every external IP is OK either way."""
    file = drive.LAB / "facts.json"
    online = _verdicts("l2", "check")
    collected = drive.operator("l2", "collect", "-o", str(file), quiet=True)
    assert collected.status == 0, collected.text
    assert online
    assert set(online.values()) == {"OK"}, online
    assert _verdicts("l2", "check", "--facts", str(file)) == online


def test_no_secret_is_left_anywhere() -> None:
    """No token, key or password is in a log, an argument list or a world-readable file of a node."""
    secrets.none_in_logs()
    for host in drive.hosts():
        secrets.none_readable(host)
        secrets.none_in_arguments(host)


def _verdicts(*arguments: str) -> dict[str, str]:
    ran = drive.operator(*arguments, quiet=True)
    document = json.loads(ran.text[ran.text.index("{") : ran.text.rindex("}") + 1])
    return {result["ip"]: result["verdict"] for result in document["results"]}

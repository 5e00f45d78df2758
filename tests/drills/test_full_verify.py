"""`verify --full`, on machines so slow that plain `verify` skips some checks."""

from __future__ import annotations

import json

import pytest

from tests.e2e import drive

pytestmark = pytest.mark.drill
CODES = {"NODEPORT_PODS", "HPA_RISES", "HPA_FALLS", "STATEFULSET_ORDER", "STATEFULSET_FINDS_VOLUMES"}


def test_full_verify_passes() -> None:
    """Scaling, load and scaling down run too; the plan is empty afterwards."""
    ran = drive.operator("verify", "--full")
    assert ran.status == 0, ran.text[-6000:]
    findings = [json.loads(line) for line in ran.text.splitlines() if line.startswith('{"check"')]
    codes = {finding["code"] for finding in findings}
    assert codes >= CODES, CODES - codes
    assert "NOT_TRIED" not in codes
    plan = drive.operator("plan")
    assert plan.status == 0, plan.text[-4000:]

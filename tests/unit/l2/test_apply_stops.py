"""The end of an apply: an external IP without any answer stops it; the remedy is the next measurement."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from provisioner.errors import ClusterError
from provisioner.l2 import verdicts
from provisioner.l2.result import Result
from provisioner.steps.l2_proof import STEP
from tests.unit.l2.diagnosis.segment import IP, SILENT, capture, facts, judge


def prove(monkeypatch: pytest.MonkeyPatch, result: Result) -> list[str]:
    monkeypatch.setattr(verdicts, "verdicts", lambda *_, **__: (result,))
    stub: Any = SimpleNamespace(fleet={}, progress=lambda text: None)
    assert STEP.proof is not None
    return list(STEP.proof(stub, stub, stub))


def test_unexplained_silence_stops_an_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError) as end:
        prove(monkeypatch, judge(SILENT, facts()))
    assert end.value.message == f"{IP} (default/web): nobody answers, for an unknown reason (UNKNOWN)"
    assert end.value.remedy.startswith("Capture on w2 whether the requests arrive and whether it replies.")
    assert "no reply." in end.value.tail


def test_an_inconclusive_measurement_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = prove(monkeypatch, judge(capture(dropped=3), facts()))
    assert line.startswith(f"{IP} (default/web) cannot be proven from here: ")

"""The proof at the end of an apply: every verdict is reported, a fault stops the apply."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import ClusterError
from provisioner.l2 import check, verdicts
from provisioner.l2.collect import collector
from provisioner.l2.probe import interfaces
from provisioner.l2.result import Result
from provisioner.steps.l2_proof import STEP
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import drain, fleet_for, site_at


def result(ip: str, verdict: str = "OK", **values: Any) -> Result:
    """Return a verdict."""
    known: dict[str, Any] = {
        "ip": ip, "family": "ipv4", "service": "course/lb-one", "pool": "lab", "verdict": verdict,
        "confidence": "certain", "evidence": (f"{ip} was looked at.",), "remedy": f"Mend {ip}.",
    }  # fmt: skip
    return Result(**{**known, **values})


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Result, ...]]:
    """Return a list of what successive checks see, the last one forever; there is no pause between them."""
    seen: list[tuple[Result, ...]] = []
    monkeypatch.setattr(verdicts, "_check", lambda *_: seen.pop(0) if len(seen) > 1 else seen[0])
    monkeypatch.setattr(verdicts, "PAUSE", 0.0)
    return seen


def prove(tmp_path: Path, patience: str = "0.01") -> Iterator[str]:
    """Run the step's proof as an apply does."""
    host = fleet_for(STEP, site_at(tmp_path, f"timeout_scale = {patience}"))["master"]
    cluster = FakeCluster()
    return iter(STEP.proof(host, cluster, host.site))  # type: ignore[arg-type]


def test_a_plan_is_empty_and_checks_nothing(tmp_path: Path, looks: list[tuple[Result, ...]]) -> None:
    assert drain(STEP, fleet_for(STEP, site_at(tmp_path))["master"], FakeCluster()) == []


def test_every_verdict_is_reported(tmp_path: Path, looks: list[tuple[Result, ...]]) -> None:
    looks.append((result("192.0.2.200"), result("192.0.2.201", warnings=("UNEXPECTED_LEADER",))))
    assert [*prove(tmp_path)] == [
        "192.0.2.200 (course/lb-one) OK: 192.0.2.200 was looked at.",
        "192.0.2.201 (course/lb-one) OK (UNEXPECTED_LEADER): 192.0.2.201 was looked at.",
    ]


def test_a_transient_fault_does_not_count(tmp_path: Path, looks: list[tuple[Result, ...]]) -> None:
    looks += [(result("192.0.2.200", "INGRESS_LOST"),), (result("192.0.2.200"),)]
    assert len([*prove(tmp_path, "10")]) == 1


def test_a_lasting_fault_stops_the_apply_with_its_remedy(tmp_path: Path, looks: list[tuple[Result, ...]]) -> None:
    looks.append((result("192.0.2.200"), result("192.0.2.201", "SPLIT_BRAIN")))
    said = prove(tmp_path)
    with pytest.raises(
        ClusterError, match=r"^192\.0\.2\.201 \(course/lb-one\): SPLIT_BRAIN; Mend 192\.0\.2\.201\."
    ) as end:
        list(said)
    assert end.value.tail == "192.0.2.201 was looked at."


def test_an_inconclusive_verdict_does_not_stop_the_apply(tmp_path: Path, looks: list[tuple[Result, ...]]) -> None:
    looks.append((result("192.0.2.200", "INCONCLUSIVE_PROBE_LOCATION"),))
    (line,) = prove(tmp_path)
    assert line.startswith("192.0.2.200 (course/lb-one) cannot be proven from here: ")


def test_off_the_segment_every_address_is_inconclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """203.0.113.0/24 (RFC 5737) is on no segment; the facts are made up, the interfaces are this machine's."""
    from provisioner.l2.facts import Facts, Service

    facts = Facts(services=(Service(namespace="course", name="lb-one", ingress_ips=("203.0.113.9",)),))
    monkeypatch.setattr(collector, "from_cluster", lambda *_, **__: facts)
    site = site_at(tmp_path)
    (one,) = verdicts.verdicts(site, FakeCluster(), {})  # type: ignore[arg-type]
    assert one.verdict == "INCONCLUSIVE_PROBE_LOCATION"
    assert check.node_addresses(facts) == {}
    assert interfaces.read()

"""The freed check: a Service of its own comes and goes, and what the wire and the API say of it becomes findings.

The wire is given here (the drill of pools asks the real one); the API is in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import freed
from provisioner.kube import Object
from provisioner.l2 import verdicts
from tests.unit.checks.contexts import context, findings
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import service

ONE = ("02:00:00:00:00:11",)
TWO = (*ONE, "02:00:00:00:00:12")


@dataclass
class Balancer:
    """MetalLB in memory: its free addresses, who answers for one that is held, and who for one that is not (late)."""

    free: list[str] = field(default_factory=lambda: ["192.0.2.205"])
    macs: tuple[str, ...] = ONE
    late: tuple[str, ...] = ()
    keeps: bool = False  # an address is not given twice


class Api(FakeCluster):
    """The API with a balancer behind it."""

    def __init__(self, balancer: Balancer) -> None:
        super().__init__(service("lb-one", kind="LoadBalancer"))
        self.balancer = balancer

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        free = self.balancer.free
        asked = manifest["spec"].get("loadBalancerIP")
        ip = asked if asked in free else free[0] if free and not asked else None
        if ip:
            free.remove(ip)
        entries = [{"ip": ip}] if ip else []
        return super().apply(manifest | {"status": {"loadBalancer": {"ingress": entries}}}, dry_run=dry_run)

    def delete(self, kind: str, name: str, *arguments: Any, **more: Any) -> None:
        held = [entry["ip"] for one in self.objects if one["metadata"]["name"] == name for entry in _entries(one)]
        super().delete(kind, name, *arguments, **more)
        if not self.balancer.keeps:
            self.balancer.free += held

    def answering(self, ip: str) -> tuple[str, ...]:
        held = [entry["ip"] for one in self.list("Service") for entry in _entries(one)]
        return self.balancer.macs if ip in held else self.balancer.late


def _entries(one: Object) -> Any:
    return one.get("status", {}).get("loadBalancer", {}).get("ingress", ())


def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: Api, **more: Any) -> dict[str, Any]:
    monkeypatch.setattr(verdicts, "answering_macs", lambda site, cluster, hosts, ip: lambda: api.answering(ip))
    return findings(freed.CHECK, replace(context(tmp_path, api), **more))


@pytest.mark.parametrize(
    ("balancer", "codes"),
    [
        pytest.param(Balancer(), {"LB_SILENT": True, "LB_FREED": True}, id="as it should be"),
        pytest.param(Balancer(free=[]), {"LB_NO_FREE_ADDRESS": False}, id="no address left"),
        pytest.param(Balancer(macs=()), {"LB_NOT_ANNOUNCED": False}, id="nobody answers"),
        pytest.param(Balancer(macs=TWO), {"LB_NOT_ANNOUNCED": False}, id="two answer"),
        pytest.param(Balancer(late=ONE), {"LB_NOT_SILENT": False}, id="still answered for"),
        pytest.param(Balancer(keeps=True), {"LB_SILENT": True, "LB_NO_FREE_ADDRESS": False}, id="not given again"),
    ],
)
def test_what_becomes_of_a_deleted_services_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balancer: Balancer, codes: dict[str, bool]
) -> None:
    api = Api(balancer)
    found = tried(tmp_path, monkeypatch, api)
    assert {code: one.ok for code, (one,) in found.items()} == codes
    assert all(one.evidence for (one,) in found.values() if not one.ok)
    assert [one["metadata"]["name"] for one in api.list("Service")] == ["lb-one"], "both are taken back"


def test_the_second_service_asks_for_the_address_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(Balancer(free=["192.0.2.204", "192.0.2.205"]))
    tried(tmp_path, monkeypatch, api)
    assert [one["spec"].get("loadBalancerIP") for one in api.applied] == [None, "192.0.2.204"]


def test_what_a_killed_run_has_left_is_taken_back_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(Balancer())
    api.apply(freed.service(api.objects[0], freed.NAMES[0]))
    assert set(tried(tmp_path, monkeypatch, api)) == {"LB_SILENT", "LB_FREED"}


def test_a_slow_site_is_told_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(Balancer())
    where = context(tmp_path, api)
    slow = where.site.model_copy(update={"cluster": where.site.cluster.model_copy(update={"timeout_scale": 8.0})})
    found = tried(tmp_path, monkeypatch, api, site=slow)
    assert set(found) == {"NOT_TRIED"}
    assert api.applied == []

"""The freed check: findings by what MetalLB does with the address of a deleted Service.

MetalLB and the API are in memory; the drill of pools sends real frames.
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
    """MetalLB in memory: its free addresses, who answers for one in use, and who for a released one (late)."""

    free: list[str] = field(default_factory=lambda: ["192.0.2.205"])
    macs: tuple[str, ...] = ONE
    late: tuple[str, ...] = ()
    keeps: bool = False  # a released address is not assigned again


class Api(FakeCluster):
    """An API whose LoadBalancer Services get addresses from a balancer."""

    def __init__(self, balancer: Balancer) -> None:
        super().__init__(service("lb-one", kind="LoadBalancer"))
        self.balancer = balancer

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        free = self.balancer.free
        requested = manifest["spec"].get("loadBalancerIP")
        ip = requested if requested in free else free[0] if free and not requested else None
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
        in_use = [entry["ip"] for one in self.list("Service") for entry in _entries(one)]
        return self.balancer.macs if ip in in_use else self.balancer.late


def _entries(one: Object) -> Any:
    return one.get("status", {}).get("loadBalancer", {}).get("ingress", ())


def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: Api, **more: Any) -> dict[str, Any]:
    monkeypatch.setattr(verdicts, "answering_macs", lambda site, cluster, hosts, ip: lambda: api.answering(ip))
    return findings(freed.CHECK, replace(context(tmp_path, api), **more))


@pytest.mark.parametrize(
    ("balancer", "codes"),
    [
        pytest.param(Balancer(), {"LB_SILENT": True, "LB_FREED": True}, id="released"),
        pytest.param(Balancer(free=[]), {"LB_NO_FREE_ADDRESS": False}, id="no address left"),
        pytest.param(Balancer(macs=()), {"LB_NOT_ANNOUNCED": False}, id="nobody answers"),
        pytest.param(Balancer(macs=TWO), {"LB_NOT_ANNOUNCED": False}, id="two answer"),
        pytest.param(Balancer(late=ONE), {"LB_NOT_SILENT": False}, id="still answered"),
        pytest.param(Balancer(keeps=True), {"LB_SILENT": True, "LB_NO_FREE_ADDRESS": False}, id="not assigned again"),
    ],
)
def test_findings_on_the_address_of_a_deleted_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balancer: Balancer, codes: dict[str, bool]
) -> None:
    api = Api(balancer)
    found = checked(tmp_path, monkeypatch, api)
    assert {code: one.ok for code, (one,) in found.items()} == codes
    assert all(one.evidence for (one,) in found.values() if not one.ok)
    assert [one["metadata"]["name"] for one in api.list("Service")] == ["lb-one"], "both test Services are deleted"


def test_the_second_service_requests_the_address_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(Balancer(free=["192.0.2.204", "192.0.2.205"]))
    checked(tmp_path, monkeypatch, api)
    assert [one["spec"].get("loadBalancerIP") for one in api.applied] == [None, "192.0.2.204"]


def test_services_of_a_killed_run_are_deleted_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(Balancer())
    api.apply(freed.service(api.objects[0], freed.NAMES[0]))
    assert set(checked(tmp_path, monkeypatch, api)) == {"LB_SILENT", "LB_FREED"}


def test_a_slow_site_skips_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(Balancer())
    where = context(tmp_path, api)
    slow = where.site.model_copy(update={"cluster": where.site.cluster.model_copy(update={"timeout_scale": 8.0})})
    found = checked(tmp_path, monkeypatch, api, site=slow)
    assert set(found) == {"NOT_TRIED"}
    assert api.applied == []

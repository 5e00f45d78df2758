"""The check of ports between nodes: what a probe found as findings. Real probes: tests/integration/ssh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner import reach
from provisioner.checks import Finding
from provisioner.checks.reachability import CHECK
from provisioner.reach.ports import Port
from provisioner.reach.probe import Blocked
from provisioner.ssh import FactQuery, HostNic
from tests.unit.checks import contexts
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import RecordingHost, blank


def look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probed: reach.Probed
) -> tuple[list[Finding], dict[str, Any]]:
    context = contexts.context(tmp_path, FakeCluster())
    asked: dict[str, Any] = {}
    for number, spec in enumerate(context.site.hosts):
        host = RecordingHost(spec, context.site, blank(spec, FactQuery(), number))
        pods = HostNic("cni0", "0a:00:00:00:00:01", True, (f"10.244.{number}.1/24",), mtu=1500)
        host.know(nics=(*host.facts.nics, pods))
        context.hosts[spec.name] = host  # type: ignore[index]

    def probe(needs: reach.Needs, hosts: Any, nodes: Any, overlay: Any) -> reach.Probed:
        asked.update(vxlan=needs.vxlan, nodes=list(nodes), overlay=overlay)
        return probed

    monkeypatch.setattr(reach, "probe", probe)
    return list(CHECK.run(context)), asked


def test_everything_gets_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = look(tmp_path, monkeypatch, reach.Probed(tried=20))
    assert [(each.ok, each.code, each.subject) for each in found] == [(True, "PORTS_OPEN", "master, w1 and w2")]
    assert asked["nodes"] == ["master", "w1", "w2"], "nothing listens in place of their own programs"
    assert asked["overlay"][2] == reach.Overlay("w2", "10.244.2.1", 1500)


def test_an_obstacle_and_a_host_that_was_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = Blocked("master", "w1", Port("tcp", 10250, "kubelet"), "silent")
    probed = reach.Probed(
        blocked=[blocked], tried=3, not_tried={"w2": "it has no python3"}, filters={"w1": {"ufw": "Status: active"}}
    )
    skipped, failed = look(tmp_path, monkeypatch, probed)[0]
    assert (skipped.code, skipped.ok, skipped.subject) == ("NOT_TRIED", True, "w2")
    assert (failed.code, failed.ok, failed.subject) == ("PORT_BLOCKED", False, "w1")
    assert failed.remedy.startswith("on w1: sudo ufw allow from ")

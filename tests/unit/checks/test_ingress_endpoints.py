"""The endpoints of an ingress controller: which exist, and which are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import ingress, ingress_exposure
from provisioner.checks.ingress_endpoints import Endpoint, endpoints
from provisioner.kube import Object
from tests.unit.checks.contexts import findings
from tests.unit.checks.ingresses import (
    BACKENDS,
    RESPONSES,
    controller,
    controller_pod,
    course_ingress,
    read_once,
    routing,
    site_context,
)
from tests.unit.checks.test_http import NODES, on_loopback, serving
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import service


def test_the_endpoints_of_a_service(tmp_path: Path) -> None:
    both = controller(30080, 30443, kind="LoadBalancer", given=["192.0.2.200"])
    where = on_loopback(tmp_path, FakeCluster(controller_pod()), 1.0)
    outside, node = endpoints(where, both)
    assert outside == Endpoint("192.0.2.200", 80, 443)
    assert node == Endpoint(NODES["w2"], 30080, 30443, "w2")
    assert [str(outside), str(node)] == ["192.0.2.200", "127.0.0.12:30080 (NodePort of w2)"]
    everywhere = controller(30080, policy="Cluster")
    assert [one.node for one in endpoints(where, everywhere)] == [*NODES]
    assert endpoints(where, service("c", ports=[{"port": 443, "nodePort": 1}])) == []
    assert endpoints(where, None) == []


EVENT = "Warning Something about haproxy-controller/haproxy-kubernetes-ingress"
LOG = "haproxy-1: log of haproxy-controller/haproxy-1  8 False"
BALANCED: dict[str, Any] = {"kind": "LoadBalancer", "given": ["192.0.2.200"]}


@pytest.mark.parametrize(
    ("metallb", "live", "expected"),
    [
        (True, controller(30080, **BALANCED), []),
        (True, controller(30080, policy="Cluster", **BALANCED), []),
        (True, controller(30080, kind="LoadBalancer"), ["INGRESS_NO_ADDRESS"]),
        (True, controller(30080), ["INGRESS_NO_ADDRESS"]),
        (True, controller(0, **BALANCED), ["INGRESS_NO_NODEPORT"]),
        (True, controller(0, kind="LoadBalancer"), ["INGRESS_NO_ENTRANCE"]),
        (False, controller(30080), []),
        (False, controller(30080, kind="LoadBalancer"), []),
        (False, controller(0, **BALANCED), ["INGRESS_NO_NODEPORT"]),
        (False, controller(0, kind="ClusterIP"), ["INGRESS_NO_ENTRANCE"]),
        (False, service("haproxy-kubernetes-ingress", ports=[{"port": 443, "nodePort": 1}]), ["INGRESS_NO_ENTRANCE"]),
        (False, None, ["INGRESS_NO_ENTRANCE"]),
    ],
)
def test_missing_endpoints_fail(tmp_path: Path, metallb: bool, live: Object | None, expected: list[str]) -> None:
    where = site_context(tmp_path, FakeCluster(controller_pod()), metallb=metallb)
    found = list(ingress_exposure.missing(where, live, endpoints(where, live)))
    assert [one.code for one in found] == expected
    for one in found:
        assert not one.ok
        assert "haproxy-controller/haproxy-kubernetes-ingress" in one.subject + one.detail
        assert one.remedy
        assert one.evidence[0] == EVENT
        assert LOG in one.evidence


@pytest.mark.parametrize(
    ("live", "detail", "remedy"),
    [
        (
            controller(0, allocateLoadBalancerNodePorts=False, **BALANCED),
            "has no nodePort for its port 80: allocateLoadBalancerNodePorts is false",
            "kubectl -n haproxy-controller patch service haproxy-kubernetes-ingress "
            """-p '{"spec": {"allocateLoadBalancerNodePorts": true}}'""",
        ),
        (
            controller(30080),
            "has no address because it is of type NodePort; with [metallb] in hosts.toml it should be LoadBalancer",
            "provisioner apply",
        ),
        (
            controller(30080, kind="LoadBalancer"),
            "is of type LoadBalancer and has no address",
            "kubectl -n haproxy-controller describe service haproxy-kubernetes-ingress",
        ),
    ],
)
def test_the_remedy_for_a_missing_endpoint(tmp_path: Path, live: Object, detail: str, remedy: str) -> None:
    where = site_context(tmp_path, FakeCluster(controller_pod()), metallb=True)
    (one,) = ingress_exposure.missing(where, live, endpoints(where, live))
    assert one.subject == "Service haproxy-controller/haproxy-kubernetes-ingress"
    assert (one.detail, one.remedy) == (detail, remedy)


def test_a_node_port_without_a_ready_pod_fails(tmp_path: Path) -> None:
    where = site_context(tmp_path, FakeCluster(controller_pod(ready=False)))
    live = controller(30080)
    (one,) = ingress_exposure.missing(where, live, endpoints(where, live))
    assert one.code == "INGRESS_NO_NODEPORT"
    assert one.detail == (
        "has nodePort 30080 but no endpoint: externalTrafficPolicy is Local, and no node in hosts.toml runs a ready "
        "pod of the controller"
    )
    assert one.evidence == (
        EVENT,
        "haproxy-1: Warning Something about haproxy-controller/haproxy-1",
        "haproxy-1: agnhost: log of haproxy-controller/haproxy-1 agnhost 8 False",
    )


class Starting(FakeCluster):
    """A controller whose pod becomes ready, or whose Service gets its address, at the third read of the Service."""

    def __init__(self, live: Object) -> None:
        super().__init__(live, controller_pod(ready=False))
        self.service_reads = 0

    def get(self, kind: str, *arguments: Any, **more: Any) -> Object | None:
        found = super().get(kind, *arguments, **more)
        if kind == "Service" and found is not None:
            self.service_reads += 1
            if self.service_reads == 3:
                self.objects[1] = controller_pod()
                if found["spec"]["type"] == "LoadBalancer":
                    found["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.200"}]}}
        return found


@pytest.mark.parametrize(
    ("metallb", "live", "reads", "nodes"),
    [
        (False, controller(30080), 3, ["w2"]),
        (True, controller(30080, kind="LoadBalancer"), 3, ["", "w2"]),
        (True, controller(30080, policy="Cluster", kind="LoadBalancer"), 3, ["", *NODES]),
        # Nothing is pending here.
        (True, controller(30080, policy="Cluster"), 1, [*NODES]),
        (False, controller(30080, policy="Cluster", kind="LoadBalancer"), 1, [*NODES]),
        (False, controller(0, kind="ClusterIP"), 1, []),
    ],
)
def test_pending_endpoints_are_waited_for(
    tmp_path: Path, metallb: bool, live: Object, reads: int, nodes: list[str]
) -> None:
    cluster = Starting(live)
    where = site_context(tmp_path, cluster, metallb=metallb)
    fast = where.site.cluster.model_copy(update={"timeout_scale": 0.02})
    object.__setattr__(where, "site", where.site.model_copy(update={"cluster": fast}))
    _, found = ingress_exposure.wait_exposed(where)
    assert [one.node for one in found] == nodes
    assert cluster.service_reads == reads


def test_the_other_endpoints_are_checked_when_one_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_once(monkeypatch)
    with serving(NODES["w2"], routing(RESPONSES)) as port:
        for kind in ("NodePort", "LoadBalancer"):
            cluster = FakeCluster(controller(port, kind=kind), course_ingress(), *BACKENDS)
            found = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress(), metallb=True))
            (one,) = found.pop("INGRESS_NO_ADDRESS")
            assert not one.ok
            assert len(found["INGRESS_ROUTES"]) == 3


def test_no_endpoint_at_all_is_one_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_once(monkeypatch)
    cluster = FakeCluster(controller(30080), course_ingress(), *BACKENDS[:-1], controller_pod(ready=False))
    where = site_context(tmp_path, cluster, course_ingress())
    assert [one.code for one in ingress.run(where)] == ["INGRESS_NO_NODEPORT"]

"""The ways into an ingress controller: which there are, which there should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import ingress, ingress_exposure
from provisioner.checks.ingress_endpoints import Endpoint, endpoints, named
from provisioner.kube import Object
from tests.unit.checks.contexts import findings
from tests.unit.checks.ingresses import (
    BEHIND,
    RIGHT,
    controller,
    controller_pod,
    course_ingress,
    here,
    look_once,
    routing,
)
from tests.unit.checks.test_http import NODES, on_loopback, serving
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import service


def test_the_ways_in(tmp_path: Path) -> None:
    both = controller(30080, 30443, kind="LoadBalancer", given=["192.0.2.200"])
    where = on_loopback(tmp_path, FakeCluster(controller_pod()), 1.0)
    outside, node = endpoints(where, both)
    assert outside == Endpoint("192.0.2.200", 80, 443)
    assert node == Endpoint(NODES["w2"], 30080, 30443, "w2")
    assert named([outside, node]) == "192.0.2.200 and 127.0.0.12:30080 (NodePort of w2)"
    everywhere = controller(30080, policy="Cluster")
    assert [door.node for door in endpoints(where, everywhere)] == [*NODES]
    assert endpoints(where, service("c", ports=[{"port": 443, "nodePort": 1}])) == []
    assert endpoints(where, None) == []


ABOUT = "Warning Something about haproxy-controller/haproxy-kubernetes-ingress"
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
def test_the_ways_in_that_there_should_be(
    tmp_path: Path, metallb: bool, live: Object | None, expected: list[str]
) -> None:
    where = here(tmp_path, FakeCluster(controller_pod()), metallb=metallb)
    found = list(ingress_exposure.missing(where, live, endpoints(where, live)))
    assert [one.code for one in found] == expected
    for one in found:
        assert not one.ok
        assert "haproxy-controller/haproxy-kubernetes-ingress" in one.subject + one.detail
        assert one.remedy
        assert one.evidence[0] == ABOUT
        assert LOG in one.evidence


@pytest.mark.parametrize(
    ("live", "detail", "remedy"),
    [
        (
            controller(0, allocateLoadBalancerNodePorts=False, **BALANCED),
            "has no port on the nodes for its port 80: allocateLoadBalancerNodePorts is false",
            "kubectl -n haproxy-controller patch service haproxy-kubernetes-ingress "
            """-p '{"spec": {"allocateLoadBalancerNodePorts": true}}'""",
        ),
        (
            controller(30080),
            "is of type NodePort and has no address, though hosts.toml enables [metallb]: type LoadBalancer has one",
            "provisioner apply",
        ),
        (
            controller(30080, kind="LoadBalancer"),
            "is of type LoadBalancer and has no address",
            "kubectl -n haproxy-controller describe service haproxy-kubernetes-ingress",
        ),
    ],
)
def test_what_to_do_about_a_way_that_is_missing(tmp_path: Path, live: Object, detail: str, remedy: str) -> None:
    where = here(tmp_path, FakeCluster(controller_pod()), metallb=True)
    (one,) = ingress_exposure.missing(where, live, endpoints(where, live))
    assert one.subject == "Service haproxy-controller/haproxy-kubernetes-ingress"
    assert (one.detail, one.remedy) == (detail, remedy)


def test_nobody_behind_the_port_on_the_nodes(tmp_path: Path) -> None:
    where = here(tmp_path, FakeCluster(controller_pod(ready=False)))
    live = controller(30080)
    (one,) = ingress_exposure.missing(where, live, endpoints(where, live))
    assert one.code == "INGRESS_NO_NODEPORT"
    assert one.detail == (
        "has port 30080 on the nodes and nobody behind it: externalTrafficPolicy is Local, and no node of hosts.toml "
        "runs a ready pod of the controller"
    )
    assert one.evidence == (
        ABOUT,
        "haproxy-1: Warning Something about haproxy-controller/haproxy-1",
        "haproxy-1: agnhost: log of haproxy-controller/haproxy-1 agnhost 8 False",
    )


class Starting(FakeCluster):
    """A controller whose pod gets ready, or whose Service gets its address, at the third look at the Service."""

    def __init__(self, live: Object) -> None:
        super().__init__(live, controller_pod(ready=False))
        self.looks = 0

    def get(self, kind: str, *arguments: Any, **more: Any) -> Object | None:
        found = super().get(kind, *arguments, **more)
        if kind == "Service" and found is not None:
            self.looks += 1
            if self.looks == 3:
                self.objects[1] = controller_pod()
                if found["spec"]["type"] == "LoadBalancer":
                    found["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.200"}]}}
        return found


@pytest.mark.parametrize(
    ("metallb", "live", "looks", "ways"),
    [
        (False, controller(30080), 3, ["w2"]),
        (True, controller(30080, kind="LoadBalancer"), 3, ["", "w2"]),
        (True, controller(30080, policy="Cluster", kind="LoadBalancer"), 3, ["", *NODES]),
        # Nothing of this comes by itself.
        (True, controller(30080, policy="Cluster"), 1, [*NODES]),
        (False, controller(30080, policy="Cluster", kind="LoadBalancer"), 1, [*NODES]),
        (False, controller(0, kind="ClusterIP"), 1, []),
    ],
)
def test_what_still_comes_is_waited_for(
    tmp_path: Path, metallb: bool, live: Object, looks: int, ways: list[str]
) -> None:
    memory = Starting(live)
    where = here(tmp_path, memory, metallb=metallb)
    fast = where.site.cluster.model_copy(update={"timeout_scale": 0.02})
    object.__setattr__(where, "site", where.site.model_copy(update={"cluster": fast}))
    _, found = ingress_exposure.wait_exposed(where)
    assert [door.node for door in found] == ways
    assert memory.looks == looks


def test_the_rest_is_looked_at_where_a_way_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_once(monkeypatch)
    with serving(NODES["w2"], routing(RIGHT)) as port:
        for kind in ("NodePort", "LoadBalancer"):
            memory = FakeCluster(controller(port, kind=kind), course_ingress(), *BEHIND)
            found = findings(ingress.CHECK, here(tmp_path, memory, course_ingress(), metallb=True))
            (one,) = found.pop("INGRESS_NO_ADDRESS")
            assert not one.ok
            assert len(found["INGRESS_ROUTES"]) == 3


def test_no_way_at_all_is_one_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_once(monkeypatch)
    memory = FakeCluster(controller(30080), course_ingress(), *BEHIND[:-1], controller_pod(ready=False))
    where = here(tmp_path, memory, course_ingress())
    assert [one.code for one in ingress.run(where)] == ["INGRESS_NO_NODEPORT"]

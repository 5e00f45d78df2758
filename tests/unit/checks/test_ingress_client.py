"""What the Ingress check says of the address that a Deployment is told to be its client's."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from provisioner.checks import ingress
from tests.unit.checks.contexts import findings
from tests.unit.checks.ingresses import BEHIND, RIGHT, controller, course_ingress, here, look_once, routing
from tests.unit.checks.test_http import NODES, serving
from tests.unit.fake_cluster import FakeCluster


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    look_once(monkeypatch)


@pytest.mark.parametrize(
    ("policy", "told", "code", "words"),
    [
        ("Local", "127.0.0.1", "INGRESS_CLIENT", "true address, 127.0.0.1 (externalTrafficPolicy is Local"),
        ("Local", "203.0.113.9, 127.0.0.1", "INGRESS_CLIENT", "true address, 127.0.0.1"),
        ("Cluster", "127.0.0.1", "INGRESS_CLIENT", "true address, 127.0.0.1"),
        ("Cluster", "127.0.0.11", "INGRESS_CLIENT_HIDDEN", "puts w1's own address in the client's place"),
        ("Cluster", "10.244.1.1", "INGRESS_CLIENT_HIDDEN", "puts an address of the pod network"),
        ("Local", "127.0.0.11", "INGRESS_CLIENT_WRONG", "which is w1's own address, though"),
        ("Local", "198.51.100.7", "INGRESS_CLIENT_TRANSLATED", "translates addresses (NAT)"),
        ("Local", "127.0.0.1, 127.0.0.11", "INGRESS_CLIENT_WRONG", "is told 127.0.0.11 in place of this machine's"),
        ("Local", "", "INGRESS_CLIENT_UNKNOWN", "is told no client address"),
        ("Local", "unknown", "INGRESS_CLIENT_WRONG", "127.0.0.12:PORT (NodePort of w2), which is no address at all"),
        ("Cluster", "unknown", "INGRESS_CLIENT_WRONG", "which is no address at all"),
        ("Cluster", "127.0.0.1, 10.244.1.1:4711", "INGRESS_CLIENT_WRONG", "is told 10.244.1.1:4711 in place of"),
        ("Cluster", "", "INGRESS_CLIENT_UNKNOWN", "is told no client address"),
    ],
)
def test_what_is_said_of_the_client(tmp_path: Path, policy: str, told: str, code: str, words: str) -> None:
    table = {**RIGHT, "/ip": f"client {told}\npod info-1\n"}
    with ExitStack() as stack:
        port = stack.enter_context(serving(NODES["w2"], routing(table)))
        for node in ("master", "w1"):
            stack.enter_context(serving(NODES[node], routing(table), port))
        cluster = FakeCluster(controller(port, policy=policy), course_ingress(), *BEHIND)
        found = findings(ingress.CHECK, here(tmp_path, cluster, course_ingress()))
    (one,) = found[code]
    assert one.ok is (code not in ("INGRESS_CLIENT_WRONG", "INGRESS_CLIENT_UNKNOWN"))
    assert words.replace("PORT", str(port)) in one.detail
    assert [other for other in found if other.startswith("INGRESS_CLIENT")] == [code]
    explained = ("Warning Something about course/course", "haproxy-1: log of haproxy-controller/haproxy-1  8 False")
    assert one.evidence == (() if one.ok else explained)


def test_each_door_is_believed_for_itself(tmp_path: Path) -> None:
    """One node's own address in the client's place is advice; nonsense through another stays a fault."""
    told = {"master": "127.0.0.10", "w1": "10.244.1.1", "w2": "nobody knows"}
    tables = {node: routing({**RIGHT, "/ip": f"client {who}\npod info-1\n"}) for node, who in told.items()}
    with ExitStack() as stack:
        port = stack.enter_context(serving(NODES["master"], tables["master"]))
        for node in ("w1", "w2"):
            stack.enter_context(serving(NODES[node], tables[node], port))
        cluster = FakeCluster(controller(port, policy="Cluster"), course_ingress(), *BEHIND)
        found = findings(ingress.CHECK, here(tmp_path, cluster, course_ingress()))
    (hidden,) = found["INGRESS_CLIENT_HIDDEN"]
    assert hidden.detail.startswith(
        "is told 127.0.0.10 and 10.244.1.1 in place of this machine's 127.0.0.1 through "
        f"127.0.0.10:{port} (NodePort of master) and 127.0.0.11:{port} (NodePort of w1): "
    )
    assert "puts master's own address or an address of the pod network in the client's place" in hidden.detail
    (wrong,) = found["INGRESS_CLIENT_WRONG"]
    assert not wrong.ok
    assert "(NodePort of w2), which is no address at all" in wrong.detail
    assert "NodePort of w1" not in wrong.detail


def test_a_workload_that_says_nothing_of_its_client(tmp_path: Path) -> None:
    with serving(NODES["w2"], routing({**RIGHT, "/ip": "info-1"})) as port:
        cluster = FakeCluster(controller(port), course_ingress(), *BEHIND)
        found = findings(ingress.CHECK, here(tmp_path, cluster, course_ingress()))
    assert not [code for code in found if code.startswith("INGRESS_CLIENT")]

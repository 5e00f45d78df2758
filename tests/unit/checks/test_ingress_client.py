"""The client address that a Deployment behind the ingress controller sees."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from provisioner.checks import ingress
from tests.unit.checks.contexts import findings
from tests.unit.checks.ingresses import (
    BACKENDS,
    RESPONSES,
    controller,
    course_ingress,
    read_once,
    routing,
    site_context,
)
from tests.unit.checks.test_http import NODES, serving
from tests.unit.fake_cluster import FakeCluster


@pytest.fixture(autouse=True)
def read_once_only(monkeypatch: pytest.MonkeyPatch) -> None:
    read_once(monkeypatch)


@pytest.mark.parametrize(
    ("policy", "seen", "code", "words"),
    [
        ("Local", "127.0.0.1", "INGRESS_CLIENT", "this machine's address, 127.0.0.1 (externalTrafficPolicy is Local"),
        ("Local", "203.0.113.9, 127.0.0.1", "INGRESS_CLIENT", "this machine's address, 127.0.0.1"),
        ("Cluster", "127.0.0.1", "INGRESS_CLIENT", "this machine's address, 127.0.0.1"),
        ("Cluster", "127.0.0.11", "INGRESS_CLIENT_HIDDEN", "replaces the client's address with w1's address"),
        (
            "Cluster",
            "10.244.1.1",
            "INGRESS_CLIENT_HIDDEN",
            "replaces the client's address with an address of the pod network",
        ),
        ("Local", "127.0.0.11", "INGRESS_CLIENT_WRONG", "which is w1's address, although"),
        ("Local", "198.51.100.7", "INGRESS_CLIENT_TRANSLATED", "translates addresses (NAT)"),
        ("Local", "127.0.0.1, 127.0.0.11", "INGRESS_CLIENT_WRONG", "sees 127.0.0.11 instead of this machine's"),
        ("Local", "", "INGRESS_CLIENT_UNKNOWN", "sees no client address"),
        ("Local", "unknown", "INGRESS_CLIENT_WRONG", "127.0.0.12:PORT (NodePort of w2), which is not an IP address"),
        ("Cluster", "unknown", "INGRESS_CLIENT_WRONG", "which is not an IP address"),
        ("Cluster", "127.0.0.1, 10.244.1.1:4711", "INGRESS_CLIENT_WRONG", "sees 10.244.1.1:4711 instead of"),
        ("Cluster", "", "INGRESS_CLIENT_UNKNOWN", "sees no client address"),
    ],
)
def test_findings_on_the_client_address(tmp_path: Path, policy: str, seen: str, code: str, words: str) -> None:
    table = {**RESPONSES, "/ip": f"client {seen}\npod info-1\n"}
    with ExitStack() as stack:
        port = stack.enter_context(serving(NODES["w2"], routing(table)))
        for node in ("master", "w1"):
            stack.enter_context(serving(NODES[node], routing(table), port))
        cluster = FakeCluster(controller(port, policy=policy), course_ingress(), *BACKENDS)
        found = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress()))
    (one,) = found[code]
    assert one.ok is (code not in ("INGRESS_CLIENT_WRONG", "INGRESS_CLIENT_UNKNOWN"))
    assert words.replace("PORT", str(port)) in one.detail
    assert [other for other in found if other.startswith("INGRESS_CLIENT")] == [code]
    explained = ("Warning Something about course/course", "haproxy-1: log of haproxy-controller/haproxy-1  8 False")
    assert one.evidence == (() if one.ok else explained)


def test_endpoints_are_judged_separately(tmp_path: Path) -> None:
    """A node's address through one endpoint is advice; an invalid one through another is a failure."""
    seen = {"master": "127.0.0.10", "w1": "10.244.1.1", "w2": "nobody knows"}
    tables = {node: routing({**RESPONSES, "/ip": f"client {who}\npod info-1\n"}) for node, who in seen.items()}
    with ExitStack() as stack:
        port = stack.enter_context(serving(NODES["master"], tables["master"]))
        for node in ("w1", "w2"):
            stack.enter_context(serving(NODES[node], tables[node], port))
        cluster = FakeCluster(controller(port, policy="Cluster"), course_ingress(), *BACKENDS)
        found = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress()))
    (hidden,) = found["INGRESS_CLIENT_HIDDEN"]
    assert hidden.detail.startswith(
        "sees 127.0.0.10 and 10.244.1.1 instead of this machine's 127.0.0.1 through "
        f"127.0.0.10:{port} (NodePort of master) and 127.0.0.11:{port} (NodePort of w1): "
    )
    assert "replaces the client's address with master's address or an address of the pod network" in hidden.detail
    (wrong,) = found["INGRESS_CLIENT_WRONG"]
    assert not wrong.ok
    assert "(NodePort of w2), which is not an IP address" in wrong.detail
    assert "NodePort of w1" not in wrong.detail


def test_a_workload_that_does_not_show_its_client_is_not_judged(tmp_path: Path) -> None:
    with serving(NODES["w2"], routing({**RESPONSES, "/ip": "info-1"})) as port:
        cluster = FakeCluster(controller(port), course_ingress(), *BACKENDS)
        found = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress()))
    assert not [code for code in found if code.startswith("INGRESS_CLIENT")]

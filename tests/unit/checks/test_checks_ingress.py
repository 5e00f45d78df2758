"""The Ingress check: real requests, over HTTP and TLS, to servers on loopback addresses that stand for nodes."""

from __future__ import annotations

import base64
import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from provisioner import certificates
from provisioner.checks import ingress
from provisioner.checks.ingress_doors import Door, doors, named
from provisioner.objects import Object

from .memory import Memory, findings, pod, service
from .test_checks_http import NODES, Respond, on_loopback, serving

SITE_CERTIFICATE = certificates.self_signed(["course.test"])
OTHER_CERTIFICATE = certificates.self_signed(["traefik.default"])


def tls_of(pair: tuple[bytes, bytes], folder: Path) -> ssl.SSLContext:
    """Return what a server with this certificate and key speaks TLS with."""
    (folder / "both.pem").write_bytes(b"".join(pair))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "both.pem")
    return context


def course_ingress(tls: bool = False) -> Object:
    def path(where: str, backend: str) -> dict[str, Any]:
        return {"path": where, "backend": {"service": {"name": backend, "port": {"number": 80}}}}

    paths = [path("/", "ing-root"), path("/hname", "ing-info"), path("/ip", "ing-info")]
    spec: dict[str, Any] = {"rules": [{"host": "course.test", "http": {"paths": paths}}]}
    if tls:
        spec["tls"] = [{"hosts": ["course.test"], "secretName": "course-tls"}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "course", "namespace": "course"},
        "spec": spec,
    }


def secret(pair: tuple[bytes, bytes] = SITE_CERTIFICATE) -> Object:
    data = {"tls.crt": base64.b64encode(pair[0]).decode(), "tls.key": base64.b64encode(pair[1]).decode()}
    metadata = {"name": "course-tls", "namespace": "course"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls", "data": data}


def controller(port: int, tls_port: int = 0, policy: str = "Local", **more: Any) -> Object:
    """Return the Service of the controller that a site with Kubernetes 1.20 has."""
    ports = [{"port": 443, "nodePort": tls_port}, {"port": 80, "nodePort": port}]
    more = {"externalTrafficPolicy": policy, "kind": "NodePort", **more}
    return service("haproxy-kubernetes-ingress", namespace="haproxy-controller", ports=ports, **more)


CONTROLLER_POD = pod("haproxy-1", "w2", namespace="haproxy-controller", app="haproxy-kubernetes-ingress")
BEHIND = [
    service("ing-root"),
    service("ing-info"),
    pod("root-1", "w1", app="ing-root"),
    pod("info-1", "w2", app="ing-info"),
    CONTROLLER_POD,
]
RIGHT = {"/": "root-1\n", "/hname": "info-1\n", "/ip": "client 127.0.0.1\npod info-1\n"}


def routing(table: dict[str, str]) -> Respond:
    return lambda path, host: (200, table[path]) if host == "course.test" and path in table else (404, "no")


@pytest.fixture(autouse=True)
def look_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing: these servers say at once what they will ever say."""

    def settle(context: Any, what: str, look: Any, settled: Any, *, timeout: float) -> Any:
        del context, what, settled, timeout
        return look()

    monkeypatch.setattr(ingress, "settle", settle)


def codes(folder: Path, *objects: Object) -> list[str]:
    return [one.code for one in ingress.run(on_loopback(folder, Memory(*objects), 1.0))]


def test_paths_through_the_one_node_that_has_the_controller(tmp_path: Path) -> None:
    with serving(NODES["w2"], routing(RIGHT)) as port:
        memory = Memory(controller(port), course_ingress(), *BEHIND)
        found = findings(ingress.CHECK, on_loopback(tmp_path, memory, 1.0))
    root, hname, ip = found.pop("INGRESS_ROUTES")
    assert (root.subject, hname.subject, ip.subject) == ("course.test/", "course.test/hname", "course.test/ip")
    assert root.detail == f"leads to root-1 of ing-root through 127.0.0.12:{port} (NodePort of w2)"
    assert ip.detail.startswith("leads to info-1 of ing-info")
    assert found.pop("INGRESS_UNKNOWN_404")[0].ok
    (client,) = found.pop("INGRESS_CLIENT")
    assert client.subject == "course.test/ip"
    assert client.detail == (
        "is told this machine's true address, 127.0.0.1 "
        "(externalTrafficPolicy is Local: of all nodes only w2 takes connections)"
    )
    assert not found


def test_every_way_in_is_tried(tmp_path: Path) -> None:
    """One node whose port leads elsewhere is found, though the first one is right."""
    with serving(NODES["master"], routing(RIGHT)) as port, ExitStack() as others:
        others.enter_context(serving(NODES["w1"], routing(RIGHT), port))
        others.enter_context(serving(NODES["w2"], routing({**RIGHT, "/hname": "root-1"}), port))
        memory = Memory(controller(port, policy="Cluster"), course_ingress(), *BEHIND)
        found = findings(ingress.CHECK, on_loopback(tmp_path, memory, 1.0))
    (wrong,) = found["INGRESS_WRONG"]
    assert wrong.subject == "course.test/hname"
    assert f"http://127.0.0.12:{port}/hname" in wrong.detail
    assert [one.subject for one in found["INGRESS_ROUTES"]] == ["course.test/", "course.test/ip"]


R, W, U = "INGRESS_ROUTES", "INGRESS_WRONG", "INGRESS_UNKNOWN_404"


@pytest.mark.parametrize(
    ("respond", "expected"),
    [
        (routing({**RIGHT, "/hname": "root-1"}), [R, W, R, U, "INGRESS_CLIENT"]),
        (routing({"/": "root-1"}), [R, W, W, U]),
        (lambda path, host: (200, "root-1"), [R, W, W, W]),
        (lambda path, host: (503, "no server"), [W, W, W, W]),
        (lambda path, host: (301, "root-1 info-1"), [W, W, W, W]),
    ],
)
def test_paths_that_lead_elsewhere(tmp_path: Path, respond: Respond, expected: list[str]) -> None:
    with serving(NODES["w2"], respond) as port:
        found = list(ingress.run(on_loopback(tmp_path, Memory(controller(port), course_ingress(), *BEHIND), 1.0)))
    assert [one.code for one in found] == expected
    for one in found:
        assert one.ok is (one.code != "INGRESS_WRONG")
        assert one.ok or "haproxy-1: log of haproxy-controller/haproxy-1  8 False" in one.evidence


def test_an_ingress_that_cannot_be_reached(tmp_path: Path) -> None:
    with serving(NODES["w1"], routing(RIGHT)) as port:
        pass  # nobody listens there any more
    found = list(ingress.run(on_loopback(tmp_path, Memory(controller(port), course_ingress(), *BEHIND), 1.0)))
    assert [one.code for one in found] == ["INGRESS_SILENT"] * 4
    assert "connection refused" in found[0].detail
    assert codes(tmp_path, course_ingress(), *BEHIND) == ["INGRESS_NO_ENTRANCE"]
    assert codes(tmp_path) == ["INGRESS_NONE"]


def test_a_users_own_ingress_is_not_asked(tmp_path: Path) -> None:
    """One with a backend of another kind neither breaks the check nor is anything demanded of it."""
    resource = {"resource": {"apiGroup": "k8s.example.com", "kind": "Bucket", "name": "static"}}
    theirs = course_ingress()
    theirs["metadata"] = {"name": "theirs", "namespace": "course"}
    theirs["spec"] = {"rules": [{"host": "their.test", "http": {"paths": [{"path": "/", "backend": resource}]}}]}
    with serving(NODES["w2"], routing(RIGHT)) as port:
        found = findings(
            ingress.CHECK, on_loopback(tmp_path, Memory(controller(port), theirs, course_ingress(), *BEHIND), 1.0)
        )
    assert all(one.ok for many in found.values() for one in many)
    assert "their.test" not in str(found)
    mixed = course_ingress()
    mixed["spec"]["rules"][0]["http"]["paths"].append({"path": "/bucket", "backend": resource})
    assert [one.path for one in ingress.routes(on_loopback(tmp_path, Memory()), [mixed])][:-1] == [
        "/",
        "/hname",
        "/ip",
    ]
    (one,) = findings(ingress.CHECK, on_loopback(tmp_path, Memory(theirs)))["INGRESS_NONE"]
    assert one.subject == "Ingress course/course"


def test_a_load_balancer_that_got_no_address(tmp_path: Path) -> None:
    with serving(NODES["w2"], routing(RIGHT)) as port:
        memory = Memory(controller(port, kind="LoadBalancer"), course_ingress(), *BEHIND)
        found = findings(ingress.CHECK, on_loopback(tmp_path, memory, 1.0))
    (one,) = found.pop("INGRESS_NO_ADDRESS")
    assert not one.ok
    assert len(found["INGRESS_ROUTES"]) == 3, "and the rest is looked at all the same"


# --- doors ------------------------------------------------------------------------------------------------------


def test_the_ways_in(tmp_path: Path) -> None:
    both = controller(30080, 30443, kind="LoadBalancer", given=["192.0.2.200"])
    where = on_loopback(tmp_path, Memory(CONTROLLER_POD), 1.0)
    outside, node = doors(where, both)
    assert outside == Door("192.0.2.200", 80, 443)
    assert node == Door(NODES["w2"], 30080, 30443, "w2")
    assert named([outside, node]) == "192.0.2.200 and 127.0.0.12:30080 (NodePort of w2)"
    everywhere = controller(30080, policy="Cluster")
    assert [door.node for door in doors(where, everywhere)] == [*NODES]
    assert doors(where, service("c", ports=[{"port": 443, "nodePort": 1}])) == []
    assert doors(where, None) == []


# --- HTTPS ------------------------------------------------------------------------------------------------------


def test_https_presents_the_sites_certificate(tmp_path: Path) -> None:
    with ExitStack() as servers:
        port = servers.enter_context(serving(NODES["w2"], routing(RIGHT)))
        tls = servers.enter_context(serving(NODES["w2"], routing(RIGHT), tls=tls_of(SITE_CERTIFICATE, tmp_path)))
        memory = Memory(controller(port, tls), course_ingress(True), secret(), *BEHIND)
        found = findings(ingress.CHECK, on_loopback(tmp_path, memory, 1.0))
    (one,) = found["INGRESS_TLS"]
    assert one.ok
    assert one.subject == "https://course.test"
    assert one.detail.startswith("presents the site's certificate (for course.test, until ")
    assert one.detail.endswith(f" through 127.0.0.12:{tls} (NodePort of w2)")


def test_https_that_presents_another_certificate(tmp_path: Path) -> None:
    with ExitStack() as servers:
        port = servers.enter_context(serving(NODES["w2"], routing(RIGHT)))
        tls = servers.enter_context(serving(NODES["w2"], routing(RIGHT), tls=tls_of(OTHER_CERTIFICATE, tmp_path)))
        memory = Memory(controller(port, tls), course_ingress(True), secret(), *BEHIND)
        found = findings(ingress.CHECK, on_loopback(tmp_path, memory, 1.0))
    (one,) = found["INGRESS_TLS_WRONG"]
    assert not one.ok
    assert "another certificate" in one.detail
    assert "for traefik.default" in one.detail
    assert "holds one for course.test" in one.evidence[0]
    assert "haproxy-1: log of haproxy-controller/haproxy-1  8 False" in one.evidence


def test_https_that_leads_elsewhere_or_is_no_tls_or_has_no_certificate(tmp_path: Path) -> None:
    with serving(NODES["w2"], routing(RIGHT)) as port:
        with serving(NODES["w2"], routing({}), tls=tls_of(SITE_CERTIFICATE, tmp_path)) as tls:
            memory = Memory(controller(port, tls), course_ingress(True), secret(), *BEHIND)
            (one,) = findings(ingress.CHECK, on_loopback(tmp_path, memory, 1.0))["INGRESS_TLS_WRONG"]
            assert "presents the site's certificate through" in one.detail
            assert one.detail.endswith("404 no")
        memory = Memory(controller(port, port), course_ingress(True), secret(), *BEHIND)
        (one,) = findings(ingress.CHECK, on_loopback(tmp_path, memory, 1.0))["INGRESS_TLS_WRONG"]
        assert "has no TLS through" in one.detail
        memory = Memory(controller(port, tls), course_ingress(True), *BEHIND)
        (one,) = findings(ingress.CHECK, on_loopback(tmp_path, memory, 1.0))["INGRESS_TLS_NO_CERTIFICATE"]
        assert "Secret course/course-tls" in one.detail
        memory = Memory(controller(port), course_ingress(True), secret(), *BEHIND)
        (closed,) = findings(ingress.CHECK, on_loopback(tmp_path, memory, 1.0))["INGRESS_TLS_CLOSED"]
    for told in (one, closed):
        assert "Warning Something about course/course" in told.evidence
        assert "haproxy-1: log of haproxy-controller/haproxy-1  8 False" in told.evidence


# --- the client's address ---------------------------------------------------------------------------------------


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
        ("Local", "unknown", "INGRESS_CLIENT_WRONG", "which is no address at all"),
    ],
)
def test_what_is_said_of_the_client(tmp_path: Path, policy: str, told: str, code: str, words: str) -> None:
    table = {**RIGHT, "/ip": f"client {told}\npod info-1\n"}
    with ExitStack() as stack:
        port = stack.enter_context(serving(NODES["w2"], routing(table)))
        for node in ("master", "w1"):
            stack.enter_context(serving(NODES[node], routing(table), port))
        memory = Memory(controller(port, policy=policy), course_ingress(), *BEHIND)
        found = findings(ingress.CHECK, on_loopback(tmp_path, memory, 1.0))
    (one,) = found[code]
    assert one.ok is (code not in ("INGRESS_CLIENT_WRONG", "INGRESS_CLIENT_UNKNOWN"))
    assert words in one.detail


def test_a_workload_that_says_nothing_of_its_client(tmp_path: Path) -> None:
    with serving(NODES["w2"], routing({**RIGHT, "/ip": "info-1"})) as port:
        memory = Memory(controller(port), course_ingress(), *BEHIND)
        found = findings(ingress.CHECK, on_loopback(tmp_path, memory, 1.0))
    assert not [code for code in found if code.startswith("INGRESS_CLIENT")]

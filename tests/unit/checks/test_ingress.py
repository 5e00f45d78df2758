"""The paths of the Ingress check: real requests to servers on loopback addresses that stand for nodes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from provisioner.checks import ingress, ingress_routes
from provisioner.kube import Object
from tests.unit.checks.contexts import findings
from tests.unit.checks.ingresses import (
    BEHIND,
    OTHER_CERTIFICATE,
    RIGHT,
    controller,
    course_ingress,
    here,
    look_once,
    routing,
    secret,
    tls_of,
)
from tests.unit.checks.test_http import NODES, Respond, serving
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import service


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    look_once(monkeypatch)


def codes(folder: Path, *objects: Object) -> list[str]:
    return [one.code for one in ingress.run(here(folder, FakeCluster(*objects), course_ingress()))]


def test_paths_through_the_one_node_that_has_the_controller(tmp_path: Path) -> None:
    with serving(NODES["w2"], routing(RIGHT)) as port:
        cluster = FakeCluster(controller(port), course_ingress(), *BEHIND)
        found = findings(ingress.CHECK, here(tmp_path, cluster, course_ingress()))
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
        cluster = FakeCluster(controller(port, policy="Cluster"), course_ingress(), *BEHIND)
        found = findings(ingress.CHECK, here(tmp_path, cluster, course_ingress()))
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
        cluster = FakeCluster(controller(port), course_ingress(), *BEHIND)
        found = list(ingress.run(here(tmp_path, cluster, course_ingress())))
    assert [one.code for one in found] == expected
    for one in found:
        assert one.ok is (one.code != "INGRESS_WRONG")
        assert one.ok or "haproxy-1: log of haproxy-controller/haproxy-1  8 False" in one.evidence


def test_an_ingress_that_cannot_be_reached(tmp_path: Path) -> None:
    with serving(NODES["w1"], routing(RIGHT)) as port:
        pass  # nobody listens there any more
    cluster = FakeCluster(controller(port), course_ingress(), *BEHIND)
    found = list(ingress.run(here(tmp_path, cluster, course_ingress())))
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
        cluster = FakeCluster(controller(port), theirs, course_ingress(), *BEHIND)
        found = findings(ingress.CHECK, here(tmp_path, cluster, course_ingress()))
    assert all(one.ok for many in found.values() for one in many)
    assert "their.test" not in str(found)
    mixed = course_ingress()
    mixed["spec"]["rules"][0]["http"]["paths"].append({"path": "/bucket", "backend": resource})
    assert [one.path for one in ingress_routes.routes(here(tmp_path, FakeCluster()), [mixed])][:-1] == [
        "/",
        "/hname",
        "/ip",
    ]
    (one,) = findings(ingress.CHECK, here(tmp_path, FakeCluster(theirs), course_ingress()))["INGRESS_NONE"]
    assert one.subject == "Ingress course/course"


# --- what is demanded -------------------------------------------------------------------------------------------


@pytest.fixture
def stripped() -> Object:
    """Return the Ingress in the cluster, from which somebody took spec.tls and the paths /hname and /ip."""
    live = course_ingress()
    del live["spec"]["rules"][0]["http"]["paths"][1:]
    return live


def test_what_is_taken_out_of_the_live_ingress_is_missed(tmp_path: Path, stripped: Object) -> None:
    """The file beside the program is what is demanded, TLS with it."""
    answers = routing({"/": "root-1"})
    with ExitStack() as servers:
        port = servers.enter_context(serving(NODES["w2"], answers))
        tls = servers.enter_context(serving(NODES["w2"], answers, tls=tls_of(OTHER_CERTIFICATE, tmp_path)))
        cluster = FakeCluster(controller(port, tls), stripped, secret(), *BEHIND)
        found = findings(ingress.CHECK, here(tmp_path, cluster))
    assert [one.subject for one in found[R]] == ["course.test/"]
    assert [one.subject for one in found[W]] == ["course.test/hname", "course.test/ip"]
    for one in found[W]:
        assert ": 404 no" in one.detail
        assert one.remedy == "provisioner apply"
        assert one.evidence[0] == "Ingress course/course in the cluster does not lead it there"
    (one,) = found["INGRESS_TLS_WRONG"]
    assert one.subject == "https://course.test"
    assert one.remedy == "provisioner apply"
    assert "Ingress course/course in the cluster has no TLS for it" in one.evidence


def test_a_service_that_leads_to_other_pods_is_no_excuse(tmp_path: Path) -> None:
    """Somebody has ing-root select the pods of ing-info: these may not answer for it."""
    bent = service("ing-root", selector={"app.kubernetes.io/name": "ing-info"})
    with serving(NODES["w2"], routing({**RIGHT, "/": "info-1"})) as port:
        cluster = FakeCluster(controller(port), course_ingress(), bent, *BEHIND[1:])
        found = findings(ingress.CHECK, here(tmp_path, cluster, course_ingress()))
    (one,) = found[W]
    assert one.subject == "course.test/"
    assert "pods of ing-root: root-1" in one.evidence


def test_paths_that_only_the_cluster_has_are_not_demanded(tmp_path: Path) -> None:
    more = course_ingress(True)
    more["spec"]["rules"].append({**course_ingress()["spec"]["rules"][0], "host": "their.test"})
    with serving(NODES["w2"], routing(RIGHT)) as port:
        cluster = FakeCluster(controller(port), more, *BEHIND)
        found = findings(ingress.CHECK, here(tmp_path, cluster, course_ingress()))
    assert found.keys() == {R, U, "INGRESS_CLIENT"}
    assert "their.test" not in str(found)


def test_a_file_without_an_ingress_is_no_proof(tmp_path: Path) -> None:
    where = here(tmp_path, FakeCluster(controller(1), course_ingress(), *BEHIND), service("other"))
    assert [(one.code, one.subject) for one in ingress.run(where)] == [("INGRESS_NONE", "workloads/ingress.yaml")]


def test_one_of_two_ingresses_of_the_file_is_missing(tmp_path: Path) -> None:
    second = course_ingress()
    second["metadata"] = {"name": "second", "namespace": "course"}
    with serving(NODES["w2"], routing(RIGHT)) as port:
        cluster = FakeCluster(controller(port), course_ingress(), *BEHIND)
        found = findings(ingress.CHECK, here(tmp_path, cluster, course_ingress(), second))
    assert [one.subject for one in found["INGRESS_NONE"]] == ["Ingress course/second"]
    assert len(found[R]) == 3, "and the other is looked at"

"""The paths of the ingress check: requests to local servers on loopback addresses in place of nodes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from provisioner.checks import ingress, ingress_routes
from provisioner.kube import Object
from tests.unit.checks.contexts import findings
from tests.unit.checks.ingresses import (
    BACKENDS,
    OTHER_CERTIFICATE,
    RESPONSES,
    controller,
    course_ingress,
    read_once,
    routing,
    secret,
    site_context,
    tls_of,
)
from tests.unit.checks.test_http import NODES, Respond, serving
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import service


@pytest.fixture(autouse=True)
def read_once_only(monkeypatch: pytest.MonkeyPatch) -> None:
    read_once(monkeypatch)


def codes(folder: Path, *objects: Object) -> list[str]:
    return [one.code for one in ingress.run(site_context(folder, FakeCluster(*objects), course_ingress()))]


def test_paths_through_the_one_node_that_runs_the_controller(tmp_path: Path) -> None:
    with serving(NODES["w2"], routing(RESPONSES)) as port:
        cluster = FakeCluster(controller(port), course_ingress(), *BACKENDS)
        found = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress()))
    root, hname, ip = found.pop("INGRESS_ROUTES")
    assert (root.subject, hname.subject, ip.subject) == ("course.test/", "course.test/hname", "course.test/ip")
    assert root.detail == f"leads to root-1 of ing-root through 127.0.0.12:{port} (NodePort of w2)"
    assert ip.detail.startswith("leads to info-1 of ing-info")
    assert found.pop("INGRESS_UNKNOWN_404")[0].ok
    (client,) = found.pop("INGRESS_CLIENT")
    assert client.subject == "course.test/ip"
    assert client.detail == (
        "sees this machine's address, 127.0.0.1 (externalTrafficPolicy is Local; only w2 accepts connections)"
    )
    assert not found


def test_every_endpoint_is_tried(tmp_path: Path) -> None:
    """A node whose port leads elsewhere is found although the first one is right."""
    with serving(NODES["master"], routing(RESPONSES)) as port, ExitStack() as others:
        others.enter_context(serving(NODES["w1"], routing(RESPONSES), port))
        others.enter_context(serving(NODES["w2"], routing({**RESPONSES, "/hname": "root-1"}), port))
        cluster = FakeCluster(controller(port, policy="Cluster"), course_ingress(), *BACKENDS)
        found = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress()))
    (wrong,) = found["INGRESS_WRONG"]
    assert wrong.subject == "course.test/hname"
    assert f"http://127.0.0.12:{port}/hname" in wrong.detail
    assert [one.subject for one in found["INGRESS_ROUTES"]] == ["course.test/", "course.test/ip"]


R, W, U = "INGRESS_ROUTES", "INGRESS_WRONG", "INGRESS_UNKNOWN_404"


@pytest.mark.parametrize(
    ("respond", "expected"),
    [
        (routing({**RESPONSES, "/hname": "root-1"}), [R, W, R, U, "INGRESS_CLIENT"]),
        (routing({"/": "root-1"}), [R, W, W, U]),
        (lambda path, host: (200, "root-1"), [R, W, W, W]),
        (lambda path, host: (503, "no server"), [W, W, W, W]),
        (lambda path, host: (301, "root-1 info-1"), [W, W, W, W]),
    ],
)
def test_paths_that_lead_elsewsite_context(tmp_path: Path, respond: Respond, expected: list[str]) -> None:
    with serving(NODES["w2"], respond) as port:
        cluster = FakeCluster(controller(port), course_ingress(), *BACKENDS)
        found = list(ingress.run(site_context(tmp_path, cluster, course_ingress())))
    assert [one.code for one in found] == expected
    for one in found:
        assert one.ok is (one.code != "INGRESS_WRONG")
        assert one.ok or "haproxy-1: log of haproxy-controller/haproxy-1  8 False" in one.evidence


def test_an_ingress_that_cannot_be_reached_fails(tmp_path: Path) -> None:
    with serving(NODES["w1"], routing(RESPONSES)) as port:
        pass  # nobody listens there anymore
    cluster = FakeCluster(controller(port), course_ingress(), *BACKENDS)
    found = list(ingress.run(site_context(tmp_path, cluster, course_ingress())))
    assert [one.code for one in found] == ["INGRESS_SILENT"] * 4
    assert "connection refused" in found[0].detail
    assert codes(tmp_path, course_ingress(), *BACKENDS) == ["INGRESS_NO_ENTRANCE"]
    assert codes(tmp_path) == ["INGRESS_NONE"]


def test_a_users_own_ingress_is_not_checked(tmp_path: Path) -> None:
    """One with a resource backend neither breaks the check nor needs to work."""
    resource = {"resource": {"apiGroup": "k8s.example.com", "kind": "Bucket", "name": "static"}}
    theirs = course_ingress()
    theirs["metadata"] = {"name": "theirs", "namespace": "course"}
    theirs["spec"] = {"rules": [{"host": "their.test", "http": {"paths": [{"path": "/", "backend": resource}]}}]}
    with serving(NODES["w2"], routing(RESPONSES)) as port:
        cluster = FakeCluster(controller(port), theirs, course_ingress(), *BACKENDS)
        found = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress()))
    assert all(one.ok for many in found.values() for one in many)
    assert "their.test" not in str(found)
    mixed = course_ingress()
    mixed["spec"]["rules"][0]["http"]["paths"].append({"path": "/bucket", "backend": resource})
    assert [one.path for one in ingress_routes.routes(site_context(tmp_path, FakeCluster()), [mixed])][:-1] == [
        "/",
        "/hname",
        "/ip",
    ]
    (one,) = findings(ingress.CHECK, site_context(tmp_path, FakeCluster(theirs), course_ingress()))["INGRESS_NONE"]
    assert one.subject == "Ingress course/course"


# --- the manifest decides ---------------------------------------------------------------------------------------


@pytest.fixture
def stripped() -> Object:
    """Return the Ingress in the cluster, from which somebody removed spec.tls and the paths /hname and /ip."""
    live = course_ingress()
    del live["spec"]["rules"][0]["http"]["paths"][1:]
    return live


def test_what_was_removed_from_the_live_ingress_fails(tmp_path: Path, stripped: Object) -> None:
    """The shipped manifest decides, including TLS."""
    answers = routing({"/": "root-1"})
    with ExitStack() as servers:
        port = servers.enter_context(serving(NODES["w2"], answers))
        tls = servers.enter_context(serving(NODES["w2"], answers, tls=tls_of(OTHER_CERTIFICATE, tmp_path)))
        cluster = FakeCluster(controller(port, tls), stripped, secret(), *BACKENDS)
        found = findings(ingress.CHECK, site_context(tmp_path, cluster))
    assert [one.subject for one in found[R]] == ["course.test/"]
    assert [one.subject for one in found[W]] == ["course.test/hname", "course.test/ip"]
    for one in found[W]:
        assert ": 404 no" in one.detail
        assert one.remedy == "provisioner apply"
        assert one.evidence[0] == "Ingress course/course in the cluster does not have this path"
    (one,) = found["INGRESS_TLS_WRONG"]
    assert one.subject == "https://course.test"
    assert one.remedy == "provisioner apply"
    assert "Ingress course/course in the cluster has no TLS for it" in one.evidence


def test_a_service_that_selects_other_pods_fails(tmp_path: Path) -> None:
    """Somebody made ing-root select the pods of ing-info, which may not answer for it."""
    bent = service("ing-root", selector={"app.kubernetes.io/name": "ing-info"})
    with serving(NODES["w2"], routing({**RESPONSES, "/": "info-1"})) as port:
        cluster = FakeCluster(controller(port), course_ingress(), bent, *BACKENDS[1:])
        found = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress()))
    (one,) = found[W]
    assert one.subject == "course.test/"
    assert "ready pods of ing-root: root-1" in one.evidence


def test_paths_that_only_the_cluster_has_are_not_checked(tmp_path: Path) -> None:
    more = course_ingress(True)
    more["spec"]["rules"].append({**course_ingress()["spec"]["rules"][0], "host": "their.test"})
    with serving(NODES["w2"], routing(RESPONSES)) as port:
        cluster = FakeCluster(controller(port), more, *BACKENDS)
        found = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress()))
    assert found.keys() == {R, U, "INGRESS_CLIENT"}
    assert "their.test" not in str(found)


def test_a_manifest_without_an_ingress_fails(tmp_path: Path) -> None:
    where = site_context(tmp_path, FakeCluster(controller(1), course_ingress(), *BACKENDS), service("other"))
    assert [(one.code, one.subject) for one in ingress.run(where)] == [("INGRESS_NONE", "workloads/ingress.yaml")]


def test_one_of_two_ingresses_is_missing(tmp_path: Path) -> None:
    second = course_ingress()
    second["metadata"] = {"name": "second", "namespace": "course"}
    with serving(NODES["w2"], routing(RESPONSES)) as port:
        cluster = FakeCluster(controller(port), course_ingress(), *BACKENDS)
        found = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress(), second))
    assert [one.subject for one in found["INGRESS_NONE"]] == ["Ingress course/second"]
    assert len(found[R]) == 3, "and the other one is checked"

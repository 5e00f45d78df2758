"""HTTPS of the ingress check: TLS to local servers with the site's certificate or another."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from provisioner.checks import ingress
from tests.unit.checks.contexts import findings
from tests.unit.checks.ingresses import (
    BACKENDS,
    OTHER_CERTIFICATE,
    RESPONSES,
    SITE_CERTIFICATE,
    controller,
    course_ingress,
    read_once,
    routing,
    secret,
    site_context,
    tls_of,
)
from tests.unit.checks.test_http import NODES, serving
from tests.unit.fake_cluster import FakeCluster


@pytest.fixture(autouse=True)
def read_once_only(monkeypatch: pytest.MonkeyPatch) -> None:
    read_once(monkeypatch)


def test_https_presents_the_sites_certificate(tmp_path: Path) -> None:
    with ExitStack() as servers:
        port = servers.enter_context(serving(NODES["w2"], routing(RESPONSES)))
        tls = servers.enter_context(serving(NODES["w2"], routing(RESPONSES), tls=tls_of(SITE_CERTIFICATE, tmp_path)))
        cluster = FakeCluster(controller(port, tls), course_ingress(True), secret(), *BACKENDS)
        found = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress(True)))
    (one,) = found["INGRESS_TLS"]
    assert one.ok
    assert one.subject == "https://course.test"
    assert one.detail.startswith("presents the site's certificate (for course.test, until ")
    assert one.detail.endswith(f" through 127.0.0.12:{tls} (NodePort of w2)")


def test_another_certificate_fails(tmp_path: Path) -> None:
    with ExitStack() as servers:
        port = servers.enter_context(serving(NODES["w2"], routing(RESPONSES)))
        tls = servers.enter_context(serving(NODES["w2"], routing(RESPONSES), tls=tls_of(OTHER_CERTIFICATE, tmp_path)))
        cluster = FakeCluster(controller(port, tls), course_ingress(True), secret(), *BACKENDS)
        found = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress(True)))
    (one,) = found["INGRESS_TLS_WRONG"]
    assert not one.ok
    assert "another certificate" in one.detail
    assert "for traefik.default" in one.detail
    assert "holds one for course.test" in one.evidence[0]
    assert "haproxy-1: log of haproxy-controller/haproxy-1  8 False" in one.evidence


def test_a_wrong_response_no_tls_and_no_certificate_fail(tmp_path: Path) -> None:
    with serving(NODES["w2"], routing(RESPONSES)) as port:
        with serving(NODES["w2"], routing({}), tls=tls_of(SITE_CERTIFICATE, tmp_path)) as tls:
            cluster = FakeCluster(controller(port, tls), course_ingress(True), secret(), *BACKENDS)
            (one,) = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress(True)))[
                "INGRESS_TLS_WRONG"
            ]
            assert "presents the site's certificate through" in one.detail
            assert one.detail.endswith("404 no")
        cluster = FakeCluster(controller(port, port), course_ingress(True), secret(), *BACKENDS)
        (one,) = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress(True)))["INGRESS_TLS_WRONG"]
        assert "does not speak TLS through" in one.detail
        cluster = FakeCluster(controller(port, tls), course_ingress(True), *BACKENDS)
        (one,) = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress(True)))[
            "INGRESS_TLS_NO_CERTIFICATE"
        ]
        assert "Secret course/course-tls" in one.detail
        cluster = FakeCluster(controller(port), course_ingress(True), secret(), *BACKENDS)
        (closed,) = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress(True)))[
            "INGRESS_TLS_CLOSED"
        ]
    for finding in (one, closed):
        assert "Warning Something about course/course" in finding.evidence
        assert "haproxy-1: log of haproxy-controller/haproxy-1  8 False" in finding.evidence


@pytest.mark.parametrize(
    ("tls", "subject", "detail"),
    [
        (
            {"hosts": ["*.course.test"], "secretName": "course-tls"},
            "https://*.course.test",
            "was not tried: Ingress course/course has a certificate but no rule for this host",
        ),
        (
            {"secretName": "course-tls"},
            "Ingress course/course",
            "has a certificate that was not tried: spec.tls has no host for its Secret course-tls",
        ),
        (
            {},
            "Ingress course/course",
            "has a certificate that was not tried: spec.tls has no host for its Secret",
        ),
    ],
)
def test_a_certificate_that_cannot_be_requested_is_skipped(
    tmp_path: Path, tls: dict[str, object], subject: str, detail: str
) -> None:
    wanted = course_ingress(True)
    wanted["spec"]["tls"].append(tls)
    with ExitStack() as servers:
        port = servers.enter_context(serving(NODES["w2"], routing(RESPONSES)))
        tls_port = servers.enter_context(
            serving(NODES["w2"], routing(RESPONSES), tls=tls_of(SITE_CERTIFICATE, tmp_path))
        )
        cluster = FakeCluster(controller(port, tls_port), wanted, secret(), *BACKENDS)
        found = findings(ingress.CHECK, site_context(tmp_path, cluster, wanted))
    assert found["INGRESS_TLS"][0].ok
    (one,) = found["NOT_TRIED"]
    assert (one.subject, one.detail) == (subject, detail)


def test_an_endpoint_without_tls_fails_although_another_has_it(tmp_path: Path) -> None:
    with ExitStack() as servers:
        port = servers.enter_context(serving(NODES["w2"], routing(RESPONSES)))
        tls = servers.enter_context(serving(NODES["w2"], routing(RESPONSES), tls=tls_of(SITE_CERTIFICATE, tmp_path)))
        balanced = controller(port, tls, kind="LoadBalancer", given=["127.0.0.13"])
        closed = controller(port, kind="LoadBalancer", given=["127.0.0.13"])
        for live, expected in ((balanced, set()), (closed, {"INGRESS_TLS_CLOSED"})):
            cluster = FakeCluster(live, course_ingress(True), secret(), *BACKENDS)
            found = findings(ingress.CHECK, site_context(tmp_path, cluster, course_ingress(True)))
            assert found.keys() & {"INGRESS_TLS_CLOSED"} == expected
            assert "INGRESS_TLS_WRONG" in found, "nobody answers at that address, which is tried all the same"
    (one,) = found["INGRESS_TLS_CLOSED"]
    assert f"at 127.0.0.12:{port} (NodePort of w2)" in one.detail

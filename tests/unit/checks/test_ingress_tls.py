"""HTTPS of the Ingress check: real TLS to servers that present one certificate or another."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from provisioner.checks import ingress
from tests.unit.checks.contexts import findings
from tests.unit.checks.ingresses import (
    BEHIND,
    OTHER_CERTIFICATE,
    RIGHT,
    SITE_CERTIFICATE,
    controller,
    course_ingress,
    here,
    look_once,
    routing,
    secret,
    tls_of,
)
from tests.unit.checks.test_http import NODES, serving
from tests.unit.fake_cluster import FakeCluster


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    look_once(monkeypatch)


def test_https_presents_the_sites_certificate(tmp_path: Path) -> None:
    with ExitStack() as servers:
        port = servers.enter_context(serving(NODES["w2"], routing(RIGHT)))
        tls = servers.enter_context(serving(NODES["w2"], routing(RIGHT), tls=tls_of(SITE_CERTIFICATE, tmp_path)))
        memory = FakeCluster(controller(port, tls), course_ingress(True), secret(), *BEHIND)
        found = findings(ingress.CHECK, here(tmp_path, memory, course_ingress(True)))
    (one,) = found["INGRESS_TLS"]
    assert one.ok
    assert one.subject == "https://course.test"
    assert one.detail.startswith("presents the site's certificate (for course.test, until ")
    assert one.detail.endswith(f" through 127.0.0.12:{tls} (NodePort of w2)")


def test_https_that_presents_another_certificate(tmp_path: Path) -> None:
    with ExitStack() as servers:
        port = servers.enter_context(serving(NODES["w2"], routing(RIGHT)))
        tls = servers.enter_context(serving(NODES["w2"], routing(RIGHT), tls=tls_of(OTHER_CERTIFICATE, tmp_path)))
        memory = FakeCluster(controller(port, tls), course_ingress(True), secret(), *BEHIND)
        found = findings(ingress.CHECK, here(tmp_path, memory, course_ingress(True)))
    (one,) = found["INGRESS_TLS_WRONG"]
    assert not one.ok
    assert "another certificate" in one.detail
    assert "for traefik.default" in one.detail
    assert "holds one for course.test" in one.evidence[0]
    assert "haproxy-1: log of haproxy-controller/haproxy-1  8 False" in one.evidence


def test_https_that_leads_elsewhere_or_is_no_tls_or_has_no_certificate(tmp_path: Path) -> None:
    with serving(NODES["w2"], routing(RIGHT)) as port:
        with serving(NODES["w2"], routing({}), tls=tls_of(SITE_CERTIFICATE, tmp_path)) as tls:
            memory = FakeCluster(controller(port, tls), course_ingress(True), secret(), *BEHIND)
            (one,) = findings(ingress.CHECK, here(tmp_path, memory, course_ingress(True)))["INGRESS_TLS_WRONG"]
            assert "presents the site's certificate through" in one.detail
            assert one.detail.endswith("404 no")
        memory = FakeCluster(controller(port, port), course_ingress(True), secret(), *BEHIND)
        (one,) = findings(ingress.CHECK, here(tmp_path, memory, course_ingress(True)))["INGRESS_TLS_WRONG"]
        assert "has no TLS through" in one.detail
        memory = FakeCluster(controller(port, tls), course_ingress(True), *BEHIND)
        (one,) = findings(ingress.CHECK, here(tmp_path, memory, course_ingress(True)))["INGRESS_TLS_NO_CERTIFICATE"]
        assert "Secret course/course-tls" in one.detail
        memory = FakeCluster(controller(port), course_ingress(True), secret(), *BEHIND)
        (closed,) = findings(ingress.CHECK, here(tmp_path, memory, course_ingress(True)))["INGRESS_TLS_CLOSED"]
    for told in (one, closed):
        assert "Warning Something about course/course" in told.evidence
        assert "haproxy-1: log of haproxy-controller/haproxy-1  8 False" in told.evidence


@pytest.mark.parametrize(
    ("tls", "subject", "detail"),
    [
        (
            {"hosts": ["*.course.test"], "secretName": "course-tls"},
            "https://*.course.test",
            "has a certificate in Ingress course/course and no rule of exactly this host: what it presents was not "
            "tried",
        ),
        (
            {"secretName": "course-tls"},
            "Ingress course/course",
            "names no host for the Secret course-tls in spec.tls: that certificate was not tried",
        ),
        (
            {},
            "Ingress course/course",
            "names no host for the Secret in spec.tls: that certificate was not tried",
        ),
    ],
)
def test_a_certificate_that_no_request_can_show_is_said(
    tmp_path: Path, tls: dict[str, object], subject: str, detail: str
) -> None:
    demanded = course_ingress(True)
    demanded["spec"]["tls"].append(tls)
    with ExitStack() as servers:
        port = servers.enter_context(serving(NODES["w2"], routing(RIGHT)))
        tls_port = servers.enter_context(serving(NODES["w2"], routing(RIGHT), tls=tls_of(SITE_CERTIFICATE, tmp_path)))
        memory = FakeCluster(controller(port, tls_port), demanded, secret(), *BEHIND)
        found = findings(ingress.CHECK, here(tmp_path, memory, demanded))
    assert found["INGRESS_TLS"][0].ok
    (one,) = found["NOT_TRIED"]
    assert (one.subject, one.detail) == (subject, detail)


def test_one_door_without_tls_is_found_though_the_others_have_it(tmp_path: Path) -> None:
    with ExitStack() as servers:
        port = servers.enter_context(serving(NODES["w2"], routing(RIGHT)))
        tls = servers.enter_context(serving(NODES["w2"], routing(RIGHT), tls=tls_of(SITE_CERTIFICATE, tmp_path)))
        balanced = controller(port, tls, kind="LoadBalancer", given=["127.0.0.13"])
        closed = controller(port, kind="LoadBalancer", given=["127.0.0.13"])
        for live, expected in ((balanced, set()), (closed, {"INGRESS_TLS_CLOSED"})):
            memory = FakeCluster(live, course_ingress(True), secret(), *BEHIND)
            found = findings(ingress.CHECK, here(tmp_path, memory, course_ingress(True)))
            assert found.keys() & {"INGRESS_TLS_CLOSED"} == expected
            assert "INGRESS_TLS_WRONG" in found, "nobody is at that address, which is asked all the same"
    (one,) = found["INGRESS_TLS_CLOSED"]
    assert f"at 127.0.0.12:{port} (NodePort of w2)" in one.detail

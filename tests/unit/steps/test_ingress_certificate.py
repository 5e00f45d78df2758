"""Certificates of the workloads' Ingresses: created once, renewed in time; others are left alone, keys never shown."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from provisioner.engine import Change
from provisioner.kube import Cluster, Object, certificates
from provisioner.site import Site
from provisioner.steps import ingress_certificate
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import site_at

CLUSTER = 'kubernetes = "1.20.2"'
INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: mine, namespace: shop}
spec:
  tls:
    - {hosts: [shop.test, www.shop.test], secretName: shop-tls}
    - {hosts: [elsewhere.test]}
  rules: []
"""


def changes(api: FakeCluster, site: Site) -> list[Change]:
    return [*ingress_certificate.changes(cast(Cluster, api), site)]


def made(folder: Path) -> tuple[FakeCluster, Site, Object]:
    """Return a cluster with the certificate of the shipped workload."""
    api, site = FakeCluster(), site_at(folder, CLUSTER)
    (change,) = changes(api, site)
    change.do()
    return api, site, api.live("Secret", "course-tls", "course")


def pair(secret: Object) -> tuple[bytes, bytes]:
    certificate, key = (base64.b64decode(secret["data"][part]) for part in ("tls.crt", "tls.key"))
    return certificate, key


def test_it_is_created_once_with_its_namespace(tmp_path: Path) -> None:
    api, site, secret = made(tmp_path)
    assert [item["kind"] for item in api.applied] == ["Namespace", "Secret"]
    assert secret["type"] == "kubernetes.io/tls"
    assert certificates.reason_to_renew(*pair(secret), ["course.test"]) == ""
    assert changes(api, site) == []


def test_an_existing_namespace_is_left_alone(tmp_path: Path) -> None:
    api = FakeCluster({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "course"}})
    (change,) = changes(api, site_at(tmp_path, CLUSTER))
    change.do()
    assert [item["kind"] for item in api.applied] == ["Secret"]


def test_neither_plan_nor_diff_shows_a_key(tmp_path: Path) -> None:
    api, site = FakeCluster(), site_at(tmp_path, CLUSTER)
    (before,) = changes(api, site)
    before.do()
    _, key = pair(api.live("Secret", "course-tls", "course"))
    api.live("Secret", "course-tls", "course")["data"]["tls.crt"] = ""
    (again,) = changes(api, site)
    assert again.summary == (
        "create a certificate for course.test (Secret course/course-tls: certificate or key cannot be read)"
    )
    for change in (before, again):
        shown = f"{change.summary}\n{change.diff}\n{change}"
        assert "course.test" in change.diff
        assert all(line not in shown for line in key.decode().splitlines())
        assert base64.b64encode(key).decode() not in shown


def test_it_is_renewed_before_it_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api, site, secret = made(tmp_path)
    old = pair(secret)
    soon = certificates.self_signed(["course.test"], datetime.now(UTC) - timedelta(days=340))
    secret["data"] = {
        name: base64.b64encode(part).decode() for name, part in zip(("tls.crt", "tls.key"), soon, strict=True)
    }
    (change,) = changes(api, site)
    assert "it expires on " in change.summary
    change.do()
    renewed = pair(api.live("Secret", "course-tls", "course"))
    assert renewed not in (old, soon)
    assert changes(api, site) == []


def test_a_secret_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    api, site, secret = made(tmp_path)
    secret["metadata"] = {"name": "course-tls", "namespace": "course"}
    secret["data"]["tls.crt"] = "bm90IG91cnM="
    assert changes(api, site) == []
    elsewhere = site_at(tmp_path, CLUSTER, '[workloads]\nenabled = ["nodeport"]')
    assert changes(api, elsewhere) == [], "and is not deleted"


def test_it_is_deleted_with_the_workload(tmp_path: Path) -> None:
    api, _, _ = made(tmp_path)
    without = site_at(tmp_path, CLUSTER, '[workloads]\nenabled = ["nodeport"]')
    (change,) = changes(api, without)
    assert change.summary == "delete Secret course/course-tls: no Ingress of the workloads names it"
    change.do()
    assert changes(api, without) == []


def test_an_operators_ingress_gets_one_for_all_its_names(tmp_path: Path) -> None:
    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads/shop.yaml").write_text(INGRESS)
    site = site_at(tmp_path, CLUSTER, '[workloads]\nenabled = ["shop"]')
    assert ingress_certificate.wanted(site) == {("shop", "shop-tls"): ("shop.test", "www.shop.test")}

"""An Ingress, its controller and backends, for the tests of the ingress check."""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import Context, ingress, ingress_exposure, ingress_tls
from provisioner.kube import Object, certificates
from tests.unit.checks.test_http import Respond, on_loopback
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import pod, service

SITE_CERTIFICATE = certificates.self_signed(["course.test"])
OTHER_CERTIFICATE = certificates.self_signed(["traefik.default"])


def tls_of(pair: tuple[bytes, bytes], folder: Path) -> ssl.SSLContext:
    """Return the TLS context of a server with this certificate and key."""
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
    """Return the Service of the controller that a site with Kubernetes 1.20 runs."""
    ports = [{"port": 443, "nodePort": tls_port}, {"port": 80, "nodePort": port}]
    more = {"externalTrafficPolicy": policy, "kind": "NodePort", **more}
    return service("haproxy-kubernetes-ingress", namespace="haproxy-controller", ports=ports, **more)


def controller_pod(ready: bool = True) -> Object:
    return pod("haproxy-1", "w2", namespace="haproxy-controller", app="haproxy-kubernetes-ingress", ready=ready)


SERVICES = [service("ing-root"), service("ing-info")]
PODS = [pod("root-1", "w1", app="ing-root"), pod("info-1", "w2", app="ing-info")]
BACKENDS = [*SERVICES, *PODS, controller_pod()]
RESPONSES = {"/": "root-1\n", "/hname": "info-1\n", "/ip": "client 127.0.0.1\npod info-1\n"}


def routing(table: dict[str, str]) -> Respond:
    return lambda path, host: (200, table[path]) if host == "course.test" and path in table else (404, "no")


def site_context(folder: Path, cluster: FakeCluster, *ingresses: Object, metallb: bool = False) -> Context:
    """Return a context whose ingress workload has these Ingresses, the shipped one by default.

    MetalLB is disabled by default, because an address would need port 80 of this machine.
    """
    if ingresses:
        (folder / "workloads").mkdir(exist_ok=True)
        text = "\n---\n".join(json.dumps(one) for one in (*SERVICES, *ingresses))
        (folder / "workloads" / "ingress.yaml").write_text(text)
    where = on_loopback(folder, cluster, 1.0)
    site = where.site.model_copy(update={"metallb": where.site.metallb.model_copy(update={"enabled": metallb})})
    object.__setattr__(where, "site", site)
    return where


def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the check read once instead of waiting: the responses of these servers never change."""

    def wait_for(context: Any, what: str, read: Any, done: Any, *, timeout: float) -> Any:
        del context, what, done, timeout
        return read()

    for module in (ingress, ingress_exposure, ingress_tls):
        monkeypatch.setattr(module, "wait_for", wait_for)

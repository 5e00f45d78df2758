"""Real Traefik on a real API server, with the rights that our manifest gives it and the arguments that it names.

There are no nodes here, so Traefik runs as a process that stands for its pod: it logs in as the manifest's service
account and listens where a node's NodePorts would lead. The Deployments behind it are servers on loopback.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from provisioner.checks import Context, Finding, http_client, ingress, ingress_endpoints
from provisioner.kube import Cluster, Object, certificates
from provisioner.kube.objects import containers
from provisioner.kube.templates import read
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps import ingress as step
from tests import hosts_toml
from tests.integration.kube.apiserver import ControlPlane, free_port, issue, programs, until
from tests.integration.kube.reaching import HOSTS

pytestmark = pytest.mark.integration

NODE = "127.0.0.10"
TABLES = """
[metallb]
enabled = false
[ingress]
controller = "traefik"
[workloads]
enabled = ["ingress"]
"""


@pytest.fixture
def here(tmp_path: Path) -> Site:
    """Return a site whose only node is this machine, with Traefik."""
    head = HOSTS[: HOSTS.index("[[hosts]]")]
    # hosts.toml refuses a loopback address, so this machine's replaces the one that it has.
    host = hosts_toml.host("master", "192.0.2.10", "control-plane", "worker")
    found = hosts_toml.load(tmp_path, head + host + TABLES)
    (master,) = found.hosts
    return found.model_copy(update={"hosts": (master.model_copy(update={"address": NODE}),)})


@contextmanager
def backend(name: str, answers: dict[str, str]) -> Iterator[int]:
    """Serve the answers of a Deployment's pods, by path; "{client}" is replaced by X-Forwarded-For."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in answers
            self.send_response(200 if known else 500)
            self.end_headers()
            body = answers.get(self.path, f"{name} has nothing at {self.path}")
            self.wfile.write(body.replace("{client}", self.headers["X-Forwarded-For"]).encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def apply_backends(cluster: Cluster, ports: dict[str, int], here: Site) -> None:
    """Apply the workload's Ingress, Services that lead to servers on loopback, and a ready pod for each."""
    for item in read(here, "workloads/ingress.yaml"):
        if item["kind"] == "Service":
            item["spec"] |= {"type": "ExternalName", "externalName": "localhost"}
            item["spec"]["ports"] = [{"name": "http", "port": ports[item["metadata"]["name"]], "protocol": "TCP"}]
        elif item["kind"] == "Ingress":
            for path in item["spec"]["rules"][0]["http"]["paths"]:
                service = path["backend"]["service"]
                service["port"] = {"number": ports[service["name"]]}
        made = _one_pod(item) if item["kind"] == "Deployment" else item
        cluster.wait("a service account", partial(cluster.apply, made), 60)
    for name in ports:
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        cluster.merge("Pod", f"{name}-1", {"status": status}, namespace="course", subresource="status")


def _one_pod(deployment: Object) -> Object:
    template = deployment["spec"]["template"]
    metadata = {**template["metadata"], "name": f"{deployment['metadata']['name']}-1", "namespace": "course"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


@contextmanager
def traefik(control_plane: ControlPlane, wanted: list[Object], live: Object, folder: Path) -> Iterator[Path]:
    """Run Traefik with the arguments of its Deployment, on the node ports of its Service; yield its log."""
    (container,) = next(containers(item) for item in wanted if item["kind"] == "Deployment")
    (account,) = [item["metadata"] for item in wanted if item["kind"] == "ServiceAccount"]
    ports = {port["name"]: port["nodePort"] for port in live["spec"]["ports"]}
    moved = [f"--entrypoints.{name}.address={NODE}:{port}" for name, port in ports.items()]
    own = [
        word for word in container["args"] if word.partition("=")[0] not in {arg.partition("=")[0] for arg in moved}
    ]
    assert len(own) == len(container["args"]) - len(moved), "the arguments name the Service's ports"
    user = issue(f"system:serviceaccount:{account['namespace']}:{account['name']}", by=control_plane.ca)
    (folder / "kubeconfig").write_text(control_plane.kubeconfig(user=user))
    ping = free_port()
    words = [
        *own,
        *moved,
        f"--entrypoints.traefik.address={NODE}:{ping}",
        # Only so can a Service lead to loopback, which Endpoints may not hold.
        "--providers.kubernetesingress.allowexternalnameservices=true",
    ]
    log = folder / "traefik.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", str(programs() / "traefik"), *words],
            env={**os.environ, "KUBECONFIG": str(folder / "kubeconfig")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
        )
    try:
        until(lambda: http_client.get(NODE, ping, "/ping").status == 200, "Traefik to answer its probe")
        yield log
    finally:
        process.kill()
        process.wait()


def findings(context: Context) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in ingress.CHECK.run(context):
        found.setdefault(finding.code, []).append(finding)
    return found


def test_the_workload_through_traefik(
    control_plane: ControlPlane, connect: Callable[..., Cluster], here: Site, tmp_path: Path
) -> None:
    cluster = connect(control_plane.kubeconfig(), at=here)
    host = cast(Host, None)
    for change in step.changes(host, cluster, here):
        if not change.summary.startswith("wait for "):
            change.do()
    left = [change.summary for change in step.changes(host, cluster, here) if not change.summary.startswith("wait ")]
    assert left == [], "a second plan is empty, the certificate included"
    # Which nodes run the controller is nobody's to say here.
    where = {"namespace": "traefik"}
    live = cluster.merge("Service", "traefik", {"spec": {"externalTrafficPolicy": "Cluster"}}, **where)

    root = {"/": "ing-root-1"}
    info = {"/hname": "ing-info-1\n", "/ip": "client {client}\npod ing-info-1\n"}
    with backend("ing-root", root) as one, backend("ing-info", info) as two:
        apply_backends(cluster, {"ing-root": one, "ing-info": two}, here)
        with traefik(control_plane, step.wanted(here), live, tmp_path) as log:
            context = Context(here, cluster, {})
            found = findings(context)
            assert {code: len(every) for code, every in found.items()} == {
                "INGRESS_ROUTES": 3,
                "INGRESS_UNKNOWN_404": 1,
                "INGRESS_TLS": 1,
                "INGRESS_CLIENT": 1,
            }, log.read_text()
            assert all(finding.ok for every in found.values() for finding in every)

            # A Service that leads nowhere is a 503: the path is known.
            (endpoint,) = ingress_endpoints.endpoints(context, ingress_endpoints.service(context))
            gone = {"spec": {"type": "ClusterIP", "externalName": None}}
            cluster.merge("Service", "ing-root", gone, namespace="course")
            until(lambda: endpoint.get(context, "/", "course.test").status == 503, "a path without pods to be a 503")

            # Another certificate in the Secret is presented without anybody's restart.
            other = certificates.self_signed(["course.test"])
            _replace(cluster, other)
            ours = certificates.pem_to_der(other[0])
            until(
                lambda: endpoint.get(context, "/hname", "course.test", tls=True).certificate == ours,
                "the new certificate to be presented",
            )


def test_traefik_can_read_secrets_and_write_nothing(
    control_plane: ControlPlane, connect: Callable[..., Cluster], here: Site
) -> None:
    cluster = connect(control_plane.kubeconfig(), at=here)
    for item in step.wanted(here):
        cluster.apply(item)
    user = issue("system:serviceaccount:traefik:traefik", by=control_plane.ca)
    until(lambda: control_plane.ask("GET", "/api/v1/secrets", user=user)[0] == 200, "the rights to be known")
    for path in ("/api/v1/services", "/api/v1/endpoints", "/apis/networking.k8s.io/v1/ingressclasses"):
        assert control_plane.ask("GET", path, user=user)[0] == 200
    assert control_plane.ask("DELETE", "/api/v1/namespaces/course/secrets/course-tls", user=user)[0] == 403
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": "default"}}
    assert control_plane.ask("POST", "/api/v1/namespaces/default/configmaps", body, user=user)[0] == 403
    assert (
        control_plane.ask("DELETE", "/apis/networking.k8s.io/v1/namespaces/course/ingresses/course", user=user)[0]
        == 403
    )


def _replace(cluster: Cluster, pair: tuple[bytes, bytes]) -> None:
    text = {name: part.decode() for name, part in zip(("tls.crt", "tls.key"), pair, strict=True)}
    cluster.merge("Secret", "course-tls", {"stringData": text}, namespace="course")

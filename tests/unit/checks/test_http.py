"""HTTP requests to local servers on loopback addresses in place of nodes, and the nodeport check with them."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from provisioner.checks import Context, http_client, nodeport
from provisioner.kube import Object
from tests.unit.checks.contexts import context, findings
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import pod, service

NODES = {"master": "127.0.0.10", "w1": "127.0.0.11", "w2": "127.0.0.12"}
Respond = Callable[[str, str], tuple[int, str]]


@contextmanager
def serving(address: str, respond: Respond, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve `respond(path, host)` on an address, over TLS if a context is given; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = respond(self.path, self.headers["Host"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer((address, port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def on_loopback(folder: Path, cluster: FakeCluster, scale: float = 0.02) -> Context:
    """Return a context whose hosts have loopback addresses. scale: of timeouts; small for one that must expire."""
    where = context(folder, cluster)
    hosts = tuple(host.model_copy(update={"address": NODES[host.name]}) for host in where.site.hosts)
    settings = where.site.cluster.model_copy(update={"timeout_scale": scale})
    return replace(where, site=where.site.model_copy(update={"hosts": hosts, "cluster": settings}))


@contextmanager
def node_port(respond: dict[str, Respond]) -> Iterator[int]:
    """Serve on the same port of some nodes' addresses; yield the port."""
    (first, own), *others = respond.items()
    with serving(NODES[first], own) as port:
        if not others:
            yield port
            return
        with serving(NODES[others[0][0]], others[0][1], port):
            if len(others) == 1:
                yield port
                return
            with serving(NODES[others[1][0]], others[1][1], port):
                yield port


def taking_turns(*names: str) -> Respond:
    turn = itertools.cycle(names)
    return lambda path, host: (200, next(turn)) if path == "/hostname" else (404, "")


def np_service(port: int) -> Object:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": port}]
    return service("np-pods", kind="NodePort", ports=ports)


ONE_SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: np-pods, namespace: course}
spec: {type: NodePort, selector: {app.kubernetes.io/name: np-pods}, ports: [{port: 80}]}
"""


def with_one_service(folder: Path) -> Path:
    """Write a nodeport workload with np-pods only, in place of the shipped one."""
    (folder / "workloads").mkdir()
    (folder / "workloads" / "nodeport.yaml").write_text(ONE_SERVICE)
    return folder


PODS = [pod("np-a", "w1", app="np-pods"), pod("np-b", "w2", app="np-pods"), pod("other", "w2", app="other")]


def test_a_nodeport_answers_on_every_node(tmp_path: Path) -> None:
    respond = taking_turns("np-a", "np-b")
    with node_port(dict.fromkeys(NODES, respond)) as port:
        found = findings(
            nodeport.CHECK, on_loopback(with_one_service(tmp_path), FakeCluster(np_service(port), *PODS), 1.0)
        )
    assert [one.subject for one in found.pop("NODEPORT_ANSWERS")] == [f"{own}:{port}" for own in NODES.values()]
    (one,) = found.pop("NODEPORT_PODS")
    assert one.detail == "leads to np-a and np-b (23 requests)"
    (one,) = found.pop("NODEPORT_HELD")
    assert one.subject == f"port {port} for a second Service"
    assert one.detail == "is refused: Service course/np-pods holds it"
    assert not found


def test_a_silent_node_and_a_pod_that_never_answers_fail(tmp_path: Path) -> None:
    proxy = pod("kube-proxy-2", "w2", namespace="kube-system")
    proxy["metadata"]["labels"] = {"k8s-app": "kube-proxy"}
    only = taking_turns("np-a")
    with node_port({"master": only, "w1": lambda path, host: (503, "busy")}) as port:
        found = findings(nodeport.CHECK, on_loopback(tmp_path, FakeCluster(np_service(port), proxy, *PODS)))
    assert [one.detail for one in found["NODEPORT_ANSWERS"]] == ["(master) answers as np-a"]
    broken, silent = found["NODEPORT_SILENT"]
    assert broken.detail == "(w1) does not serve course/np-pods: 503"
    assert broken.evidence == ("no kube-proxy pod runs on w1",)
    assert silent.detail == "(w2) does not serve course/np-pods: connection refused"
    assert silent.evidence == ("kube-proxy: log of kube-system/kube-proxy-2  8 False",)
    (one,) = found["NODEPORT_POD_UNSEEN"]
    assert one.detail.startswith("never led to np-b in ")
    assert "np-b: agnhost: log of course/np-b agnhost 8 False" in one.evidence


def test_a_missing_service_or_pod_fails(tmp_path: Path) -> None:
    found = findings(nodeport.CHECK, on_loopback(tmp_path, FakeCluster(service("np-pods"))))["NODEPORT_NONE"]
    assert [(one.ok, one.subject, one.detail) for one in found] == [
        (False, "Service course/np-pods", "is not of type NodePort"),
        (False, "Service course/np-pods-assigned", "does not exist"),
    ]
    sick = pod("np-a", "w1", app="np-pods", ready=False)
    (one,) = findings(nodeport.CHECK, on_loopback(tmp_path, FakeCluster(np_service(1), sick)))["NODEPORT_NO_PODS"]
    assert one.detail == "has 0 of 1 pods ready (np-a: running but not ready)"
    assert one.evidence


def test_errors_of_servers_that_do_not_speak_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def talk() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.recv(1024)
                accepted.sendall(b"SSH-2.0-x\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        response = http_client.get("127.0.0.1", port, "/x", timeout=5)
        thread.join()
        assert response.status == 0
        assert response.error.startswith("not HTTP: BadStatusLine")
        assert http_client.get("127.0.0.1", port, timeout=0.05).error == "timed out"  # nobody accepts
    assert http_client.connect("127.0.0.1", port) == "connection refused"

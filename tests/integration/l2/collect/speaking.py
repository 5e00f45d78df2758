"""Servers besides the API, a speaker's metrics and a kubelet's logs, and a collection from all of them."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import cast

from provisioner.kube import Cluster
from provisioner.l2.collect import collector
from provisioner.l2.facts import Facts
from provisioner.site import Site
from provisioner.ssh import Host, HostNic
from tests.integration.l2.collect.cluster import WORKER

KUBELET = 10250  # the API server presents a certificate there, where speakers require a token
METRICS = """\
# HELP metallb_layer2_requests_received Number of layer2 requests received for owned IPs
# TYPE metallb_layer2_requests_received counter
metallb_layer2_requests_received{ip="192.0.2.200"} 1.2e+02
metallb_layer2_responses_sent{ip="192.0.2.200"} 7
metallb_layer2_gratuitous_sent{ip="192.0.2.200"} 10
metallb_k8s_client_config_loaded_bool 1
metallb_k8s_client_config_stale_bool 0
"""


@contextmanager
def serving(
    address: str, port: int, *answers: bytes, status: int = 200, tls: ssl.SSLContext | None = None
) -> Iterator[None]:
    """Serve these bytes for every request, at one of the namespace's addresses."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorized = self.headers.get("Authorization", "").startswith("Bearer ey")
            self.send_response(status if authorized or tls is None or port == KUBELET else 401)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(b"".join(answers))

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer((address, port), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def hosts(site: Site, **known: tuple[HostNic, ...] | Exception) -> dict[str, Host]:
    """Return hosts with these NICs whose tunnels lead to this namespace; SSH itself is tested elsewhere."""

    class FakeHost:
        def __init__(self, name: str) -> None:
            self.name = name
            self.spec = next(spec for spec in site.hosts if spec.name == name)

        @property
        def facts(self) -> SimpleNamespace:
            found = known[self.name]
            if isinstance(found, Exception):
                raise found
            return SimpleNamespace(nics=found)

        @contextmanager
        def tunnel(self, address: str, port: int) -> Iterator[SimpleNamespace]:
            yield SimpleNamespace(address=address, port=port)

    return {name: cast(Host, FakeHost(name)) for name in known}


NICS = (
    HostNic("lo", "00:00:00:00:00:00", True, ("127.0.0.1/8", "::1/128"), "", False),
    HostNic("eth1", "52:54:00:00:00:11", True, (f"{WORKER}/24", "fe80::11/64"), "", True),
    HostNic("veth12ab", "aa:bb:cc:00:00:01", True, ("fe80::1/64",), "cni0", False),
)


def collect(cluster: Cluster, site: Site, **known: tuple[HostNic, ...] | Exception) -> tuple[Facts, list[str]]:
    notes: list[str] = []
    return collector.from_cluster(cluster, hosts(site, **known), site, note=notes.append), notes

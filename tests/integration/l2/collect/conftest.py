"""One namespace with one control plane and one cluster, for all tests of this folder."""

from __future__ import annotations

import ctypes
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator

import pytest

from provisioner.kube import Cluster
from provisioner.site import Site
from tests.integration.kube import reaching
from tests.integration.kube.apiserver import ControlPlane, issue
from tests.integration.kube.reaching import Connect
from tests.integration.l2.collect.cluster import MASTER, WORKER, fill
from tests.integration.l2.collect.speaking import METRICS, serving


def enter(path: str) -> None:
    """Move this thread, and everything it starts from now on, into a network namespace."""
    with open(path) as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")


@pytest.fixture(scope="package")
def namespace() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    name, here = f"pl2-collect-{os.getpid()}", f"/proc/self/task/{threading.get_native_id()}/ns/net"
    with open(here) as home:
        subprocess.run(["ip", "netns", "add", name], check=True)
        try:
            enter(f"/run/netns/{name}")
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            for address in (MASTER, WORKER):
                subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
            yield
        finally:
            enter(f"/proc/self/fd/{home.fileno()}")
            subprocess.run(["ip", "netns", "delete", name], check=False)


@pytest.fixture(scope="package")
def control_plane(namespace: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with reaching.running(tmp_path_factory.mktemp("control-plane")) as made:
        yield made


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return reaching.load_impatient(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="package")
def connect(control_plane: ControlPlane, site: Site) -> Iterator[Connect]:
    """Yield `connect(user=…)`, which returns a Cluster."""
    with reaching.connecting(site) as build:
        yield lambda **options: build(control_plane.kubeconfig(**options))


@pytest.fixture(scope="package")
def admin(connect: Connect) -> Cluster:
    """Return the filled cluster, as its administrator."""
    cluster = connect()
    fill(cluster)
    return cluster


@pytest.fixture
def speaker_metrics(namespace: None) -> Iterator[None]:
    """Serve a speaker's metrics, at the worker's address and MetalLB's port."""
    with serving(WORKER, 7472, METRICS.encode()):
        yield


@pytest.fixture(scope="package")
def tls(control_plane: ControlPlane) -> ssl.SSLContext:
    """Return a server context with a certificate, as of a kubelet or a speaker of 0.16."""
    own = issue("worker1", by=control_plane.ca, hosts=(WORKER,), server=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*own.save(control_plane.directory, "worker1"))
    return context

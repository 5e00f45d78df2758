"""An API server that is killed and restarted: the error has its URL and a remedy, and the client recovers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from provisioner.errors import ClusterError
from provisioner.kube import ApiState, Cluster
from provisioner.site import Site
from tests.integration.kube.apiserver import ControlPlane

pytestmark = pytest.mark.integration


@pytest.fixture
def dead(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """Return a control plane whose API server was killed; restart it after the test."""
    control_plane.kill("kube-apiserver")
    yield control_plane
    if "kube-apiserver" not in control_plane.running:
        control_plane.start_api()


def test_a_connection_survives_a_restart(
    control_plane: ControlPlane, impatient: Site, connect: Callable[..., Cluster]
) -> None:
    cluster = connect(control_plane.kubeconfig(), at=impatient)
    assert cluster.state() is ApiState.READY
    control_plane.kill("kube-apiserver")
    try:
        with pytest.raises(ClusterError) as raised:
            cluster.nodes()
        text = str(raised.value)
        assert text == (
            f"the API at {control_plane.url} does not answer: "
            "Failed to establish a new connection: [Errno 111] Connection refused; "
            "check the control plane: provisioner ssh master -- sudo crictl ps -a"
        )
        assert cluster.state() is ApiState.UNREACHABLE
        assert cluster.api_error == text
    finally:
        control_plane.start_api()
    assert cluster.state() is ApiState.READY
    assert "kube-system" in {item["metadata"]["name"] for item in cluster.list("Namespace")}


def test_an_api_that_never_answered_is_unreachable(
    dead: ControlPlane, impatient: Site, connect: Callable[..., Cluster]
) -> None:
    """It must not be mistaken for an absent cluster."""
    cluster = connect(dead.kubeconfig(), at=impatient)
    assert cluster.state() is ApiState.UNREACHABLE
    reason = "directly or through master: master: connection refused"
    assert cluster.api_error == f"cannot reach the API at {dead.url}, {reason}"
    dead.start_api()
    assert cluster.state() is ApiState.READY


def test_a_wait_survives_a_restart(control_plane: ControlPlane, connect: Callable[..., Cluster]) -> None:
    cluster = connect(control_plane.kubeconfig())
    polled = threading.Event()
    found: list[object] = []

    def poll() -> object:
        polled.set()
        return cluster.get("Namespace", "after-the-outage")

    waiting = threading.Thread(target=lambda: found.append(cluster.wait("the namespace", poll, 120)))
    waiting.start()
    assert polled.wait(30)
    control_plane.kill("kube-apiserver")
    control_plane.start_api()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "after-the-outage"}}
    assert control_plane.ask("POST", "/api/v1/namespaces", namespace)[0] == 201
    waiting.join(60)
    assert len(found) == 1

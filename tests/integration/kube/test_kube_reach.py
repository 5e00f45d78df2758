"""Connections to a real API server: directly or through a tunnel, TLS verification, authorization."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from provisioner.errors import ClusterError
from provisioner.kube import ApiState, Cluster
from tests.integration.kube.apiserver import EDITION, ControlPlane, free_port, issue
from tests.integration.kube.reaching import Connect

pytestmark = pytest.mark.integration


def test_it_reads_the_version_and_plain_text(cluster: Cluster) -> None:
    assert cluster.state() is ApiState.READY
    assert cluster.reachable()
    assert cluster.raw("/version")["gitVersion"] == f"v{EDITION.kubernetes}"
    assert cluster.raw("/readyz") == "ok"


def test_a_missing_path_is_an_error_with_the_response(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"^the API refused to GET /no/such/path: .* \(404\)$"):
        cluster.raw("/no/such/path")


def test_without_an_admin_conf_there_is_no_cluster(connect: Connect) -> None:
    nothing = connect("")
    assert nothing.state() is ApiState.ABSENT
    assert not nothing.reachable()
    with pytest.raises(ClusterError, match="there is no cluster yet; provisioner apply"):
        nothing.nodes()


def test_an_unreachable_address_is_reached_through_the_control_plane(
    control_plane: ControlPlane, connect: Connect
) -> None:
    """The certificate is verified, although it names neither the tunnel's address nor its port."""
    end = SimpleNamespace(address="127.0.0.1", port=control_plane.ports["api"], close=lambda: None)
    through = connect(control_plane.kubeconfig(f"https://127.0.0.1:{free_port()}"), end)
    assert through.state() is ApiState.READY
    assert through.get("Namespace", "kube-system")


def test_threads_share_one_tunnel(control_plane: ControlPlane, connect: Connect) -> None:
    end = SimpleNamespace(address="127.0.0.1", port=control_plane.ports["api"], close=lambda: None)
    through = connect(control_plane.kubeconfig(f"https://127.0.0.1:{free_port()}"), end)
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda _: through.get("Namespace", "default"), range(8))]
    assert all(answers)
    access: Any = through._api.access
    host = access._control_planes[0]
    assert host.tunnels == [("192.0.2.10", 6443)]


def test_a_certificate_of_another_ca_is_refused(control_plane: ControlPlane, connect: Connect, impatient: Any) -> None:
    right = base64.b64encode(control_plane.ca.certificate).decode()
    wrong = base64.b64encode(issue("kubernetes").certificate).decode()
    text = control_plane.kubeconfig()
    assert right in text.replace("\n", "").replace(" ", "")
    stranger = connect("", at=impatient)
    access: Any = stranger._api.access
    host = access._control_planes[0]
    import yaml

    config = yaml.safe_load(text)
    config["clusters"][0]["cluster"]["certificate-authority-data"] = wrong
    host.text = yaml.safe_dump(config)
    assert stranger.state() is ApiState.UNREACHABLE
    assert "certificate verify failed" in stranger.api_error


def test_a_user_without_permission_gets_an_error(control_plane: ControlPlane, connect: Connect) -> None:
    nobody = connect(control_plane.kubeconfig(user=issue("nobody", by=control_plane.ca)))
    with pytest.raises(ClusterError, match=r'nodes is forbidden: User "nobody".*\(403\)'):
        nobody.nodes()

"""Whether a real API server is there: by which way it is reached, whom it is believed, whom it lets in."""

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


def test_what_the_api_does_not_have_is_one_line_with_its_answer(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"^the API refused to GET /no/such/path: .* \(404\)$"):
        cluster.raw("/no/such/path")


def test_without_an_admin_conf_there_is_no_cluster(connect: Connect) -> None:
    nothing = connect("")
    assert nothing.state() is ApiState.ABSENT
    assert not nothing.reachable()
    with pytest.raises(ClusterError, match="there is no cluster yet; provisioner apply"):
        nothing.nodes()


def test_an_address_out_of_reach_is_reached_through_the_control_plane(
    control_plane: ControlPlane, connect: Connect
) -> None:
    """The certificate names neither the tunnel's end nor its port; it is verified all the same."""
    end = SimpleNamespace(address="127.0.0.1", port=control_plane.ports["api"], close=lambda: None)
    through = connect(control_plane.kubeconfig(f"https://127.0.0.1:{free_port()}"), end)
    assert through.state() is ApiState.READY
    assert through.get("Namespace", "kube-system")


def test_many_threads_share_one_tunnel(control_plane: ControlPlane, connect: Connect) -> None:
    end = SimpleNamespace(address="127.0.0.1", port=control_plane.ports["api"], close=lambda: None)
    through = connect(control_plane.kubeconfig(f"https://127.0.0.1:{free_port()}"), end)
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda _: through.get("Namespace", "default"), range(8))]
    assert all(answers)
    host: Any = through._api._control_planes[0]
    assert host.tunnels == [("192.0.2.10", 6443)]


def test_an_api_that_another_ca_vouches_for_is_not_believed(
    control_plane: ControlPlane, connect: Connect, impatient: Any
) -> None:
    right = base64.b64encode(control_plane.ca.certificate).decode()
    wrong = base64.b64encode(issue("kubernetes").certificate).decode()
    text = control_plane.kubeconfig()
    assert right in text.replace("\n", "").replace(" ", "")
    stranger = connect("", at=impatient)
    host: Any = stranger._api._control_planes[0]
    import yaml

    config = yaml.safe_load(text)
    config["clusters"][0]["cluster"]["certificate-authority-data"] = wrong
    host.text = yaml.safe_dump(config)
    assert stranger.state() is ApiState.UNREACHABLE
    assert "certificate verify failed" in stranger.api_error


def test_a_user_without_rights_is_told_so(control_plane: ControlPlane, connect: Connect) -> None:
    nobody = connect(control_plane.kubeconfig(user=issue("nobody", by=control_plane.ca)))
    with pytest.raises(ClusterError, match=r'nodes is forbidden: User "nobody".*\(403\)'):
        nobody.nodes()

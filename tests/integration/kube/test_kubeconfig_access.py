"""A kubeconfig's credentials against a real API server: certificates, files, tokens, programs, and those that fail."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import ApiUnreachable, ClusterError
from provisioner.kube import ApiState, Cluster, ClusterView, kubeconfig_file
from tests.integration.kube.apiserver import ControlPlane, free_port

pytestmark = pytest.mark.integration


def view(folder: Path, plane: ControlPlane, user: dict[str, Any], **cluster: Any) -> ClusterView:
    """Return the cluster of a kubeconfig with this user; cluster: replaces keys of the cluster's entry."""
    ca = base64.b64encode(plane.ca.certificate).decode()
    entry = {"server": plane.url, "certificate-authority-data": ca} | cluster
    document = {
        "clusters": [{"name": "c", "cluster": {key: value for key, value in entry.items() if value is not None}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "config"
    path.write_text(json.dumps(document))
    return ClusterView.of_kubeconfig(kubeconfig_file.load([path]))


@pytest.fixture
def token(cluster: Cluster) -> str:
    """Return a token of a ServiceAccount that may list Namespaces."""
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader", "namespace": "default"}}
    )
    rules = [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"]}]
    cluster.apply(rbac | {"kind": "ClusterRole", "metadata": {"name": "reader"}, "rules": rules})
    cluster.apply(
        rbac
        | {
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}],
            "roleRef": {"kind": "ClusterRole", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"},
        }
    )
    issued = cluster.token("default", "reader", 600)
    assert issued
    return issued


def test_an_admins_certificate_in_the_file_or_beside_it(tmp_path: Path, control_plane: ControlPlane) -> None:
    pair = control_plane.admin
    inside = {
        "client-certificate-data": base64.b64encode(pair.certificate).decode(),
        "client-key-data": base64.b64encode(pair.key).decode(),
    }
    certificate, key = pair.save(tmp_path, "own")
    beside = {"client-certificate": Path(certificate).name, "client-key": Path(key).name}
    for user in (inside, beside):
        cluster = view(tmp_path, control_plane, user)
        assert cluster.state() is ApiState.READY
        assert {item["metadata"]["name"] for item in cluster.list("Namespace")} >= {"default", "kube-system"}
        cluster.disconnect()
        assert cluster.reachable(), "it connects again"
        cluster.disconnect()


def test_a_token_a_token_file_and_a_program(tmp_path: Path, control_plane: ControlPlane, token: str) -> None:
    (tmp_path / "token").write_text(token)
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": token},
    }
    (tmp_path / "credential.json").write_text(json.dumps(credential))
    program = {"apiVersion": credential["apiVersion"], "command": "cat", "args": [str(tmp_path / "credential.json")]}
    for user in ({"token": token}, {"tokenFile": "token"}, {"exec": program}):
        cluster = view(tmp_path, control_plane, user)
        assert cluster.list("Namespace"), user
        with pytest.raises(ClusterError, match="forbidden"):
            cluster.list("Secret")
        cluster.disconnect()


def test_a_tls_server_name_and_no_verification(tmp_path: Path, control_plane: ControlPlane, token: str) -> None:
    for options in (
        {"tls-server-name": "kubernetes"},
        {"insecure-skip-tls-verify": True, "certificate-authority-data": None},
    ):
        cluster = view(tmp_path, control_plane, {"token": token}, **options)
        assert cluster.list("Namespace"), options
        cluster.disconnect()


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "false"}}, "exec: process returned 1"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-program"}}, "no-such-program"),
        ({"client-certificate": "gone.crt", "client-key": "gone.key"}, "gone.crt"),
        ({"client-certificate-data": "!", "client-key-data": "!"}, "client-certificate-data is not base64"),
    ],
)
def test_credentials_that_cannot_be_used(
    tmp_path: Path, control_plane: ControlPlane, user: dict[str, Any], message: str
) -> None:
    cluster = view(tmp_path, control_plane, user)
    assert cluster.state() is ApiState.UNREACHABLE
    assert message in cluster.api_error
    assert "check them" in cluster.api_error or "not base64" in cluster.api_error


def test_a_silent_server_and_another_ca(tmp_path: Path, control_plane: ControlPlane) -> None:
    silent = view(tmp_path, control_plane, {"token": "x"}, server=f"https://127.0.0.1:{free_port()}")
    with pytest.raises(ApiUnreachable) as caught:
        silent.raw("/version", retry_for=0)
    assert "Connection refused" in str(caught.value)
    assert caught.value.remedy == "check it with: kubectl --context x get --raw /version"
    stranger = view(tmp_path, control_plane, {"token": "x"}, **{"certificate-authority-data": None})
    assert not stranger.reachable()
    assert "certificate verify failed" in stranger.api_error

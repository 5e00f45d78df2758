"""Secrets on a real API server: diffs never show their values, and a join token expires."""

from __future__ import annotations

import base64

import pytest

from provisioner.kube import Cluster, Object
from provisioner.steps.join import token_secret
from tests.integration.kube.apiserver import ControlPlane

pytestmark = pytest.mark.integration


def secret(name: str, namespace: str, **values: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


def test_the_diff_of_a_secret_masks_its_values(cluster: Cluster, course: str, name: str) -> None:
    first, second = "correct-horse", "battery-stapl"
    assert len(first) == len(second)
    hidden = [text for value in (first, second) for text in (value, base64.b64encode(value.encode()).decode())]
    diffs = [cluster.diff(secret(name, course, password=first))]
    assert "(13 characters)" in diffs[0]
    cluster.apply(secret(name, course, password=first))
    assert cluster.diff(secret(name, course, password=first)) == ""
    diffs.append(cluster.diff(secret(name, course, password=second)))
    assert "changed)" in diffs[1], "a new value of the same length is a difference"
    assert not [text for text in hidden for diff in diffs if text in diff]


def test_the_diff_omits_kubectls_copy_of_a_secret(
    cluster: Cluster, control_plane: ControlPlane, course: str, name: str
) -> None:
    cluster.apply(secret(name, course, password="correct-horse"))
    note = {"kubectl.kubernetes.io/last-applied-configuration": '{"stringData":{"password":"correct-horse"}}'}
    path = f"/api/v1/namespaces/{course}/secrets/{name}"
    patch = {"metadata": {"annotations": note}}
    control_plane.ask("PATCH", path, patch, content="application/merge-patch+json")
    diff = cluster.diff(secret(name, course, password="battery"))
    assert "changed)" in diff
    assert "correct-horse" not in diff


def test_a_join_token_is_valid_until_it_is_deleted(cluster: Cluster, control_plane: ControlPlane) -> None:
    token = "abcdef.0123456789abcdef"

    def log_in() -> tuple[int, str]:
        status, said = control_plane.ask("GET", "/api/v1/nodes", token=token)
        return status, str(said.get("message", ""))

    assert log_in()[0] == 401
    cluster.apply(token_secret(token, 600))
    cluster.wait("the token to be known", lambda: log_in()[0] != 401, 20)
    status, said = log_in()
    assert (status, "system:bootstrap:abcdef" in said) == (403, True), said  # authenticated, but only allowed to join
    cluster.delete("Secret", "bootstrap-token-abcdef", "kube-system")
    cluster.wait("the token to be forgotten", lambda: log_in()[0] == 401, 20)


def test_a_join_token_expires(cluster: Cluster, control_plane: ControlPlane) -> None:
    token = "fedcba.0123456789abcdef"
    cluster.apply(token_secret(token, -1))
    assert cluster.get("Secret", "bootstrap-token-fedcba", "kube-system")
    status, _ = control_plane.ask("GET", "/api/v1/nodes", token=token)
    assert status == 401
    cluster.delete("Secret", "bootstrap-token-fedcba", "kube-system")

"""Cluster against a real API server: objects are applied, read, listed, patched and deleted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object
from tests.integration.kube.apiserver import ControlPlane
from tests.integration.kube.reaching import Connect, config_map

pytestmark = pytest.mark.integration


def test_an_applied_object_is_read_back(cluster: Cluster, course: str, name: str) -> None:
    assert cluster.get("ConfigMap", name, course) is None
    applied = cluster.apply(config_map(name, course, {"a": "1"}))
    found = cluster.get("ConfigMap", name, course)
    assert found is not None
    assert found["data"] == applied["data"] == {"a": "1"}


def test_a_dry_run_creates_nothing(cluster: Cluster, course: str, name: str) -> None:
    assert cluster.apply(config_map(name, course, {"a": "1"}), dry_run=True)["data"] == {"a": "1"}
    assert cluster.get("ConfigMap", name, course) is None


def test_lists_take_selectors_and_items_have_their_kind(cluster: Cluster, course: str, name: str) -> None:
    cluster.apply(config_map(name, course, {}, {"of": name}))
    cluster.apply(config_map(f"{name}-b", course, {}, {"of": name}))
    found = cluster.list("ConfigMap", course, labels=f"of={name}")
    assert [item["metadata"]["name"] for item in found] == [name, f"{name}-b"]
    assert {(item["apiVersion"], item["kind"]) for item in found} == {("v1", "ConfigMap")}
    (one,) = cluster.list("ConfigMap", course, fields=f"metadata.name={name}")
    assert one["metadata"]["name"] == name
    everywhere = cluster.list("ConfigMap")
    assert {"kube-system", course} <= {item["metadata"]["namespace"] for item in everywhere}


def test_deleting_a_missing_object_succeeds(cluster: Cluster, course: str, name: str) -> None:
    cluster.apply(config_map(name, course, {}))
    cluster.delete("ConfigMap", name, course)
    assert cluster.get("ConfigMap", name, course) is None
    cluster.delete("ConfigMap", name, course)
    cluster.delete("Widget", name, course, "no.such.group/v1")


def test_a_merge_patch_changes_only_its_fields(cluster: Cluster, course: str, name: str) -> None:
    cluster.apply(config_map(name, course, {"a": "1", "b": "2"}))
    patched = cluster.merge("ConfigMap", name, {"data": {"a": "3", "b": None}}, namespace=course)
    assert patched["data"] == {"a": "3"}
    with pytest.raises(ClusterError, match=r"the API refused to patch ConfigMap course-api/gone: .*not found \(404\)"):
        cluster.merge("ConfigMap", "gone", {"data": {}}, namespace=course)


def test_an_error_names_the_object_and_the_reason(cluster: Cluster, course: str) -> None:
    with pytest.raises(ClusterError, match=r"refused to apply ConfigMap course-api/Not_A_Name: .*Invalid value"):
        cluster.apply(config_map("Not_A_Name", course, {}))


def _volume(name: str, path: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "nfs": {"server": "192.0.2.10", "path": path},
        },
    }


def _class(name: str, share: str) -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "example.org/nfs",
        "parameters": {"share": share},
    }


def _stateful_set(name: str, storage_class: str) -> Object:
    template = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": "course-api"},
        "spec": {
            "replicas": 0,
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "example.org/web:1"}]},
            },
            "volumeClaimTemplates": [template],
        },
    }


@pytest.mark.usefixtures("course")
@pytest.mark.parametrize("made", [_volume, _class, _stateful_set])
def test_a_change_of_an_immutable_field_has_a_remedy(
    cluster: Cluster, name: str, made: Callable[[str, str], Object]
) -> None:
    first = made(name, "/one" if made is not _stateful_set else "one")
    cluster.apply(first)
    with pytest.raises(ClusterError, match=r"(?s)refused to apply .* \(422\)") as raised:
        cluster.apply(made(name, "/two" if made is not _stateful_set else "two"))
    assert raised.value.remedy.startswith("the field is immutable: restore its value")
    where = {"namespace": first["metadata"].get("namespace"), "api_version": first["apiVersion"]}
    if made is _volume:  # there is no controller to remove its finalizer
        cluster.merge(first["kind"], name, {"metadata": {"finalizers": None}}, **where)
    cluster.delete(first["kind"], name, **where)
    cluster.wait("it to go", lambda: cluster.get(first["kind"], name, **where) is None, 30)


def test_threads_find_every_kind_while_one_is_unknown(control_plane: ControlPlane, connect: Connect) -> None:
    """Discovery for an unknown kind must not drop the known ones, even briefly."""
    fresh = connect(control_plane.kubeconfig())

    def look(number: int) -> bool:
        if number % 2:
            return fresh.get("NoSuchKind", "x", "default") is None
        return fresh.get("Namespace", "default") is not None

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(200)))

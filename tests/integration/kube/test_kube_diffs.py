"""A diff is exactly what an apply changes, as a real API server reports it."""

from __future__ import annotations

import pytest

from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object
from tests.integration.kube.apiserver import ControlPlane
from tests.integration.kube.reaching import config_map

pytestmark = pytest.mark.integration


def test_a_new_object_is_all_added_and_an_unchanged_one_has_no_diff(cluster: Cluster, course: str, name: str) -> None:
    wanted = config_map(name, course, {"a": "1"})
    diff = cluster.diff(wanted)
    assert f"+++ ConfigMap {course}/{name} (wanted)" in diff
    assert "+  a: '1'\n" in diff
    cluster.apply(wanted)
    assert cluster.diff(wanted) == ""


def test_a_changed_object_shows_only_the_change(cluster: Cluster, course: str, name: str) -> None:
    cluster.apply(config_map(name, course, {"a": "1", "b": "2"}))
    diff = cluster.diff(config_map(name, course, {"a": "1", "b": "3"}))
    changed = [line for line in diff.splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-  b: '2'", "+  b: '3'"]


def test_a_field_removed_from_the_manifest_is_removed(cluster: Cluster, course: str, name: str) -> None:
    cluster.apply(config_map(name, course, {"a": "1", "b": "2"}))
    fewer = config_map(name, course, {"a": "1"})
    assert "-  b: '2'" in cluster.diff(fewer)
    assert cluster.apply(fewer)["data"] == {"a": "1"}
    assert cluster.diff(fewer) == ""


def test_fields_of_other_managers_are_kept_and_not_compared(
    cluster: Cluster, control_plane: ControlPlane, course: str, name: str
) -> None:
    wanted = config_map(name, course, {"a": "1"})
    cluster.apply(wanted)
    status, _ = control_plane.ask(
        "PATCH",
        f"/api/v1/namespaces/{course}/configmaps/{name}?fieldManager=somebody",
        {"data": {"theirs": "x"}, "metadata": {"labels": {"by": "somebody"}}},
        content="application/merge-patch+json",
    )
    assert status == 200
    assert cluster.diff(wanted) == ""
    assert cluster.apply(wanted)["data"] == {"a": "1", "theirs": "x"}


def test_an_exact_diff_shows_what_others_added_and_an_overwrite_removes_it(
    cluster: Cluster, control_plane: ControlPlane, course: str, name: str
) -> None:
    """Their labels stay: what is exact is what the manifest has at its top level besides metadata."""
    wanted = config_map(name, course, {"a": "1"})
    assert "+  a: '1'" in cluster.diffs_exactly([wanted])[0]
    cluster.overwrite(wanted)
    assert cluster.diffs_exactly([wanted]) == [""]
    status, _ = control_plane.ask(
        "PATCH",
        f"/api/v1/namespaces/{course}/configmaps/{name}?fieldManager=somebody",
        {"data": {"theirs": "x"}, "metadata": {"labels": {"by": "somebody"}}},
        content="application/merge-patch+json",
    )
    assert status == 200
    (diff,) = cluster.diffs_exactly([wanted])
    changed = [line for line in diff.splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-  theirs: x"]
    cluster.overwrite(wanted)
    live = cluster.get("ConfigMap", name, course)
    assert live is not None
    assert live["data"] == {"a": "1"}
    assert live["metadata"]["labels"] == {"by": "somebody"}


def test_concurrent_changes_are_not_in_the_diff(
    cluster: Cluster, control_plane: ControlPlane, course: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = config_map(name, course, {"a": "1"})
    cluster.apply(wanted)
    path = f"/api/v1/namespaces/{course}/configmaps/{name}?fieldManager=somebody"
    read, reads = cluster.get, 0

    def get(*what: str) -> Object | None:
        """Read; after the first two times, another client writes."""
        nonlocal reads
        reads += 1
        found = read(*what)
        if reads <= 2:
            theirs = {"metadata": {"annotations": {"figures": str(reads)}}}
            control_plane.ask("PATCH", path, theirs, content="application/merge-patch+json")
        return found

    monkeypatch.setattr(cluster, "get", get)
    assert cluster.diff(wanted) == ""
    assert reads == 3
    reads = 0
    changed = cluster.diff(config_map(name, course, {"a": "2"}))
    assert [line for line in changed.splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")] == [
        "-  a: '1'",
        "+  a: '2'",
    ]


def test_overwritten_fields_are_restored(
    cluster: Cluster, control_plane: ControlPlane, course: str, name: str
) -> None:
    wanted = config_map(name, course, {"a": "1"})
    cluster.apply(wanted)
    path = f"/api/v1/namespaces/{course}/configmaps/{name}?fieldManager=somebody"
    control_plane.ask("PATCH", path, {"data": {"a": "2"}}, content="application/merge-patch+json")
    assert "-  a: '2'\n+  a: '1'" in cluster.diff(wanted)
    assert cluster.apply(wanted)["data"] == {"a": "1"}


def test_objects_of_a_missing_namespace_are_all_added(cluster: Cluster, name: str) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    wanted = [namespace, config_map("one", name, {"a": "1"}), config_map("two", name, {"a": "1"})]
    assert all(cluster.diffs(wanted))
    for manifest in wanted:
        cluster.apply(manifest)
    assert cluster.diffs(wanted) == ["", "", ""]


def test_a_definition_and_its_object_are_applied_together(cluster: Cluster, course: str) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}},
            ],
        },
    }
    widget = {
        "apiVersion": "example.org/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": course},
        "spec": {"size": 3},
    }
    assert cluster.get("Widget", "w", course, "example.org/v1") is None
    assert cluster.list("Widget", course, "example.org/v1") == []
    with pytest.raises(ClusterError, match=r"no kind Widget in example\.org/v1; create .* of Widget course-api/w"):
        cluster.apply(widget)
    assert all(cluster.diffs([definition, widget]))

    cluster.apply(definition)
    cluster.wait("the definition to be served", lambda: cluster.apply(widget), 30)
    assert cluster.diffs([definition, widget]) == ["", ""]
    (found,) = cluster.list("Widget", course, "example.org/v1")
    assert found["spec"] == {"size": 3}


def test_a_service_without_protocol_can_be_applied(cluster: Cluster, course: str, name: str) -> None:
    """API servers before 1.21 refuse it in a server-side apply: the protocol is part of the port's key."""
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": course},
        "spec": {"selector": {"a": "b"}, "ports": [{"port": 443, "targetPort": 9443}]},
    }
    cluster.apply(service)
    assert cluster.diff(service) == ""
    assert "protocol" not in service["spec"]["ports"][0], "the caller's manifest was modified"


def test_an_api_service_can_be_applied(cluster: Cluster, name: str) -> None:
    """1.20's API server panics on a server-side apply of one."""
    group = f"{name}.example.org"
    manifest: Object = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1.{group}"},
        "spec": {
            "group": group,
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": name, "namespace": "default"},
        },
    }
    assert "+  group:" in cluster.diff(manifest)
    cluster.apply(manifest, dry_run=True)
    assert cluster.get("APIService", f"v1.{group}", None, "apiregistration.k8s.io/v1") is None
    cluster.apply(manifest)
    assert cluster.diff(manifest) == ""
    manifest["spec"]["versionPriority"] = 50
    assert "+  versionPriority: 50" in cluster.diff(manifest)
    cluster.apply(manifest)
    assert cluster.diff(manifest) == ""
    cluster.delete("APIService", f"v1.{group}", None, "apiregistration.k8s.io/v1")

"""Removing a workload from hosts.toml: what is deleted, what stays, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import ClusterError
from provisioner.kube import Object
from provisioner.steps import pruning, workloads
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import RecordingHost, carry_out, drain, fleet_for, site_at, summaries

LIST = ("ConfigMap", "kube-system", "provisioner-workloads")


class Api(FakeCluster):
    """A cluster that records the field manager of what is applied."""

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        applied = super().apply(manifest, dry_run=dry_run)
        applied["metadata"] = applied["metadata"] | {
            "managedFields": [{"manager": "provisioner", "operation": "Apply"}]
        }
        return applied


def machine(tmp_path: Path, *enabled: str) -> RecordingHost:
    names = ", ".join(f'"{name}"' for name in enabled)
    return fleet_for(workloads.STEP, site_at(tmp_path, rest=f"[workloads]\nenabled = [{names}]"))["master"]


def applies(said: list[str]) -> list[str]:
    """Return the changes that are not waits, each once; every file contains the namespace."""
    return [*dict.fromkeys(text for text in said if not text.startswith("wait for "))]


def ran(tmp_path: Path, *enabled: str, cluster: Api) -> list[str]:
    """Carry out a plan without its waits, since nothing runs here."""
    host = machine(tmp_path, *enabled)
    planned = summaries(workloads.STEP, host, cluster)
    done = []
    for change in workloads.STEP.changes(host, cluster, host.site):  # type: ignore[arg-type]
        if not change.summary.startswith("wait for "):
            change.do()
            done.append(change.summary)
    assert done == applies(planned), "an apply does what the plan showed"
    return done


def test_a_workload_that_left_hosts_toml_is_deleted(tmp_path: Path) -> None:
    cluster = Api()
    ran(tmp_path, "nodeport", "hpa", "configmap", cluster=cluster)
    assert ran(tmp_path, "nodeport", "configmap", cluster=cluster) == [
        "delete Deployment course/hpa-pods: workload hpa is no longer enabled",
        "delete Service course/hpa-pods: workload hpa is no longer enabled",
        "delete HorizontalPodAutoscaler course/hpa-pods: workload hpa is no longer enabled",
        "apply ConfigMap kube-system/provisioner-workloads",
    ]
    assert {item["metadata"]["name"] for item in cluster.objects} == {
        "course",
        "np-pods",
        "np-pods-assigned",
        "cm-pods",
        "provisioner-workloads",
    }
    assert ran(tmp_path, "nodeport", "configmap", cluster=cluster) == []


def test_without_workloads_only_the_namespace_and_claims_stay(tmp_path: Path) -> None:
    cluster = Api()
    ran(tmp_path, "nodeport", "shared-volume", cluster=cluster)
    said = ran(tmp_path, cluster=cluster)
    assert said[-1] == "delete ConfigMap kube-system/provisioner-workloads"
    assert {item["kind"] for item in cluster.objects} == {"Namespace", "PersistentVolumeClaim"}
    assert drain(workloads.STEP, machine(tmp_path), cluster) == []


def test_nothing_enabled_and_nothing_recorded(tmp_path: Path) -> None:
    cluster = Api()
    assert carry_out(workloads.STEP, machine(tmp_path), cluster) == []
    assert not cluster.applied


def test_an_object_that_left_its_file_is_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "workloads"
    folder.mkdir()
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME, namespace: course}\n"
    (folder / "mine.yaml").write_text(f"{text.replace('NAME', 'a')}---\n{text.replace('NAME', 'b')}")
    cluster = Api()
    ran(tmp_path, "mine", cluster=cluster)
    (folder / "mine.yaml").write_text(text.replace("NAME", "b"))
    assert ran(tmp_path, "mine", cluster=cluster) == [
        "delete ConfigMap course/a: workload mine no longer contains it",
        "apply ConfigMap kube-system/provisioner-workloads",
    ]
    # Renaming the file moves its objects to another workload; none is deleted.
    (folder / "mine.yaml").rename(folder / "yours.yaml")
    assert ran(tmp_path, "yours", cluster=cluster) == ["apply ConfigMap kube-system/provisioner-workloads"]


def test_an_object_of_the_same_name_made_by_hand_is_left_alone(tmp_path: Path) -> None:
    cluster = Api()
    ran(tmp_path, "nodeport", "configmap", cluster=cluster)
    by_hand: dict[str, Any] = {"name": "cm-pods", "namespace": "course"}
    by_hand["managedFields"] = [{"manager": "kubectl", "operation": "Apply"}]
    cluster.hold({"apiVersion": "v1", "kind": "ConfigMap", "metadata": by_hand})
    assert ran(tmp_path, "nodeport", cluster=cluster) == [
        "delete Deployment course/cm-pods: workload configmap is no longer enabled",
        "apply ConfigMap kube-system/provisioner-workloads",
    ]
    assert "cm-pods" in cluster.names("ConfigMap")


def test_a_killed_deletion_is_resumed(tmp_path: Path) -> None:
    cluster = Api()
    ran(tmp_path, "nodeport", "hpa", cluster=cluster)
    host = machine(tmp_path, "nodeport")
    first = next(iter(workloads.STEP.changes(host, cluster, host.site)))  # type: ignore[arg-type]
    first.do()
    assert [text.partition(":")[0] for text in ran(tmp_path, "nodeport", cluster=cluster)] == [
        "delete Service course/hpa-pods",
        "delete HorizontalPodAutoscaler course/hpa-pods",
        "apply ConfigMap kube-system/provisioner-workloads",
    ]


def test_an_edited_list_deletes_no_namespace_and_no_claim() -> None:
    text = "v1 Namespace course\nv1 PersistentVolumeClaim course/data\nnonsense\n\nv1 Service course/a\n"
    cluster = Api().hold(
        {"apiVersion": "v1", "kind": LIST[0], "metadata": {"namespace": LIST[1], "name": LIST[2]}, "data": {"x": text}}
    )
    (entry,) = pruning.recorded(cluster)  # type: ignore[arg-type]
    assert (entry.workload, entry.kind, entry.namespace, entry.name) == ("x", "Service", "course", "a")


def test_a_node_port_in_use_is_reported_with_its_holder(tmp_path: Path) -> None:
    cluster = Api()
    port = {"spec": {"ports": [{"nodePort": 30080}]}}
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "web"}, **port}
    cluster.hold(theirs)
    said = 'Service "np-pods" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already '

    def refuse(manifest: Object, *, dry_run: bool = False) -> Object:
        if manifest["kind"] != "Service":
            return FakeCluster.apply(cluster, manifest, dry_run=dry_run)
        raise ClusterError(f"the API refused to apply Service np-pods: {said}allocated (422)")

    cluster.apply = refuse  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match=r"Service default/web has port 30080; change the nodePort of one"):
        carry_out(workloads.STEP, machine(tmp_path, "nodeport"), cluster)

"""Workloads and volumes enabled and disabled on a real API server with its controllers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from provisioner.checks import Context, nodeport, storage
from provisioner.engine import Change
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps import storage as storage_step
from provisioner.steps import workloads
from provisioner.steps.storage import wanted as volumes
from tests import hosts_toml
from tests.integration.kube.apiserver import ControlPlane
from tests.integration.kube.reaching import HOSTS, AdminConf

pytestmark = pytest.mark.integration
KINDS = (
    ("Deployment", "apps/v1"),
    ("DaemonSet", "apps/v1"),
    ("StatefulSet", "apps/v1"),
    ("ReplicaSet", "apps/v1"),
    ("Job", "batch/v1"),
    ("Service", "v1"),
    ("ConfigMap", "v1"),
    ("PersistentVolumeClaim", "v1"),
    ("HorizontalPodAutoscaler", "autoscaling/v1"),
    ("Ingress", "networking.k8s.io/v1"),
    ("Pod", "v1"),
)
ALL = ("nodeport", "loadbalancer", "hpa", "daemonset", "configmap", "shared-volume", "statefulset")


@pytest.fixture
def fresh(cluster: Cluster) -> Iterator[None]:
    """Start and end without workloads, whatever other tests left."""
    _clear(cluster)
    yield
    _clear(cluster)


def _clear(cluster: Cluster) -> None:
    def gone() -> bool:
        found = [(kind, item, api) for kind, api in KINDS for item in cluster.list(kind, "course", api)]
        for kind, item, api in found:
            cluster.delete(kind, item["metadata"]["name"], "course", api)
        return not [item for kind, item, _ in found if item["metadata"]["name"] != "kube-root-ca.crt"]

    cluster.delete("ConfigMap", "provisioner-workloads", "kube-system")
    cluster.wait("an empty namespace", gone, 120)


def site_with(folder: Path, *enabled: str) -> Site:
    before, _, _ = HOSTS.partition("[workloads]")
    names = ", ".join(f'"{name}"' for name in enabled)
    return hosts_toml.load(folder, f"{before}[workloads]\nenabled = [{names}]\n")


def changes(cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the step's changes without the waits, since there are no nodes."""
    host = cast(Host, AdminConf(site.first, ""))
    return (change for change in workloads.changes(host, cluster, site) if not change.summary.startswith("wait for "))


def plan(cluster: Cluster, site: Site) -> list[str]:
    return [*dict.fromkeys(change.summary for change in changes(cluster, site))]


def apply(cluster: Cluster, site: Site) -> list[str]:
    """Apply, and check that it does exactly what the plan showed."""
    shown = plan(cluster, site)
    done = []
    for change in changes(cluster, site):
        change.do()
        done.append(change.summary)
    assert [*dict.fromkeys(done)] == shown
    return done


def held(cluster: Cluster) -> set[str]:
    """Return the objects in the namespace, without those that the cluster creates in every one."""
    found = {f"{kind} {item['metadata']['name']}" for kind, api in KINDS for item in cluster.list(kind, "course", api)}
    return {name for name in found if not name.startswith(("Pod ", "ReplicaSet ")) and "kube-root-ca" not in name}


@pytest.mark.usefixtures("fresh")
def test_a_workload_that_left_hosts_toml_is_deleted(cluster: Cluster, tmp_path: Path) -> None:
    apply(cluster, site_with(tmp_path, *ALL))
    everything = held(cluster)
    cluster.wait(
        "the autoscaler's pods", lambda: cluster.list("Pod", "course", labels="app.kubernetes.io/name=hpa-pods"), 60
    )
    said = apply(cluster, site_with(tmp_path, *(name for name in ALL if name not in ("hpa", "shared-volume"))))
    assert said == [
        "delete Deployment course/hpa-pods: workload hpa is no longer enabled",
        "delete Service course/hpa-pods: workload hpa is no longer enabled",
        "delete HorizontalPodAutoscaler course/hpa-pods: workload hpa is no longer enabled",
        "delete Deployment course/shared-volume: workload shared-volume is no longer enabled",
        "apply ConfigMap kube-system/provisioner-workloads",
    ]
    assert everything - held(cluster) == {
        "Deployment hpa-pods",
        "Service hpa-pods",
        "HorizontalPodAutoscaler hpa-pods",
        "Deployment shared-volume",
    }
    assert "PersistentVolumeClaim shared-volume" in held(cluster), "data hangs on it"
    cluster.wait(  # what a Deployment made goes with it
        "the autoscaler's pods to go",
        lambda: not cluster.list("Pod", "course", labels="app.kubernetes.io/name=hpa-pods"),
        120,
    )


@pytest.mark.usefixtures("fresh")
def test_the_plan_is_then_empty_and_an_enabled_workload_finds_its_claim(cluster: Cluster, tmp_path: Path) -> None:
    apply(cluster, site_with(tmp_path, "nodeport", "shared-volume"))
    fewer = site_with(tmp_path, "nodeport")
    apply(cluster, fewer)
    assert plan(cluster, fewer) == []
    assert plan(cluster, fewer) == []
    before = cluster.get("PersistentVolumeClaim", "shared-volume", "course")
    assert apply(cluster, site_with(tmp_path, "nodeport", "shared-volume")) == [
        "apply ConfigMap kube-system/provisioner-workloads",
        "apply Deployment course/shared-volume",
    ]
    after = cluster.get("PersistentVolumeClaim", "shared-volume", "course")
    assert before
    assert after
    assert before["metadata"]["uid"] == after["metadata"]["uid"]
    nothing = site_with(tmp_path)
    apply(cluster, nothing)
    assert held(cluster) == {"PersistentVolumeClaim shared-volume"}
    assert cluster.get("Namespace", "course")
    assert plan(cluster, nothing) == []


@pytest.mark.usefixtures("fresh")
def test_objects_of_other_field_managers_are_left_alone(
    control_plane: ControlPlane, cluster: Cluster, tmp_path: Path
) -> None:
    apply(cluster, site_with(tmp_path, "nodeport", "configmap"))
    cluster.delete("ConfigMap", "cm-pods", "course")
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm-pods"}, "data": {"own": "1"}}
    assert control_plane.ask("POST", "/api/v1/namespaces/course/configmaps", theirs)[0] == 201
    apply(cluster, site_with(tmp_path, "nodeport"))
    assert "ConfigMap cm-pods" in held(cluster)
    assert "Deployment cm-pods" not in held(cluster)


@pytest.mark.usefixtures("fresh")
def test_replicas_that_a_killed_verify_left_are_in_the_plan(cluster: Cluster, tmp_path: Path) -> None:
    """Checks scale through the same subresource and scale back; after a kill, the next apply does it."""
    from provisioner.checks import pods

    site = site_with(tmp_path, "nodeport", "configmap")
    apply(cluster, site)
    deployment = cluster.get("Deployment", "np-pods", "course", "apps/v1")
    assert deployment
    with pods.restoring_replicas(cluster, deployment):
        pods.scale(cluster, deployment, 6)
        (change,) = changes(cluster, site)
        assert change.summary == "apply Deployment course/np-pods"
        assert "-  replicas: 6" in change.diff
    assert plan(cluster, site) == []
    pods.scale(cluster, deployment, 6)
    assert apply(cluster, site) == ["apply Deployment course/np-pods"]
    cluster.merge("ConfigMap", "cm-pods", {"data": {"greeting": "another"}}, namespace="course")
    assert apply(cluster, site) == ["apply ConfigMap course/cm-pods"]
    assert plan(cluster, site) == []


@pytest.mark.usefixtures("fresh")
def test_a_node_port_in_use_is_reported_with_its_holder(cluster: Cluster, impatient: Site, tmp_path: Path) -> None:
    """A real API server's message is parsed, by the check that provokes it and by an apply."""
    site = site_with(tmp_path, "nodeport")
    apply(cluster, site)
    where = Context(impatient, cluster, {})
    service = cluster.get("Service", "np-pods", "course")
    assert service
    finding = nodeport._duplicate(where, service)
    assert (finding.ok, finding.code) == (True, "NODEPORT_HELD")
    assert finding.detail == "is refused: Service course/np-pods holds it"
    assert cluster.get("Service", nodeport.DUPLICATE, "course") is None

    cluster.delete("Service", "np-pods", "course")
    spec = {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}
    metadata = {"name": "web", "namespace": "course"}
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    taken = r"Service course/web has port 30080; change the nodePort of one"
    with pytest.raises(ClusterError, match=taken):
        apply(cluster, site)

    spec["ports"] = [{"port": 80, "protocol": "TCP", "nodePort": 30081}]
    cluster.apply(service_like(service, spec))
    with pytest.raises(ClusterError, match=taken):  # of a Service that is there, the dry run of the plan
        plan(cluster, site)


def service_like(live: Object, spec: Object) -> Object:
    """Return a manifest of this Service with another spec."""
    metadata = {key: live["metadata"][key] for key in ("name", "namespace")}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


ONCE = """
apiVersion: v1
kind: Namespace
metadata: {name: course}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: course}
spec:
  template:
    metadata:
      labels: {app.kubernetes.io/name: once}
    spec:
      restartPolicy: Never
      containers: [{name: once, image: '${agnhost}', args: [pause]}]
"""


@pytest.mark.usefixtures("fresh")
def test_the_pods_of_a_job_are_deleted_with_it(cluster: Cluster, tmp_path: Path) -> None:
    """By default, the API orphans them."""

    def pods() -> list[Object]:
        return cluster.list("Pod", "course", labels="app.kubernetes.io/name=once")

    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads/once.yaml").write_text(ONCE)
    apply(cluster, site_with(tmp_path, "once"))
    cluster.wait("the job's pod", pods, 60)
    assert apply(cluster, site_with(tmp_path)) == [
        "delete Job course/once: workload once is no longer enabled",
        "delete ConfigMap kube-system/provisioner-workloads",
    ]
    cluster.wait("the job's pod to go", lambda: not pods(), 120)


@pytest.mark.usefixtures("fresh")
def test_an_object_that_changed_since_is_not_deleted(cluster: Cluster, tmp_path: Path) -> None:
    apply(cluster, site_with(tmp_path, "configmap"))
    seen = cluster.get("ConfigMap", "cm-pods", "course")
    assert seen
    old = seen["metadata"]["resourceVersion"]
    cluster.merge("ConfigMap", "cm-pods", {"data": {"greeting": "another"}}, namespace="course")
    with pytest.raises(ClusterError, match="refused to delete ConfigMap course/cm-pods"):
        cluster.delete("ConfigMap", "cm-pods", "course", version=old)
    now = cluster.get("ConfigMap", "cm-pods", "course")
    assert now
    cluster.delete("ConfigMap", "cm-pods", "course", version=now["metadata"]["resourceVersion"])
    assert cluster.get("ConfigMap", "cm-pods", "course") is None


@pytest.fixture
def offered(cluster: Cluster, site: Site) -> Iterator[None]:
    """Provide the site's volumes during a test, and the namespace for claims."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "course"}})
    for item in volumes(site):
        cluster.apply(item)
    yield
    for item in volumes(site):
        cluster.delete(item["kind"], item["metadata"]["name"], None, item["apiVersion"])
    cluster.wait("the volumes to go", lambda: not cluster.list("PersistentVolume"), 60)


@pytest.mark.usefixtures("fresh", "offered")
def test_a_claim_that_is_too_large_has_an_event(cluster: Cluster, site: Site) -> None:
    finding = storage._too_large(Context(site, cluster, {}))
    assert finding.ok, finding
    assert "(the volumes have 1Gi each): " in finding.detail
    cluster.wait(
        "the claim to go", lambda: cluster.get("PersistentVolumeClaim", storage.TOO_LARGE, "course") is None, 60
    )


@pytest.mark.usefixtures("fresh", "offered")
def test_unconfigured_volumes_are_deleted_unless_they_hold_data(cluster: Cluster, tmp_path: Path) -> None:
    """Their class too, once nothing uses it."""

    def phases() -> dict[str, str]:
        return {item["metadata"]["name"]: item["status"]["phase"] for item in cluster.list("PersistentVolume")}

    def carried_out(nfs: str) -> list[str]:
        text = f"{HOSTS.partition('[workloads]')[0]}[workloads]\nenabled = []\n[nfs]\n{nfs}\n"
        site = hosts_toml.load(tmp_path, text)
        host = cast(Host, AdminConf(site.first, ""))
        planned = [change.summary for change in storage_step.changes(host, cluster, site)]
        for change in storage_step.changes(host, cluster, site):
            change.do()
        assert [*storage_step.changes(host, cluster, site)] == []
        return [text.partition(":")[0] for text in planned if text.startswith("delete ")]

    metadata = {"name": "kept", "namespace": "course"}
    spec = {
        "storageClassName": "nfs",
        "volumeName": "nfs-08",
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "course"}})
    cluster.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
    free = {f"nfs-{number:02d}": "Available" for number in range(1, 8)}
    cluster.wait("the claim to be bound", lambda: phases() == free | {"nfs-08": "Bound"}, 60)
    assert carried_out("volumes = 6") == ["delete PersistentVolume nfs-07"]
    cluster.delete("PersistentVolumeClaim", "kept", "course")
    cluster.wait("the volume to be let go", lambda: phases()["nfs-08"] == "Released", 60)
    try:
        assert carried_out('volumes = 6\nclass = "fast"') == []
        cluster.delete("PersistentVolume", "nfs-08")
        cluster.wait("the volume to be gone", lambda: "nfs-08" not in phases(), 60)
        assert carried_out('volumes = 6\nclass = "fast"') == ["delete StorageClass nfs"]
    finally:
        cluster.delete("StorageClass", "fast", None, "storage.k8s.io/v1")

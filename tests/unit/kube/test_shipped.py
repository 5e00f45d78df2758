"""The shipped manifests: complete, small and independent of each other."""

from pathlib import Path
from typing import Any

import pytest

from provisioner.kube import Object, manifests
from provisioner.kube.objects import containers
from provisioner.site import rules
from provisioner.site.model import Workloads

ROOT = Path(__file__).parents[3]
WORKLOADS = sorted((ROOT / "workloads").glob("*.yaml"))
VALUES: dict[Path, dict[str, Any]] = {
    **{
        key: {"agnhost": "agnhost:1", "nginx": "nginx:1", "ingress_class": "nginx", "nfs_class": "nfs"}
        for key in WORKLOADS
    },
    ROOT / "nfs/storageclass.yaml": {"nfs_class": "nfs"},
    ROOT / "nfs/storageclass-csi.yaml": {
        "nfs_class": "nfs",
        "nfs_address": "192.0.2.1",
        "nfs_export": "/srv/nfs",
    },
    ROOT / "nfs/volume.yaml": {
        "volume": "nfs-0",
        "nfs_class": "nfs",
        "nfs_address": "192.0.2.1",
        "nfs_path": "/srv/nfs/0",
        "size": "1Gi",
    },
    ROOT / "l2/rbac.yaml": {},
    ROOT / "l2/rbac-metallb.yaml": {},
    ROOT / "metallb/config.yaml": {"config": "address-pools: []"},
    ROOT / "metallb/metrics.yaml": {},
    ROOT / "metallb/pool.yaml": {
        "pool": "lab",
        "addresses": ["192.0.2.200-192.0.2.210"],
        "auto_assign": True,
        "avoid_buggy_ips": False,
        "interfaces": [],
    },
}
CLUSTER_WIDE = {"Namespace", "PersistentVolume", "StorageClass", "ClusterRole", "ClusterRoleBinding"}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "course"}}


def objects(path: Path) -> list[Object]:
    return manifests.load(path, VALUES[path])


def pods(path: Path) -> list[Object]:
    return [item for item in objects(path) if "template" in item.get("spec", {})]


def test_every_shipped_file_is_covered_here() -> None:
    shipped = {path for folder in ("workloads", "nfs", "metallb", "l2") for path in (ROOT / folder).glob("*.yaml")}
    assert shipped == set(VALUES)


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
def test_a_file_uses_known_values_and_explicit_namespaces(path: Path) -> None:
    assert manifests.placeholders(path) <= VALUES[path].keys()
    for item in objects(path):
        if item["kind"] not in CLUSTER_WIDE:
            assert item["metadata"]["namespace"] in ("course", "metallb-system", "kube-system")


@pytest.mark.parametrize("path", WORKLOADS, ids=lambda path: path.name)
def test_a_workload_stands_alone(path: Path) -> None:
    """Each file can be applied by hand, and no object is in two of them."""
    first, *own = objects(path)
    assert first == NAMESPACE
    here = {(item["kind"], item["metadata"]["name"]) for item in own}
    assert len(here) == len(own)
    for other in WORKLOADS:
        if other != path:
            assert not here & {(item["kind"], item["metadata"]["name"]) for item in objects(other)[1:]}
    assert all(item["metadata"]["labels"]["app.kubernetes.io/part-of"] == "provisioner-workloads" for item in own)


def test_the_rules_know_the_number_of_claims() -> None:
    claimed = {}
    for path in WORKLOADS:
        number = sum(item["kind"] == "PersistentVolumeClaim" for item in objects(path))
        for item in pods(path):
            number += item["spec"].get("replicas", 1) * len(item["spec"].get("volumeClaimTemplates", []))
        if number:
            claimed[path.stem] = number
    assert claimed == rules.CLAIMS


@pytest.mark.parametrize("path", WORKLOADS, ids=lambda path: path.name)
def test_pods_are_small_and_unprivileged(path: Path) -> None:
    assert pods(path)
    for item in pods(path):
        assert item["spec"].get("replicas", 1) <= 3
        spec = item["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        for container in containers(item):
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"]["cpu"] in ("10m", "100m")
            if "command" in container:  # serves nothing, so it needs no readiness probe
                continue
            assert container["readinessProbe"]["timeoutSeconds"] >= 5
            assert container["readinessProbe"]["periodSeconds"] >= 5


@pytest.mark.parametrize("path", WORKLOADS, ids=lambda path: path.name)
def test_selectors_match_pods_and_claims_name_their_class(path: Path) -> None:
    labels = [item["spec"]["template"]["metadata"]["labels"] for item in pods(path)]
    for item in pods(path):
        selected = item["spec"]["selector"]["matchLabels"]
        assert selected.items() <= item["spec"]["template"]["metadata"]["labels"].items()
    for item in objects(path):
        if item["kind"] == "Service":
            assert sum(item["spec"]["selector"].items() <= own.items() for own in labels) == 1
            # The list is keyed by port and protocol, and old API servers require both in a server-side apply.
            assert all(port["protocol"] == "TCP" for port in item["spec"]["ports"])
        claims = [item] if item["kind"] == "PersistentVolumeClaim" else []
        claims += item.get("spec", {}).get("volumeClaimTemplates", [])
        assert all(claim["spec"]["storageClassName"] == "nfs" for claim in claims)


def test_ingress_paths_lead_to_different_services() -> None:
    found = objects(ROOT / "workloads/ingress.yaml")
    (ingress,) = (item for item in found if item["kind"] == "Ingress")
    backends = [path["backend"]["service"] for path in ingress["spec"]["rules"][0]["http"]["paths"]]
    services = {item["metadata"]["name"]: item for item in found if item["kind"] == "Service"}
    assert {backend["name"] for backend in backends} == services.keys()
    for backend in backends:
        assert backend["port"]["number"] == services[backend["name"]]["spec"]["ports"][0]["port"]


def test_only_the_autoscaler_sets_replicas() -> None:
    found = {item["kind"]: item for item in objects(ROOT / "workloads/hpa.yaml")}
    assert "replicas" not in found["Deployment"]["spec"]
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["name"] == found["Deployment"]["metadata"]["name"]


def test_the_configmap_is_a_file_and_an_environment_variable() -> None:
    found = {item["kind"]: item for item in objects(ROOT / "workloads/configmap.yaml")}
    name = found["ConfigMap"]["metadata"]["name"]
    spec = found["Deployment"]["spec"]["template"]["spec"]
    (variable,) = spec["containers"][0]["env"]
    assert variable["valueFrom"]["configMapKeyRef"] == {"name": name, "key": "greeting"}
    (volume,) = spec["volumes"]
    assert volume["configMap"]["name"] == name
    # A file mounted with subPath is never updated.
    assert "subPath" not in spec["containers"][0]["volumeMounts"][0]


def test_every_shipped_workload_is_enabled_by_default() -> None:
    assert set(Workloads().enabled) == {path.stem for path in WORKLOADS}


def test_pool_values_keep_their_types() -> None:
    pool, advertisement = objects(ROOT / "metallb/pool.yaml")
    assert pool["spec"] == {
        "addresses": ["192.0.2.200-192.0.2.210"],
        "autoAssign": True,
        "avoidBuggyIPs": False,
    }
    assert advertisement["spec"] == {"ipAddressPools": ["lab"], "interfaces": []}

"""What kubeadm put into the cluster: its ConfigMaps, cluster-info, kube-proxy and CoreDNS."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.kube import Object
from provisioner.steps.kubeadm_objects import KEEP, STEP
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node
from tests.unit.steps.doubles import RecordingHost, carry_out, drain, fleet_for, site_at, summaries

KUBELET = "kind: KubeletConfiguration\nmaxPods: 110\ncontainerRuntimeEndpoint: unix:///run/c.sock\n"
CLUSTER = """\
kind: ClusterConfiguration
kubernetesVersion: v1.37.2
imageRepository: registry.k8s.io
etcd: {local: {dataDir: /var/lib/etcd}}
caCertificateValidityPeriod: 87600h0m0s
"""
SERVER = {"certificate-authority-data": "Q0E=", "server": "https://192.168.56.10:6443"}
ADMIN: Object = {"clusters": [{"cluster": SERVER}]}
CONFIG_MAP: Object = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"config.conf": "mode: iptables\n"}}


def meta(item: Object, name: str, namespace: str = "kube-system") -> Object:
    return {**copy.deepcopy(item), "metadata": {"name": name, "namespace": namespace}}


def config_map(name: str, namespace: str = "kube-system", **data: str) -> Object:
    return meta({"apiVersion": "v1", "kind": "ConfigMap", "data": data}, name, namespace)


PROXY = meta(CONFIG_MAP, "kube-proxy")
DNS: Object = meta(
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {"replicas": 2, "selector": {"matchLabels": {"k8s-app": "kube-dns"}}},
    },
    "coredns",
)
READY = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
OUTPUT = f"@part file config.yaml\n{KUBELET}\n@part addon kube-proxy\n" + "---\n".join(
    [yaml.safe_dump(PROXY), yaml.safe_dump(DNS), "@part end -\n"]
).replace("---\n@part", "@part")


@pytest.fixture
def host(tmp_path: Path) -> RecordingHost:
    host = fleet_for(STEP, site_at(tmp_path, 'kubernetes = "1.37.2"'))["master"]
    host.says["kubelet-start"] = OUTPUT
    return host


@pytest.fixture
def cluster() -> FakeCluster:
    """Return a cluster as kubeadm made it."""
    ready = node("master")
    ready["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    info = yaml.safe_dump({"clusters": [{"name": "", "cluster": SERVER}]})
    return FakeCluster(
        ready,
        config_map("kubeadm-config", ClusterConfiguration=CLUSTER),
        config_map("kubelet-config", kubelet=KUBELET.replace("unix:///run/c.sock", '""')),
        config_map("cluster-info", "kube-public", kubeconfig=info, **{"jws-kubeconfig-abcdef": "signature"}),
        copy.deepcopy(PROXY),
        {**copy.deepcopy(DNS), "status": dict(READY)},
        kubeconfig=ADMIN,
    )


def test_a_cluster_as_kubeadm_made_it(host: RecordingHost, cluster: FakeCluster) -> None:
    cluster.live("Deployment", "coredns", "kube-system").pop("status")
    assert summaries(STEP, host, cluster) == ["wait for Deployment kube-system/coredns"]


@pytest.mark.parametrize(
    ("name", "data", "expected", "command"),
    [
        ("kubelet-config", {"kubelet": "maxPods: 60\n"}, "restore", "upload-config kubelet"),
        ("kubelet-config", {}, "create", "upload-config kubelet"),
        (
            "kubeadm-config",
            {"ClusterConfiguration": CLUSTER.replace("37.2", "36.0")},
            "restore",
            "upload-config kubeadm",
        ),
        ("kubeadm-config", {}, "create", "upload-config kubeadm"),
    ],
)
def test_kubeadm_writes_its_own_config_maps(
    host: RecordingHost, cluster: FakeCluster, name: str, data: dict[str, str], expected: str, command: str
) -> None:
    cluster.hold(config_map(name, **data))
    (change,) = [one for one in drain(STEP, host, cluster) if "ConfigMap kube-system" in one.summary]
    assert change.summary == f"{expected} ConfigMap kube-system/{name}"
    change.do()
    assert f"kubeadm init phase {command} --config" in host.commands[-1]
    ((_, mode),) = host.files.values()
    assert mode == 0o600


@pytest.mark.parametrize(
    "kubeconfig",
    ["", "clusters: []", yaml.safe_dump({"clusters": [{"cluster": {**SERVER, "server": "https://elsewhere:6443"}}]})],
)
def test_cluster_info_is_restored_and_its_signatures_are_left_to_their_controller(
    host: RecordingHost, cluster: FakeCluster, kubeconfig: str
) -> None:
    cluster.hold(config_map("cluster-info", "kube-public", kubeconfig=kubeconfig))
    done = carry_out(STEP, host, cluster)
    assert "restore ConfigMap kube-public/cluster-info" in done
    (applied,) = [one for one in cluster.applied if one["metadata"]["name"] == "cluster-info"]
    assert yaml.safe_load(applied["data"]["kubeconfig"])["clusters"][0]["cluster"] == SERVER
    assert set(applied["data"]) == {"kubeconfig"}


def test_what_kubectl_changed_is_written_again(host: RecordingHost, cluster: FakeCluster) -> None:
    cluster.hold({**PROXY, "data": {"config.conf": "mode: ipvs\n"}})
    assert "apply ConfigMap kube-system/kube-proxy" in carry_out(STEP, host, cluster)
    assert cluster.live("ConfigMap", "kube-proxy", "kube-system")["data"] == PROXY["data"]


def test_an_object_that_somebody_keeps_is_left_alone(host: RecordingHost, cluster: FakeCluster) -> None:
    kept = meta({**CONFIG_MAP, "data": {"config.conf": "mine"}}, "kube-proxy")
    kept["metadata"]["annotations"] = {KEEP: "true"}
    cluster.hold(kept)
    assert "apply ConfigMap kube-system/kube-proxy" not in summaries(STEP, host, cluster)


@pytest.mark.parametrize(("have", "wanted"), [(5, 5), (1, 1), (0, 2)])
def test_replicas_are_left_to_whoever_scales_unless_there_are_none(
    host: RecordingHost, cluster: FakeCluster, have: int, wanted: int
) -> None:
    live: Any = {**copy.deepcopy(DNS), "status": {}}
    live["spec"] |= {"replicas": have, "more": True}
    cluster.hold(live)
    for change in drain(STEP, host, cluster):
        if change.summary == "apply Deployment kube-system/coredns":
            change.do()
    assert cluster.live("Deployment", "coredns", "kube-system")["spec"]["replicas"] == wanted


@pytest.mark.parametrize(("ready", "waits"), [("True", ["wait for Deployment kube-system/coredns"]), ("False", [])])
def test_coredns_is_waited_for_where_it_can_run(
    host: RecordingHost, cluster: FakeCluster, ready: str, waits: list[str]
) -> None:
    """Before the pod network is there no node is Ready, and the step nodes comes later."""
    cluster.live("Node", "master")["status"] = {"conditions": [{"type": "Ready", "status": ready}]}
    cluster.live("Deployment", "coredns", "kube-system")["status"] = {"replicas": 2}
    assert [text for text in summaries(STEP, host, cluster) if text.startswith("wait")] == waits

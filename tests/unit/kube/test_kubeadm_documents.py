"""kubeadm's configuration for each API version; the integration tests have the real kubeadm read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.kube import kubeadm
from provisioner.site import Site
from tests import hosts_toml

POOL = hosts_toml.pool("lab", "192.168.56.200-192.168.56.230")
ONE = hosts_toml.hosts("master", "worker1", network="192.168.56") + POOL
THREE = "".join(hosts_toml.host(f"cp{n}", f"192.168.56.1{n}", "control-plane") for n in (1, 2, 3)) + POOL
EXTRA = """
[kubeadm]
api_server = { "audit-log-maxage" = "7", "v" = "2" }
controller_manager = { "leader-elect" = "false" }
scheduler = { "v" = "3" }
etcd = { "snapshot-count" = "5000" }
kubelet = { "v" = "4" }
kubelet_configuration = { maxPods = 50, cgroupDriver = "cgroupfs" }
kube_proxy_configuration = { mode = "ipvs", conntrack = { maxPerCore = 0 } }
ignore_preflight_errors = ["SystemVerification"]
init_timeout = "1m30s"
"""
BETAS = [
    ("1.20", "v1beta2"),
    ("1.21", "v1beta2"),
    ("1.22", "v1beta3"),
    ("1.30", "v1beta3"),
    ("1.31", "v1beta4"),
    ("1.37", "v1beta4"),
]
TOKEN = "abcdef.0123456789abcdef"


def site(tmp_path: Path, version: str, more: str = "", hosts: str = ONE, cluster: str = "") -> Site:
    return hosts_toml.load(tmp_path, f'[cluster]\nname = "lab"\nkubernetes = "{version}"\n{cluster}\n{hosts}{more}')


def init(tmp_path: Path, version: str, more: str = "", **options: str) -> dict[str, kubeadm.Document]:
    made = site(tmp_path, version, more, **options)
    return {document["kind"]: document for document in kubeadm.init_documents(made, made.first)}


def join(made: Site, name: str, key: str = "") -> kubeadm.Document:
    return kubeadm.join_document(made, made.host(name), token=TOKEN, ca_hash="sha256:00", certificate_key=key)


def listed(arguments: Any, version: str) -> dict[str, str]:
    """Return extraArgs as a dict, in whichever form this version has them."""
    if version not in ("1.31", "1.37"):
        assert isinstance(arguments, dict)
        return arguments
    assert isinstance(arguments, list)
    assert all(argument.keys() == {"name", "value"} for argument in arguments)
    return {argument["name"]: argument["value"] for argument in arguments}


@pytest.mark.parametrize(("version", "beta"), BETAS)
def test_api_versions(tmp_path: Path, version: str, beta: str) -> None:
    documents = init(tmp_path, version)
    assert documents["InitConfiguration"]["apiVersion"] == f"kubeadm.k8s.io/{beta}"
    assert documents["ClusterConfiguration"]["apiVersion"] == f"kubeadm.k8s.io/{beta}"
    assert documents["KubeletConfiguration"]["apiVersion"] == "kubelet.config.k8s.io/v1beta1"
    assert documents["KubeProxyConfiguration"]["apiVersion"] == "kubeproxy.config.k8s.io/v1alpha1"
    assert join(site(tmp_path, version), "worker1")["apiVersion"] == f"kubeadm.k8s.io/{beta}"


@pytest.mark.parametrize(("version", "beta"), BETAS)
def test_extra_arguments(tmp_path: Path, version: str, beta: str) -> None:
    del beta
    documents = init(tmp_path, version, EXTRA + hosts_toml.UNHARDENED)
    cluster = documents["ClusterConfiguration"]
    assert listed(cluster["apiServer"]["extraArgs"], version) == {"audit-log-maxage": "7", "v": "2"}
    assert listed(cluster["controllerManager"]["extraArgs"], version) == {"leader-elect": "false"}
    assert listed(cluster["scheduler"]["extraArgs"], version) == {"v": "3"}
    assert listed(cluster["etcd"]["local"]["extraArgs"], version) == {"snapshot-count": "5000"}
    own = documents["InitConfiguration"]["nodeRegistration"]["kubeletExtraArgs"]
    assert listed(own, version) == {"node-ip": "192.168.56.10", "v": "4"}
    other = join(site(tmp_path, version, EXTRA), "worker1")["nodeRegistration"]["kubeletExtraArgs"]
    assert listed(other, version) == {"node-ip": "192.168.56.11", "v": "4"}


def test_kube_proxy_and_ignored_preflight_checks(tmp_path: Path) -> None:
    documents = init(tmp_path, "1.37", EXTRA)
    proxy = documents["KubeProxyConfiguration"]
    assert (proxy["mode"], proxy["conntrack"]) == ("ipvs", {"maxPerCore": 0})
    joining = join(site(tmp_path, "1.37", EXTRA), "worker1")
    for document in (documents["InitConfiguration"], joining):
        assert document["nodeRegistration"]["ignorePreflightErrors"] == ["SystemVerification"]
    assert "ignorePreflightErrors" not in init(tmp_path, "1.37")["InitConfiguration"]["nodeRegistration"]


@pytest.mark.parametrize(("version", "beta"), BETAS)
def test_key_algorithm(tmp_path: Path, version: str, beta: str) -> None:
    cluster = init(tmp_path, version, '[kubeadm]\nkey_algorithm = "ECDSA-P256"\n')["ClusterConfiguration"]
    default = init(tmp_path, version)["ClusterConfiguration"]
    added = {"encryptionAlgorithm": "ECDSA-P256"} if beta == "v1beta4" else {"featureGates": {"PublicKeysECDSA": True}}
    assert cluster == default | added
    assert not {"encryptionAlgorithm", "featureGates"} & default.keys()


@pytest.mark.parametrize(("version", "beta"), BETAS)
def test_without_extra_arguments_there_is_no_key(tmp_path: Path, version: str, beta: str) -> None:
    del beta
    cluster = init(tmp_path, version, hosts_toml.UNHARDENED)["ClusterConfiguration"]
    assert cluster["controllerManager"] == cluster["scheduler"] == {}
    assert "extraArgs" not in cluster["apiServer"]
    assert cluster["etcd"] == {"local": {"dataDir": "/var/lib/etcd"}}


@pytest.mark.parametrize(("version", "beta"), BETAS)
@pytest.mark.parametrize(
    ("more", "cluster_lines", "seconds"),
    [("", "", "240s"), ("", "timeout_scale = 8.0", "1920s"), (EXTRA, "", "90s")],
)
def test_timeouts(tmp_path: Path, version: str, beta: str, more: str, cluster_lines: str, seconds: str) -> None:
    made = site(tmp_path, version, more, cluster=cluster_lines)
    first, cluster, *_ = kubeadm.init_documents(made, made.first)
    joining = join(made, "worker1")
    if beta == "v1beta4":
        assert first["timeouts"] == joining["timeouts"]
        assert set(first["timeouts"].values()) == {seconds}
        assert {"controlPlaneComponentHealthCheck", "kubernetesAPICall"} <= set(first["timeouts"])
        assert "timeoutForControlPlane" not in cluster["apiServer"]
        assert "timeout" not in joining["discovery"]
    else:
        assert cluster["apiServer"]["timeoutForControlPlane"] == seconds
        assert joining["discovery"]["timeout"] == seconds
        assert "timeouts" not in first
        assert "timeouts" not in joining


@pytest.mark.parametrize(("version", "beta"), BETAS)
def test_the_configuration_of_init_has_no_token(tmp_path: Path, version: str, beta: str) -> None:
    del beta
    documents = init(tmp_path, version, EXTRA)
    (token,) = documents["InitConfiguration"]["bootstrapTokens"]
    assert token == {"ttl": "1h0m0s"}, "kubeadm generates one, which expires soon"
    text = yaml.safe_dump_all(documents.values())
    assert "certificateKey" not in text
    assert "token:" not in text


def test_cluster_configuration(tmp_path: Path) -> None:
    cluster = init(tmp_path, "1.20.2", cluster='pod_cidr = "10.10.0.0/16"\nservice_cidr = "10.20.0.0/16"')[
        "ClusterConfiguration"
    ]
    assert cluster["kubernetesVersion"] == "v1.20.2"
    assert cluster["networking"] == {"podSubnet": "10.10.0.0/16", "serviceSubnet": "10.20.0.0/16"}
    assert cluster["imageRepository"] == "registry.k8s.io"
    assert cluster["clusterName"] == "lab"
    assert "controlPlaneEndpoint" not in cluster
    names = cluster["apiServer"]["certSANs"]
    assert len(names) == len(set(names))
    assert {"192.168.56.10", "master", "127.0.0.1", "localhost"} == set(names)


def test_three_control_planes(tmp_path: Path) -> None:
    documents = init(tmp_path, "1.37", hosts=THREE, cluster='endpoint = "api.example.org"')
    cluster = documents["ClusterConfiguration"]
    assert cluster["controlPlaneEndpoint"] == "api.example.org:6443"
    wanted = {"cp1", "cp2", "cp3", "192.168.56.11", "192.168.56.12", "192.168.56.13", "api.example.org"}
    assert wanted < set(cluster["apiServer"]["certSANs"])


def test_the_vip_is_the_endpoint_and_in_the_certificate(tmp_path: Path) -> None:
    for hosts in (THREE, THREE.partition('[[hosts]]\nname = "cp2')[0]):
        cluster = init(tmp_path, "1.37", hosts=hosts, cluster='vip = "192.168.56.9"')["ClusterConfiguration"]
        assert cluster["controlPlaneEndpoint"] == "192.168.56.9:6443"
        assert "192.168.56.9" in cluster["apiServer"]["certSANs"]


def test_kubelet_configuration(tmp_path: Path) -> None:
    plain = init(tmp_path, "1.37")["KubeletConfiguration"]
    assert plain["cgroupDriver"] == "systemd"
    assert plain["serverTLSBootstrap"] is True
    own = init(tmp_path, "1.37", EXTRA)["KubeletConfiguration"]
    assert (own["maxPods"], own["cgroupDriver"]) == (50, "cgroupfs"), "hosts.toml takes precedence"


@pytest.mark.parametrize(
    ("version", "scheme"), [("1.20.2", ""), ("1.23", ""), ("1.24", "unix://"), ("1.37", "unix://")]
)
def test_the_cri_socket(tmp_path: Path, version: str, scheme: str) -> None:
    registration = init(tmp_path, version)["InitConfiguration"]["nodeRegistration"]
    assert registration["criSocket"] == f"{scheme}/run/containerd/containerd.sock"


@pytest.mark.parametrize(
    ("version", "taint"),
    [
        ("1.20.2", "node-role.kubernetes.io/master"),
        ("1.23", "node-role.kubernetes.io/master"),
        ("1.24", "node-role.kubernetes.io/control-plane"),
        ("1.37", "node-role.kubernetes.io/control-plane"),
    ],
)
def test_the_taint_of_a_control_plane(tmp_path: Path, version: str, taint: str) -> None:
    assert kubeadm.control_plane_taint(site(tmp_path, version)) == taint


def test_a_control_plane_that_is_a_worker_has_no_taint(tmp_path: Path) -> None:
    both = ONE.replace('roles = ["control-plane"]', 'roles = ["control-plane", "worker"]')
    assert init(tmp_path, "1.37", hosts=both)["InitConfiguration"]["nodeRegistration"]["taints"] == []
    assert "taints" not in init(tmp_path, "1.37")["InitConfiguration"]["nodeRegistration"], "kubeadm's default applies"


def test_a_worker_joins(tmp_path: Path) -> None:
    document = join(site(tmp_path, "1.37"), "worker1")
    assert document["discovery"]["bootstrapToken"] == {
        "token": TOKEN,
        "apiServerEndpoint": "192.168.56.10:6443",
        "caCertHashes": ["sha256:00"],
    }
    assert document["discovery"]["tlsBootstrapToken"] == TOKEN
    assert document["nodeRegistration"]["name"] == "worker1"
    assert "controlPlane" not in document


def test_an_additional_control_plane_joins(tmp_path: Path) -> None:
    document = join(site(tmp_path, "1.37", hosts=THREE, cluster='endpoint = "192.168.56.9:7443"'), "cp2", "f" * 64)
    assert document["controlPlane"] == {
        "localAPIEndpoint": {"advertiseAddress": "192.168.56.12", "bindPort": 6443},
        "certificateKey": "f" * 64,
    }
    assert document["discovery"]["bootstrapToken"]["apiServerEndpoint"] == "192.168.56.9:7443"


def test_an_ipv6_control_plane(tmp_path: Path) -> None:
    hosts = hosts_toml.host("six", "fd00::10", "control-plane", "worker")
    made = site(
        tmp_path,
        "1.37",
        "[metallb]\nenabled = false\n",
        hosts,
        'pod_cidr = "fd01::/48"\nservice_cidr = "fd02::/112"',
    )
    first, cluster, *_ = kubeadm.init_documents(made, made.first)
    assert first["localAPIEndpoint"]["advertiseAddress"] == "fd00::10"
    assert "fd00::10" in cluster["apiServer"]["certSANs"]
    assert join(made, "six")["discovery"]["bootstrapToken"]["apiServerEndpoint"] == "[fd00::10]:6443"


@pytest.mark.parametrize(
    ("version", "field", "flag"), [("1.20", False, True), ("1.22", True, False), ("1.37", True, False)]
)
def test_a_slow_site_has_patches_in_the_form_of_its_version(
    tmp_path: Path, version: str, field: bool, flag: bool
) -> None:
    fast, slow = site(tmp_path, version), site(tmp_path, version, cluster="timeout_scale = 8.0")
    for made, expected in ((fast, False), (slow, True)):
        first = kubeadm.init_documents(made, made.first)[0]
        assert ("patches" in first) is (expected and field)
        assert bool(kubeadm.patches_flag(made)) is (expected and flag)
        assert len(kubeadm.patches(made)) == (len(kubeadm.STATIC_PODS) if expected else 0)
    worker = kubeadm.join_document(slow, slow.host("worker1"), token=TOKEN, ca_hash="sha256:0")
    assert "patches" not in worker, "a worker has no static pods"

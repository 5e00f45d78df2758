"""The hosts.toml of a lab is valid, and fits its mirror."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.catalogue import release
from provisioner.errors import ProvisionerError
from provisioner.lab.containers import cgroups, kernel
from provisioner.lab.inventory import NETWORKS, choose_network, render_site, storage_stand_in
from provisioner.lab.mirror.editions import SOURCE
from provisioner.lab.spec import LabSpec, MirrorInfo
from provisioner.site import Site, load_site
from provisioner.steps import STEPS

MIRROR = MirrorInfo(Path("/cache/mirror"), Path("/cache/mirror/key.asc"), "1.20.2", "0.13.12", "0.9.0")


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("mirror", [MIRROR, None])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_a_lab_site_is_valid(tmp_path: Path, network: str, mirror: MirrorInfo | None, scale: float) -> None:
    lab = LabSpec(tmp_path, workers=3)
    lab.site.write_text(render_site(lab, mirror, network, scale))
    site = load_site(lab.site)
    assert [host.name for host in site.hosts] == [vm.name for vm in lab.vms]
    assert [host.name for host in site.control_planes] == ["master"]
    assert site.cluster.network == network
    assert site.timeout(10) == 10 * scale
    assert (str(site.version) == "1.20.2") == (mirror is not None)


def test_several_control_planes_have_the_endpoint_of_their_load_balancer(tmp_path: Path) -> None:
    lab = LabSpec(tmp_path, control_planes=3, workers=5)
    lab.site.write_text(render_site(lab, MIRROR, "bridge"))
    site = load_site(lab.site)
    assert [host.name for host in site.control_planes] == ["master", "master2", "master3"]
    assert site.endpoint == "192.168.56.3:6443"
    assert len(site.hosts) == 8
    assert site.kubeadm.etcd == {"heartbeat-interval": "500", "election-timeout": "5000"}


@pytest.mark.parametrize("control_planes", [1, 3])
def test_control_planes_with_a_vip_have_no_load_balancer(tmp_path: Path, control_planes: int) -> None:
    lab = LabSpec(tmp_path, control_planes=control_planes, extras="vip")
    lab.site.write_text(render_site(lab, MIRROR, "bridge"))
    site = load_site(lab.site)
    assert (site.cluster.vip, site.cluster.endpoint, lab.endpoint) == ("192.168.56.9", "", "")
    assert site.kubeadm.etcd, "the same for one control plane, which can get others later"


@pytest.mark.parametrize("nodes", ["vms", "containers"])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_several_control_planes_never_run_without_leader_election(tmp_path: Path, nodes: str, scale: float) -> None:
    lab = LabSpec(tmp_path, control_planes=3, nodes=nodes)
    lab.site.write_text(render_site(lab, MIRROR, "bridge", scale))
    kubeadm = load_site(lab.site).kubeadm
    for arguments in (kubeadm.controller_manager, kubeadm.scheduler):
        assert "leader-elect" not in arguments
    assert "leader-elect" in load_site_of_one(tmp_path).kubeadm.scheduler


def load_site_of_one(tmp_path: Path) -> Site:
    lab = LabSpec(tmp_path)
    lab.site.write_text(render_site(lab, MIRROR, "bridge", 8.0))
    return load_site(lab.site)


def test_a_lab_site_has_the_mirrors_addresses_and_versions(tmp_path: Path) -> None:
    site = tomllib.loads(render_site(LabSpec(tmp_path), MIRROR, "flannel", 8.0))
    assert site["mirror"] == {
        "packages": "http://192.168.56.2/pkgs.k8s.io",
        "images": "http://192.168.56.2:5000",
        "manifests": "http://192.168.56.2",
    }
    assert site["metallb"]["version"] == "0.13.12"
    assert site["ingress"]["controller"] == "traefik"
    assert site["ssh"]["host_keys"] == "accept-new"


def test_a_current_kubernetes_gets_containerd_from_the_mirror_too(tmp_path: Path) -> None:
    docker = "http://192.168.56.2/download.docker.com"
    current = replace(MIRROR, kubernetes="1.37.2", metallb="0.16.1", containerd=docker)
    site = tomllib.loads(render_site(LabSpec(tmp_path), current, "bridge", 8.0))
    assert site["mirror"]["containerd"] == docker
    assert site["cluster"]["kubernetes"] == "1.37.2"


def test_with_upstream_the_lab_has_the_requested_version(tmp_path: Path) -> None:
    site = tomllib.loads(render_site(LabSpec(tmp_path, kubernetes="1.36"), None, "flannel", 1.0))
    assert site["cluster"]["kubernetes"] == "1.36"
    assert "kubernetes" not in tomllib.loads(render_site(LabSpec(tmp_path), None, "flannel", 1.0))["cluster"]


def test_local_storage_isolation_is_off_for_kubelet_and_scheduler(tmp_path: Path) -> None:
    """Off for only one, no pod is scheduled on the master; a Kubernetes without the gate does not start with it."""
    gate = "LocalStorageCapacityIsolation"
    old = tomllib.loads(render_site(LabSpec(tmp_path), MIRROR, "flannel", 8.0))["kubeadm"]
    assert old["scheduler"] == {"leader-elect": "false", "feature-gates": f"{gate}=false"}
    assert old["kubelet_configuration"]["featureGates"] == {gate: False}
    new = tomllib.loads(render_site(LabSpec(tmp_path), None, "flannel", 8.0))["kubeadm"]
    assert new["scheduler"] == {"leader-elect": "false"}
    assert "featureGates" not in new["kubelet_configuration"]
    assert new["kubelet_configuration"]["localStorageCapacityIsolation"] is False


def test_a_lab_does_not_use_what_the_mirror_lacks(tmp_path: Path) -> None:
    without_flannel = replace(MIRROR, left_out={"flannel": "is missing"})
    assert choose_network("", MIRROR) == choose_network("", None) == "flannel"
    assert choose_network("", without_flannel) == "bridge"
    with pytest.raises(ProvisionerError, match="flannel is missing"):
        choose_network("flannel", without_flannel)
    lab = LabSpec(tmp_path)
    lab.site.write_text(render_site(lab, without_flannel, "bridge", 8.0))
    site = load_site(lab.site)
    assert site.cluster.network == "bridge"


def test_a_lab_has_the_ingress_controller_of_its_mirror(tmp_path: Path) -> None:
    """In the version that the mirror serves for its Kubernetes."""
    lab = LabSpec(tmp_path)
    lab.site.write_text(render_site(lab, MIRROR, "bridge", 8.0))
    site = load_site(lab.site)
    assert site.ingress.enabled
    assert "ingress" in site.workloads.enabled
    assert release(site.ingress_controller, str(site.version)).version == SOURCE.traefik


@pytest.mark.parametrize("mirror", [MIRROR, None])
def test_a_small_lab_omits_what_takes_long(tmp_path: Path, mirror: MirrorInfo | None) -> None:
    lab = LabSpec(tmp_path, small=True)
    lab.site.write_text(render_site(lab, mirror, "bridge", 8.0))
    site = load_site(lab.site)
    assert set(site.workloads.enabled) == {"nodeport", "loadbalancer", "shared-volume"}
    off = {step.name for step in STEPS if not step.enabled(site)}
    assert {"metrics-server", "ingress"} <= off
    assert "metallb" not in off


def test_a_machine_that_is_not_emulated_has_no_special_settings(tmp_path: Path) -> None:
    site = tomllib.loads(render_site(LabSpec(tmp_path), None, "flannel", 1.0))
    assert "kubeadm" not in site
    assert "mirror" not in site


def kubeadm_tables(text: str) -> dict[str, Any]:
    return dict(tomllib.loads(text)["kubeadm"])


def test_containers_leave_the_hosts_conntrack_alone(tmp_path: Path) -> None:
    for scale in (1.0, 8.0):
        tables = kubeadm_tables(render_site(LabSpec(tmp_path, nodes="containers"), MIRROR, timeout_scale=scale))
        assert tables == {"kube_proxy_configuration": {"conntrack": {"maxPerCore": 0, "min": 0}}}
    assert "kube_proxy" not in render_site(LabSpec(tmp_path), None)


@pytest.mark.parametrize(
    ("version", "cgroup_v1", "wanted"), [("1.37.2", True, True), ("1.37.2", False, False), ("1.34.1", True, False)]
)
def test_a_current_kubelet_is_let_start_on_cgroup_v1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, cgroup_v1: bool, wanted: bool
) -> None:
    monkeypatch.setattr(cgroups, "is_v1", lambda found: cgroup_v1)
    mirror = replace(MIRROR, kubernetes=version)
    tables = kubeadm_tables(render_site(LabSpec(tmp_path, nodes="containers"), mirror))
    assert (tables.get("kubelet_configuration") == {"failCgroupV1": False}) is wanted
    assert (tables.get("ignore_preflight_errors") == ["SystemVerification"]) is wanted


def test_containers_on_a_kernel_without_nfs_have_storage_and_say_what_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "has_nfs", lambda: False)
    for small in (False, True):
        lab = LabSpec(tmp_path, nodes="containers", small=small)
        lab.site.write_text(render_site(lab, MIRROR, "bridge"))
        site = load_site(lab.site)
        assert site.nfs.enabled
        assert "shared-volume" in site.workloads.enabled
        assert storage_stand_in(lab).startswith("storage: a stand-in: ")
    assert storage_stand_in(LabSpec(tmp_path)) == ""
    monkeypatch.setattr(kernel, "has_nfs", lambda: True)
    assert storage_stand_in(LabSpec(tmp_path, nodes="containers")) == ""

"""Preflight: every problem that keeps a host from becoming a node, all reported at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from provisioner.errors import HostError
from provisioner.kube.kubeadm_state import KUBELET_CONF
from provisioner.ssh import Host, HostNic
from provisioner.ssh.facts import Package
from provisioner.steps import boards, hardly_meant
from provisioner.steps.preflight import STEP
from tests import hosts_toml
from tests.unit.steps.doubles import POOL, RecordingHost, drain, fleet_for, present, site_at

NEW = 'kubernetes = "1.37"'


@pytest.fixture
def fleet(tmp_path: Path) -> dict[str, RecordingHost]:
    return fleet_for(STEP, site_at(tmp_path, NEW))


def told(host: RecordingHost) -> str:
    with pytest.raises(HostError) as raised:
        drain(STEP, host)
    assert raised.value.host == host.name
    assert raised.value.remedy.startswith("fix this on the host or in hosts.toml, then run provisioner plan")
    return raised.value.message


@pytest.mark.parametrize("name", ["master", "worker1"])
def test_a_blank_host_passes(fleet: dict[str, RecordingHost], name: str) -> None:
    assert drain(STEP, fleet[name]) == []
    assert fleet[name].works == {}
    assert fleet[name].files == {}


ETH1 = HostNic("eth1", "52:54:00:00:01:02", True, ("192.168.56.11/24",))
WORKER: dict[str, tuple[dict[str, Any], str]] = {
    "system": (
        {"os_id": "fedora", "os_version": "41"},
        "runs fedora 41, but only debian 12/13, ubuntu 20.04/22.04/24.04/26.04 are supported",
    ),
    "release": (
        {"os_version": "10"},
        "runs debian 10, but only debian 12/13, ubuntu 20.04/22.04/24.04/26.04 are supported",
    ),
    "architecture": ({"arch": "riscv64"}, "is riscv64, but packages exist only for amd64 and arm64"),
    "cgroup v1": (
        {"cgroup": 1},
        "uses cgroup v1, which kubelets refuse since 1.35: boot with systemd.unified_cgroup_hierarchy=1",
    ),
    "clock behind": (
        {"clock_skew": -3600.0},
        "its clock is -3600 s off this machine's: enable NTP (timedatectl set-ntp true)",
    ),
    "clock ahead": (
        {"clock_skew": 61.0},
        "its clock is +61 s off this machine's: enable NTP (timedatectl set-ntp true)",
    ),
    "memory": ({"memory_mib": 512}, "has 512 MiB of memory, needs 900"),
    "disk": (
        {"disk_free_mib": dict.fromkeys(boards.BLANK_NEEDS, 3000)},
        "has 3000 MiB free on /, needs 3072: free some, or enlarge the disk",
    ),
    "hostname": (
        {"hostname": "worker2"},
        "has the same hostname as worker2, worker2: hostnamectl set-hostname worker1",
    ),
    "product_uuid": (
        {"product_uuid": "00000000-0000-0000-0000-000000000003"},
        "has the same product_uuid as worker2: give the virtual machine its own UUID",
    ),
    "machine-id": (
        {"machine_id": f"{3:032x}"},
        "has the same machine-id as worker2: rm /etc/machine-id; systemd-machine-id-setup; reboot",
    ),
    "MAC": (
        {"nics": (HostNic("eth1", "52:54:00:00:01:03", True, ("192.168.56.11/24",)),)},
        "has the same MAC as worker2, 52:54:00:00:01:03 on eth1: give the NIC its own MAC",
    ),
    "address": (
        {"nics": (HostNic("eth0", "52:54:00:00:00:02", True, ("10.0.2.15/24",)),)},
        "no NIC has the address 192.168.56.11 (only eth0 10.0.2.15/24): fix it in hosts.toml or on the host",
    ),
    "port": (
        {"listening": frozenset({22, 10250})},
        "port 10250 is in use, but kubelet needs it: find the process with ss -ltnp",
    ),
}


@pytest.mark.parametrize(("facts", "sentence"), WORKER.values(), ids=WORKER)
def test_each_problem(fleet: dict[str, RecordingHost], facts: dict[str, Any], sentence: str) -> None:
    assert told(fleet["worker1"].know(**facts)) == sentence


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"cpus": 1}, "has 1 CPU, needs 2"),
        ({"memory_mib": 1600}, "has 1600 MiB of memory, needs 1700"),
        ({"listening": frozenset({6443})}, "port 6443 is in use, but kube-apiserver needs it: "),
        ({"listening": frozenset({2379, 2380})}, "port 2379 is in use, but etcd needs it: "),
    ],
)
def test_a_control_plane_needs_more(fleet: dict[str, RecordingHost], facts: dict[str, Any], sentence: str) -> None:
    assert told(fleet["master"].know(**facts)).startswith(sentence)
    assert drain(STEP, fleet["worker1"].know(**facts)) == []


def test_all_problems_are_reported_at_once(fleet: dict[str, RecordingHost]) -> None:
    message = told(fleet["worker1"].know(memory_mib=1, clock_skew=100.0, listening=frozenset({10250})))
    assert [part.split()[0] for part in message.splitlines()] == ["its", "has", "port"]


@pytest.mark.parametrize(
    "facts", [{"clock_skew": 59.0}, {"clock_skew": -59.0}, {"memory_mib": 900}, {"cpus": 1}, {"os_version": "13"}]
)
def test_just_enough(fleet: dict[str, RecordingHost], facts: dict[str, Any]) -> None:
    assert drain(STEP, fleet["worker1"].know(**facts)) == []


def test_an_old_kubelet_accepts_cgroup_v1(tmp_path: Path) -> None:
    host = fleet_for(STEP, site_at(tmp_path, 'kubernetes = "1.31"'))["worker1"]
    assert drain(STEP, host.know(cgroup=1)) == []


def test_a_kubelet_that_is_told_so_accepts_cgroup_v1(tmp_path: Path) -> None:
    told_so = site_at(tmp_path, rest="[kubeadm]\nkubelet_configuration = { failCgroupV1 = false }")
    assert drain(STEP, fleet_for(STEP, told_so)["worker1"].know(cgroup=1)) == []


def test_an_old_kubelet_has_no_metrics_with_cgroup_v2(tmp_path: Path) -> None:
    host = fleet_for(STEP, site_at(tmp_path, 'kubernetes = "1.24"'))["worker1"]
    assert "kubelets below 1.25 report no node metrics" in told(host.know(cgroup=2))
    assert drain(STEP, host.know(cgroup=1)) == []
    without = site_at(tmp_path, 'kubernetes = "1.24"', rest="[metrics]\nenabled = false")
    assert drain(STEP, fleet_for(STEP, without)["worker1"].know(cgroup=2)) == []


def test_the_interface_of_hosts_toml(tmp_path: Path) -> None:
    hosts = hosts_toml.host("one", "192.168.56.10", "control-plane", interface="eth7")
    host = fleet_for(STEP, site_at(tmp_path, NEW, hosts=hosts + POOL))["one"]
    assert told(host) == "192.168.56.10 is on eth1, but hosts.toml says eth7"


NODE: dict[str, Any] = {"files": {KUBELET_CONF: present()}}


def test_a_node_listens_on_its_ports_and_needs_less_disk(fleet: dict[str, RecordingHost]) -> None:
    taken = frozenset({22, 10250, 6443, 2379, 2380, 10257, 10259})
    host = fleet["master"].know(**NODE, listening=taken, disk_free_mib=dict.fromkeys(boards.NODE_NEEDS, 1500))
    assert drain(STEP, host) == []
    assert "has 500 MiB free on /, needs 1024" in told(host.know(disk_free_mib=dict.fromkeys(boards.NODE_NEEDS, 500)))


def test_ports_of_half_a_control_plane_are_ignored(fleet: dict[str, RecordingHost]) -> None:
    parts = {path: present() for path in ("/etc/kubernetes/manifests", "/etc/kubernetes/manifests/etcd.yaml")}
    host = fleet["master"].know(files=parts, listening=frozenset({2379, 6443, 10250}))
    assert drain(STEP, host) == []


def test_an_empty_manifests_directory_explains_no_port(fleet: dict[str, RecordingHost]) -> None:
    host = fleet["master"].know(files={"/etc/kubernetes/manifests": present()}, listening=frozenset({6443}))
    assert "port 6443 is in use" in told(host)


def has(*names: str) -> dict[str, Any]:
    return {"packages": {name: Package("1") for name in names}}


RUNC = "has runc installed, in conflict with containerd.io for Kubernetes 1.37: "
CONFLICTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "Debian's Docker": (
        "1.37",
        has("docker.io", "containerd", "runc"),
        "has containerd and runc installed, in conflict with containerd.io for Kubernetes 1.37: "
        "if nothing else needs it, apt-get remove containerd runc docker.io",
    ),
    "Debian's runc alone": ("1.37", has("runc"), f"{RUNC}if nothing else needs it, apt-get remove runc"),
    "Docker's own": (
        "1.31",
        has("docker-ce", "containerd.io"),
        "has containerd.io installed, in conflict with containerd and runc for Kubernetes 1.31: "
        "if nothing else needs it, apt-get remove containerd.io docker-ce",
    ),
}


@pytest.mark.parametrize(("version", "facts", "sentence"), CONFLICTS.values(), ids=CONFLICTS)
def test_packages_in_conflict_with_containerds(
    tmp_path: Path, version: str, facts: dict[str, Any], sentence: str
) -> None:
    host = fleet_for(STEP, site_at(tmp_path, f'kubernetes = "{version}"'))["worker1"].know(**facts)
    assert told(host) == sentence
    assert drain(STEP, host.know(**NODE)) == [], "a node keeps what it runs on"


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("1.37", ("containerd.io", "docker-ce")),
        ("1.31", ("containerd", "runc", "docker.io")),
        ("1.31", ("runc",)),
    ],
)
def test_a_docker_from_the_same_source_is_accepted(tmp_path: Path, version: str, names: tuple[str, ...]) -> None:
    host = fleet_for(STEP, site_at(tmp_path, f'kubernetes = "{version}"'))["worker1"]
    assert drain(STEP, host.know(**has(*names))) == []


CNI = "/etc/cni/net.d"
LEFT = "has {0} of another pod network, which containerd would use: sudo rm {0}"
BRIDGE, FLANNEL = f"{CNI}/10-provisioner-bridge.conflist", f"{CNI}/10-flannel.conflist"


@pytest.mark.parametrize(
    ("network", "path", "sentence"),
    [
        ("flannel", f"{CNI}/10-calico.conflist", LEFT),
        ("flannel", f"{CNI}/05-cilium.conf", LEFT),
        ("bridge", FLANNEL, LEFT),
        ("flannel", FLANNEL, ""),  # its own, after an interrupted join
        ("flannel", BRIDGE, ""),  # sorts after flannel's
        ("flannel", f"{CNI}/87-podman-bridge.conflist", ""),
        ("flannel", f"{CNI}/00-readme.txt", ""),
    ],
)
def test_a_cni_configuration_that_would_win_is_refused(tmp_path: Path, network: str, path: str, sentence: str) -> None:
    host = fleet_for(STEP, site_at(tmp_path, f'{NEW}\nnetwork = "{network}"'))["worker1"]
    host.know(files={path: present()})
    if sentence:
        assert told(host) == sentence.format(path)
    else:
        assert drain(STEP, host) == []


@pytest.mark.parametrize(("network", "path", "runs"), [("flannel", BRIDGE, "bridge"), ("bridge", FLANNEL, "flannel")])
def test_a_node_keeps_its_pod_network(tmp_path: Path, network: str, path: str, runs: str) -> None:
    host = fleet_for(STEP, site_at(tmp_path, f'{NEW}\nnetwork = "{network}"'))["worker1"]
    sentence = told(host.know(files={**NODE["files"], path: present()}))
    assert sentence.startswith(f'has the pod network "{runs}", but hosts.toml says "{network}": set network = ')


@pytest.mark.parametrize("path", [FLANNEL, f"{CNI}/00-multus.conf"])
def test_on_a_node_other_cni_configurations_are_accepted(fleet: dict[str, RecordingHost], path: str) -> None:
    assert drain(STEP, fleet["worker1"].know(files={**NODE["files"], path: present()})) == []


ANSWER = "192.168.56.201 lladdr aa:bb:cc:dd:ee:ff REACHABLE\n"


def test_a_pool_address_in_use(fleet: dict[str, RecordingHost]) -> None:
    fleet["master"].says["neigh show"] = ANSWER
    assert told(fleet["master"]) == (
        "192.168.56.201 of the MetalLB pools is in use by aa:bb:cc:dd:ee:ff: "
        "remove it from metallb.pools or from that machine"
    )


def test_only_the_first_host_probes_and_only_before_it_is_a_node(fleet: dict[str, RecordingHost]) -> None:
    """Later the cluster itself announces the addresses."""
    for host in fleet.values():
        host.says["neigh show"] = ANSWER
    assert drain(STEP, fleet["worker1"]) == []
    assert fleet["worker1"].commands == []
    assert drain(STEP, fleet["master"].know(**NODE)) == []
    assert fleet["master"].commands == []


def test_a_host_that_is_down_does_not_stop_a_run_limited_to_others(fleet: dict[str, RecordingHost]) -> None:
    fleet["worker2"].silent = True
    assert drain(STEP, fleet["worker1"]) == []


def test_a_package_that_is_held_at_a_version_that_is_too_old(fleet: dict[str, RecordingHost]) -> None:
    host = fleet["worker1"].know(packages={"containerd.io": Package("1.7.27-1", held=True)})
    assert told(host) == (
        "holds containerd.io at 1.7.27-1, but Kubernetes 1.37 needs 2.x: sudo apt-mark unhold containerd.io"
    )
    assert drain(STEP, host.know(packages={"containerd.io": Package("2.1.4-1", held=True)})) == []


def test_a_repository_that_is_there_twice(fleet: dict[str, RecordingHost]) -> None:
    ours = "/etc/apt/sources.list.d/docker.list"
    line = "deb [signed-by={0}] https://download.docker.com/linux/debian bookworm stable\n"
    other = "/etc/apt/sources.list.d/mine.list"
    host = fleet["worker1"].know(files={ours: present(line.format("a")), other: present(line.format("b"))})
    assert told(host).endswith(f"with another key, in {other}, so that apt reads no source at all: sudo rm {ours}")


@pytest.mark.parametrize(
    ("version", "pool", "expected"),
    [
        ("1.37", "192.168.56.200-192.168.56.203", []),
        ("1.37.2", "192.168.56.128/26", []),
        ("1.30.999", "192.168.56.200-192.168.56.203", ["Kubernetes 1.30.999 is newer than any that this release"]),
        ("1.37", "10.9.0.8/30", ["pool lab (10.9.0.8/30) is outside of the hosts' network 192.168.56.0/24"]),
        ("1.37", "fd00::8/126", []),
    ],
)
def test_what_is_hardly_meant_is_told_once(tmp_path: Path, version: str, pool: str, expected: list[str]) -> None:
    site = site_at(
        tmp_path,
        f'kubernetes = "{version}"',
        hosts=f"{hosts_toml.hosts('master', 'worker1', network='192.168.56')}{hosts_toml.pool('lab', pool)}",
    )
    found = fleet_for(STEP, site)
    told = [*hardly_meant.notes(cast("Host", found["master"]), site)]
    assert len(told) == len(expected)
    assert all(sentence.startswith(start) for sentence, start in zip(told, expected, strict=True))

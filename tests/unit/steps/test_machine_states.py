"""Preflight on machines as people have them: leftovers, boards, guests, disks, clocks, resolvers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import HostError
from provisioner.kube.kubeadm_state import KUBELET_CONF
from provisioner.ssh import HostNic
from provisioner.ssh.facts import File, Mount, Unit
from provisioner.steps.preflight import STEP
from tests.unit.steps.doubles import RecordingHost, drain, fleet_for, present, running, site_at

NEW = 'kubernetes = "1.37"'
ADDRESS = "192.168.56.11/24"


@pytest.fixture
def host(tmp_path: Path) -> RecordingHost:
    return fleet_for(STEP, site_at(tmp_path, NEW))["worker1"]


def told(host: RecordingHost) -> str:
    with pytest.raises(HostError) as raised:
        drain(STEP, host)
    return raised.value.message


def notes_of(host: RecordingHost) -> list[str]:
    said: list[str] = []
    host.report = host.report.__class__(lambda event: said.append(event.text) if event.kind == "note" else None)
    drain(STEP, host)
    return said


def nics(*more: HostNic, **values: Any) -> tuple[HostNic, ...]:
    return (HostNic("eth1", "52:54:00:00:01:02", True, (ADDRESS,), **values), *more)


def mounts(**options: str) -> dict[str, Mount]:
    found = {"/": Mount("/dev/sda1", "ext4", ("rw",))}
    return found | {
        f"/{path.replace('_', '/')}": Mount("/dev/sdb1", "ext4", tuple(words.split(",")))
        for path, words in options.items()
    }


FREE = {"/usr": 20000, "/var/cache/apt": 20000, "/var/lib/containerd": 20000, "/var/lib/kubelet": 20000}
STATES: dict[str, tuple[dict[str, Any], str]] = {
    "k3s": (
        {"units": {"k3s-agent.service": running()}},
        "runs k3s (k3s-agent.service), another Kubernetes: if it is not needed, sudo k3s-agent-uninstall.sh",
    ),
    "k3s that is stopped but comes back": (
        {"units": {"k3s.service": Unit(active=False, enabled=True)}},
        "runs k3s (k3s.service), another Kubernetes: if it is not needed, sudo k3s-uninstall.sh",
    ),
    "MicroK8s": (
        {"units": {"snap.microk8s.daemon-kubelite.service": running()}},
        "runs MicroK8s (snap.microk8s.daemon-kubelite.service), another Kubernetes: if it is not needed, "
        "sudo snap remove --purge microk8s",
    ),
    "a bridge of another pod network": (
        {"nics": nics(HostNic("cni0", "0a:00:00:00:00:01", True, ("10.42.0.1/24", "fe80::1/64")))},
        "has cni0 with 10.42.0.1/24 of an earlier pod network, outside pod_cidr 10.244.0.0/16: sudo ip link "
        "delete cni0",
    ),
    "docker0 inside the pod CIDR": (
        {"nics": nics(HostNic("docker0", "02:42:00:00:00:01", False, ("10.244.0.1/20",)))},
        "reaches 10.244.0.0/20 over docker0, which overlaps pod_cidr 10.244.0.0/16: write another pod_cidr under "
        "[cluster] in hosts.toml, or move Docker's: bip and default-address-pools in /etc/docker/daemon.json",
    ),
    "a VPN around the service CIDR": (
        {"routes": (("192.168.56.0/24", "eth1"), ("10.0.0.0/9", "wg0"))},
        "reaches 10.0.0.0/9 over wg0, which overlaps service_cidr 10.96.0.0/16: write another service_cidr under "
        "[cluster] in hosts.toml",
    ),
    "a Raspberry Pi": (
        {"files": {"/sys/fs/cgroup/cgroup.controllers": present("cpuset cpu io pids\n")}},
        "has no memory cgroup, which kubelets need: add cgroup_enable=memory cgroup_memory=1 to the kernel's command "
        "line (on a Raspberry Pi in /boot/firmware/cmdline.txt) and reboot",
    ),
    "LXC": (
        {"files": {"/run/systemd/container": present("lxc\n")}},
        "is a container (lxc) without /dev/kmsg, which kubelets read: use a virtual machine, or a privileged "
        "container that has it",
    ),
    "noexec": (
        {"mounts": mounts(opt="rw,noexec,nosuid")},
        "has /opt mounted noexec, but runs programs from /opt/cni/bin: sudo mount -o remount,exec /opt, and take "
        "noexec out of /etc/fstab",
    ),
    "a small /var/lib/containerd": (
        {"mounts": mounts(var_lib_containerd="rw"), "disk_free_mib": FREE | {"/var/lib/containerd": 900}},
        "has 900 MiB free on /var/lib/containerd, needs 1500: free some, or enlarge the disk",
    ),
    "a small / beside a large /var": (
        {"mounts": mounts(var="rw"), "disk_free_mib": FREE | {"/usr": 600}},
        "has 600 MiB free on /, needs 900: free some, or enlarge the disk",
    ),
    "a resolver of its own": (
        {"files": {"/etc/resolv.conf": present("search lan\nnameserver 127.0.0.1\nnameserver 192.0.2.1\n")}},
        "asks 127.0.0.1 for names (/etc/resolv.conf), which inside a pod is the pod itself: write the servers behind "
        "it into a file on every host and name that under [kubeadm] in hosts.toml: "
        'kubelet_configuration = { resolvConf = "/etc/resolv.upstream.conf" }',
    ),
}


@pytest.mark.parametrize(("facts", "sentence"), STATES.values(), ids=STATES)
def test_each_obstacle(host: RecordingHost, facts: dict[str, Any], sentence: str) -> None:
    assert told(host.know(**facts)) == sentence
    if "disk_free_mib" not in facts:
        node = {**facts, "files": {**facts.get("files", {}), KUBELET_CONF: present()}}
        assert drain(STEP, host.know(**node)) == [], "a node keeps what it runs on"


FINE: dict[str, dict[str, Any]] = {
    "its own bridge, left by an interrupted join": {
        "nics": nics(HostNic("cni0", "0a:00:00:00:00:01", True, ("10.244.3.1/24",)))
    },
    "routes into its own pod network": {"routes": (("10.244.1.0/24", "flannel.1"),)},
    "a small / beside a large /var": {"mounts": mounts(var="rw"), "disk_free_mib": FREE | {"/usr": 1000}},
    "noexec where nothing is run": {"mounts": mounts(tmp="rw,noexec", var_lib_containerd="rw,noexec")},
    "a container that was made for nodes": {
        "files": {"/run/systemd/container": present("lxc\n"), "/dev/kmsg": present()}
    },
    "systemd-resolved": {
        "files": {
            "/etc/resolv.conf": present("nameserver 127.0.0.53\n"),
            "/run/systemd/resolve/resolv.conf": present("nameserver 192.0.2.1\n"),
        },
        "units": {"systemd-resolved.service": running()},
    },
    "cgroup v1 with memory": {"files": {"/proc/cgroups": present("#subsys_name\nmemory\t0\t80\t1\n")}},
}


@pytest.mark.parametrize("facts", FINE.values(), ids=FINE)
def test_states_that_are_fine(host: RecordingHost, facts: dict[str, Any]) -> None:
    assert drain(STEP, host.know(**facts)) == []


def test_a_resolver_that_the_site_names(tmp_path: Path) -> None:
    own = '[kubeadm]\nkubelet_configuration = { resolvConf = "/etc/resolv.upstream.conf" }\n'
    host = fleet_for(STEP, site_at(tmp_path, NEW, own))["worker1"]
    local = {"/etc/resolv.conf": present("nameserver 127.0.0.1\n")}
    assert (
        drain(STEP, host.know(files={**local, "/etc/resolv.upstream.conf": present("nameserver 192.0.2.1\n")})) == []
    )
    assert "(/etc/resolv.upstream.conf)" in told(
        host.know(files={"/etc/resolv.upstream.conf": present("nameserver ::1\n")})
    )


def test_notes_on_what_may_break_later(host: RecordingHost) -> None:
    host.says["getent"] = "no-such-host-1.example.org\n"
    host.know(
        nics=nics(leased=(ADDRESS,)),
        files={"/etc/resolv.conf": present("search lan example.org\nnameserver 192.0.2.1\n")},
    )
    assert notes_of(host) == [
        "worker1: 192.168.56.11 is a lease; a node must keep its address: reserve it on the DHCP server or configure "
        "it on eth1",
        "worker1: no service keeps its clock right: sudo apt-get install systemd-timesyncd",
        "worker1: /etc/resolv.conf searches example.org, where every name has an address, so pods would find no other "
        "host: take example.org out of its search line",
    ]


@pytest.mark.parametrize(
    "facts",
    [
        {"units": {"chrony.service": running()}},
        {"files": {"/run/systemd/container": present("lab\n"), "/dev/kmsg": present()}},
    ],
)
def test_a_clock_that_is_kept_right(host: RecordingHost, facts: dict[str, Any]) -> None:
    assert notes_of(host.know(**facts)) == []


EXPORTS: dict[str, tuple[dict[str, Any], str]] = {
    "the same folder": (
        {"/etc/exports": present("# mine\n/srv/nfs/ *(rw) \\\n  192.0.2.9(ro)\n")},
        "exports /srv/nfs in /etc/exports:2 as well, to *(rw) 192.0.2.9(ro): remove that line (hosts.toml's clients "
        "under [nfs] says who else may mount it), then sudo exportfs -ra",
    ),
    "the root of NFSv4": (
        {"/etc/exports.d/home.exports": present("/export 192.0.2.0/24(ro,fsid=0,no_subtree_check)\n")},
        "exports /export with fsid=0 (/etc/exports.d/home.exports:1), so that NFSv4 clients see nothing but what is "
        "in it, by other paths: take fsid=0 out, then sudo exportfs -ra",
    ),
    "a parent that nobody may enter": (
        {"/srv": File(exists=True, mode=0o700, owner="root:root", is_dir=True)},
        "has /srv with mode 0700, so that clients cannot pass it to /srv/nfs: sudo chmod o+x /srv",
    ),
}


@pytest.mark.parametrize(("files", "sentence"), EXPORTS.values(), ids=EXPORTS)
def test_exports_of_the_operators(tmp_path: Path, files: dict[str, Any], sentence: str) -> None:
    fleet = fleet_for(STEP, site_at(tmp_path, NEW))
    assert told(fleet["master"].know(files=files)) == sentence
    assert drain(STEP, fleet["worker1"].know(files=files)) == [], "it is not the NFS server"
    assert told(fleet["master"].know(files={KUBELET_CONF: present()})) == sentence, "also on a node"


def test_exports_that_are_in_nobodys_way(tmp_path: Path) -> None:
    host = fleet_for(STEP, site_at(tmp_path, NEW))["master"]
    host.know(
        files={
            "/etc/exports": present("/home 192.0.2.0/24(rw,fsid=1)\n#/srv/nfs *(rw)\n/srv 192.0.2.7(ro)\n"),
            "/etc/exports.d/provisioner.exports": present("/srv/nfs 192.168.56.10(rw)\n"),
            "/srv": File(exists=True, mode=0o755, owner="root:root", is_dir=True),
        },
        units={"chrony.service": running()},
    )
    assert notes_of(host) == [
        "master: exports /srv to 192.0.2.7(ro) (/etc/exports:3), and with it the volumes below it"
    ]

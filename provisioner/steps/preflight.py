"""Look before anything is changed: every reason why a host could not become a node, told at once."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.engine import Change, Scope, Step
from provisioner.errors import HostError
from provisioner.kube import Cluster
from provisioner.kube.kubeadm_state import KUBELET_CONF
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host, HostFacts
from provisioner.steps import flannel, pod_routes
from provisioner.steps.containerd import from_docker
from provisioner.steps.pool_conflicts import pool_addresses_of, pool_conflicts

SYSTEMS = {"debian": ("12", "13"), "ubuntu": ("20.04", "22.04", "24.04", "26.04")}
CONTROL_PLANE_PORTS = {6443: "kube-apiserver", 2379: "etcd", 2380: "etcd", 10257: "kube-controller-manager",
                       10259: "kube-scheduler"}  # fmt: skip
CNI = "/etc/cni/net.d"
NODE_PORTS = {10250: "kubelet"}
REMEDY = "mend that on the host or in hosts.toml, then provisioner plan looks again (nothing was changed)"
# Docker's package conflicts with Debian's two (its debian/control); removing either side takes Docker along.
DEBIANS, DOCKERS = ("containerd", "runc"), ("containerd.io",)
DOCKER = ("docker.io", "docker-ce")
MAX_SKEW = 60.0  # seconds; certificates and leases of a cluster assume one time


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Raise one HostError that names everything wrong with this host; change nothing."""
    del cluster
    facts = host.facts
    found = [
        *_system(facts, site),
        *_resources(host, facts),
        *_identity(host, facts),
        *_address(host, facts),
        *pool_addresses_of(host, site),
        *_pod_network(facts, site),
    ]
    if not facts.files[KUBELET_CONF].exists:
        found += _ports(host, facts)
        found += _packages(facts, site)
    first = host.name == site.first.name and not facts.files[KUBELET_CONF].exists
    if first and site.metallb.enabled and not found:  # on a cluster the pools step asks about what is new to it
        found += pool_conflicts(host, [part for pool in site.metallb.pools for part in pool.ranges])
    if found:
        raise HostError(host.name, "; ".join(found), REMEDY)
    yield from ()


def _system(facts: HostFacts, site: Site) -> Iterator[str]:
    if facts.os_version not in SYSTEMS.get(facts.os_id, ()):
        known = ", ".join(f"{name} {'/'.join(versions)}" for name, versions in SYSTEMS.items())
        yield f"runs {facts.os_id} {facts.os_version}; supported are {known}"
    if facts.arch not in ("amd64", "arm64"):
        yield f"has the architecture {facts.arch}; packages exist for amd64 and arm64"
    if facts.cgroup != 2 and site.version.at_least(1, 35):
        yield ("uses cgroup v1, which the kubelet refuses from 1.35: boot with systemd.unified_cgroup_hierarchy=1")
    if facts.cgroup != 1 and not site.version.at_least(1, 25) and site.metrics.enabled:
        yield (
            "uses cgroup v2, for which a kubelet below 1.25 reports no CPU and memory of the node, so that "
            "metrics-server serves nothing: boot with systemd.unified_cgroup_hierarchy=0, or set "
            "metrics.enabled = false"
        )
    if abs(facts.clock_skew) > MAX_SKEW:
        yield (f"its clock is {facts.clock_skew:+.0f} s off this machine's: set it (timedatectl set-ntp true)")


def _resources(host: Host, facts: HostFacts) -> Iterator[str]:
    need_cpus, need_memory = (2, 1700) if host.spec.is_control_plane else (1, 900)
    if facts.cpus < need_cpus:
        yield f"has {facts.cpus} CPU, needs {need_cpus}"
    if facts.memory_mib < need_memory:
        yield f"has {facts.memory_mib} MiB of memory, needs {need_memory}"
    # A blank machine takes packages and images; one that is a node already only needs to stay clear of eviction.
    need_disk = 1024 if facts.files[KUBELET_CONF].exists else 3072
    for path, free in facts.disk_free_mib.items():
        if free < need_disk:
            yield f"has {free} MiB free on {path}, needs {need_disk}: free some, or grow the disk"


def _identity(host: Host, facts: HostFacts) -> Iterator[str]:
    mine = facts.address_nic(host.spec.address)
    for name, theirs in host.reachable_facts().items():
        if name == host.name:
            continue
        if theirs.hostname == facts.hostname:
            yield f"has the hostname {facts.hostname}, and so has {name}: hostnamectl set-hostname {host.name}"
        if theirs.product_uuid and theirs.product_uuid == facts.product_uuid:
            yield f"has the same product_uuid as {name}: give the virtual machine its own UUID"
        if theirs.machine_id == facts.machine_id:
            yield (f"has the same machine-id as {name}: rm /etc/machine-id; systemd-machine-id-setup; reboot")
        other_nic = theirs.address_nic(host.fleet[name].spec.address)
        if mine is not None and other_nic is not None and mine.mac == other_nic.mac:
            yield f"has the MAC {mine.mac} on {mine.name}, and so has {name}: give the NIC its own MAC"


def _address(host: Host, facts: HostFacts) -> Iterator[str]:
    wanted = host.spec.address
    nic = facts.address_nic(wanted)
    if nic is None:
        have = ", ".join(f"{nic.name} {' '.join(nic.addresses)}" for nic in facts.nics if nic.addresses)
        yield f"no NIC carries {wanted} (it has {have}): mend the address in hosts.toml or on the host"
    elif host.spec.interface and nic.name != host.spec.interface:
        yield f"{wanted} is on {nic.name}, hosts.toml says {host.spec.interface}"


def _ports(host: Host, facts: HostFacts) -> Iterator[str]:
    wanted = NODE_PORTS | (CONTROL_PLANE_PORTS if host.spec.is_control_plane else {})
    if facts.files["/etc/kubernetes/manifests"].exists and any(
        path.startswith("/etc/kubernetes/manifests/") and file.exists for path, file in facts.files.items()
    ):
        return  # parts of a control plane are here: its own step knows what to make of them
    for port in sorted(facts.listening & wanted.keys()):
        yield f"port {port} is taken, and {wanted[port]} needs it: see what listens with ss -ltnp"


def _pod_network(facts: HostFacts, site: Site) -> Iterator[str]:
    """Tell of a pod network that is not hosts.toml's: the node's own, or one whose file would win over it.

    containerd takes the first file of the folder, by name (github.com/containerd/go-cni, WithDefaultConf).
    """
    files = {"bridge": pod_routes.CNI, "flannel": flannel.CNI}
    wanted = site.cluster.network
    there = sorted(path for path, file in facts.files.items() if path.startswith(f"{CNI}/") and file.exists)
    if facts.files[KUBELET_CONF].exists:
        for name in (name for name, path in files.items() if path in there and name != wanted):
            yield (
                f'runs the pod network "{name}", and hosts.toml says "{wanted}": write network = "{name}" under '
                "[cluster]; only a new cluster takes another one (provisioner reset)"
            )
        return
    for path in (path for path in there if path < files[wanted] and path.endswith((".conf", ".conflist", ".json"))):
        yield f"has {path}, left by another pod network, which containerd would take: sudo rm {path}"


def _packages(facts: HostFacts, site: Site) -> Iterator[str]:
    """Tell of packages that apt would have to remove for containerd's, which it is not allowed to."""
    wanted, other = (DOCKERS, DEBIANS) if from_docker(site) else (DEBIANS, DOCKERS)
    in_the_way = [name for name in other if name in facts.packages]
    if not in_the_way or any(name in facts.packages for name in wanted):
        return
    going = " ".join([*in_the_way, *(name for name in DOCKER if name in facts.packages)])
    yield (
        f"has {' and '.join(in_the_way)} installed, and Kubernetes {site.version.minor_text} runs here on "
        f"{' and '.join(wanted)}, which cannot be there beside it: if nothing else needs it, apt-get remove {going}"
    )


STEP = Step(
    name="preflight",
    summary="look for reasons why a host could not become a node",
    scope=Scope.ALL,
    changes=changes,
    query=lambda site: FactQuery(
        exists=(KUBELET_CONF, f"{CNI}/*", "/etc/kubernetes/manifests", "/etc/kubernetes/manifests/*.yaml"),
        packages=(*DEBIANS, *DOCKERS, *DOCKER),
        disks=("/", "/var/lib"),
    ),
    reads_only=True,
)

"""Check, before anything is changed, that a host can become a node, and report all problems at once."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.engine import Change, Scope, Step
from provisioner.engine.apt_source import AptSource, conflict
from provisioner.errors import HostError
from provisioner.kube import Cluster
from provisioner.kube.kubeadm_state import KUBELET_CONF
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host, HostFacts
from provisioner.steps import boards, exports_elsewhere, flannel, hardly_meant, kubernetes, leftovers, pod_routes, vip
from provisioner.steps.containerd import PACKAGE_2, docker_repository, needs_docker_packages, too_old
from provisioner.steps.pool_conflicts import pool_addresses_of, pool_conflicts
from provisioner.steps.vip_conflicts import vip_conflicts, vip_problems
from provisioner.text import join_words, pluralize

SYSTEMS = {"debian": ("12", "13"), "ubuntu": ("20.04", "22.04", "24.04", "26.04")}
CONTROL_PLANE_PORTS = {6443: "kube-apiserver", 2379: "etcd", 2380: "etcd", 10257: "kube-controller-manager",
                       10259: "kube-scheduler"}  # fmt: skip
CNI = "/etc/cni/net.d"
NODE_PORTS = {10250: "kubelet"}
REMEDY = "fix this on the host or in hosts.toml, then run provisioner plan (nothing was changed)"
# Docker's package conflicts with Debian's two (its debian/control); removing either side removes Docker too.
FROM_DEBIAN, FROM_DOCKER = ("containerd", "runc"), ("containerd.io",)
DOCKER = ("docker.io", "docker-ce")
MAX_SKEW = 60.0  # seconds; certificates and leases need synchronized clocks


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield nothing. Raises one HostError with all problems of this host."""
    del cluster
    facts = host.facts
    found = [
        *_system(facts, site),
        *_resources(host, facts),
        *_identity(host, facts),
        *_address(host, facts),
        *pool_addresses_of(host, site),
        *_pod_network(facts, site),
        *_sources(facts, site),
        *vip_problems(host, site),
    ]
    if site.nfs.enabled and host.name == site.nfs_server.name:
        found += exports_elsewhere.problems(facts, site)
    if not facts.files[KUBELET_CONF].exists:
        found += _ports(host, facts)
        found += _packages(facts, site)
        found += leftovers.problems(facts, site)
        found += boards.problems(facts, site)
        sentences = [*boards.notes(host, site)]
        if host.name == site.first.name:
            sentences += hardly_meant.notes(host, site)
        if site.nfs.enabled and host.name == site.nfs_server.name:
            sentences += exports_elsewhere.notes(facts, site)
        for sentence in sentences:
            host.report.emit("note", f"{host.name}: {sentence}", host=host.name)
    if host.name == site.first.name and not found:
        found += vip_conflicts(host, site)
    first = host.name == site.first.name and not facts.files[KUBELET_CONF].exists
    if first and site.metallb.enabled and not found:  # in a running cluster, the step pools probes new addresses
        found += pool_conflicts(host, [part for pool in site.metallb.pools for part in pool.ranges])
    if found:
        raise HostError(host.name, "\n".join(found), REMEDY)
    yield from ()


def _system(facts: HostFacts, site: Site) -> Iterator[str]:
    if facts.os_version not in SYSTEMS.get(facts.os_id, ()):
        known = ", ".join(f"{name} {'/'.join(versions)}" for name, versions in SYSTEMS.items())
        yield f"runs {facts.os_id} {facts.os_version}, but only {known} are supported"
    if facts.arch not in ("amd64", "arm64"):
        yield f"is {facts.arch}, but packages exist only for amd64 and arm64"
    refuses_v1 = site.kubeadm.kubelet_configuration.get("failCgroupV1") is not False
    if facts.cgroup != 2 and site.version.at_least(1, 35) and refuses_v1:
        yield "uses cgroup v1, which kubelets refuse since 1.35: boot with systemd.unified_cgroup_hierarchy=1"
    if facts.cgroup != 1 and not site.version.at_least(1, 25) and site.metrics.enabled:
        yield (
            "uses cgroup v2, with which kubelets below 1.25 report no node metrics to metrics-server: "
            "boot with systemd.unified_cgroup_hierarchy=0, or set enabled = false under [metrics]"
        )
    if abs(facts.clock_skew) > MAX_SKEW:
        yield f"its clock is {facts.clock_skew:+.0f} s off this machine's: enable NTP (timedatectl set-ntp true)"


def _resources(host: Host, facts: HostFacts) -> Iterator[str]:
    need_cpus, need_memory = (2, 1700) if host.spec.is_control_plane else (1, 900)
    if facts.cpus < need_cpus:
        yield f"has {pluralize(facts.cpus, 'CPU')}, needs {need_cpus}"
    if facts.memory_mib < need_memory:
        yield f"has {facts.memory_mib} MiB of memory, needs {need_memory}"
    yield from boards.disks(facts, boards.NODE_NEEDS if facts.files[KUBELET_CONF].exists else boards.BLANK_NEEDS)


def _identity(host: Host, facts: HostFacts) -> Iterator[str]:
    mine = facts.address_nic(host.spec.address)
    for name, theirs in host.reachable_facts().items():
        if name == host.name:
            continue
        if theirs.hostname == facts.hostname:
            yield f"has the same hostname as {name}, {facts.hostname}: hostnamectl set-hostname {host.name}"
        if theirs.product_uuid and theirs.product_uuid == facts.product_uuid:
            yield f"has the same product_uuid as {name}: give the virtual machine its own UUID"
        if theirs.machine_id == facts.machine_id:
            yield f"has the same machine-id as {name}: rm /etc/machine-id; systemd-machine-id-setup; reboot"
        other_nic = theirs.address_nic(host.fleet[name].spec.address)
        if mine is not None and other_nic is not None and mine.mac == other_nic.mac:
            yield f"has the same MAC as {name}, {mine.mac} on {mine.name}: give the NIC its own MAC"


def _address(host: Host, facts: HostFacts) -> Iterator[str]:
    wanted = host.spec.address
    nic = facts.address_nic(wanted)
    if nic is None:
        have = ", ".join(f"{nic.name} {' '.join(nic.addresses)}" for nic in facts.nics if nic.addresses)
        yield f"no NIC has the address {wanted} (only {have}): fix it in hosts.toml or on the host"
    elif host.spec.interface and nic.name != host.spec.interface:
        yield f"{wanted} is on {nic.name}, but hosts.toml says {host.spec.interface}"


def _ports(host: Host, facts: HostFacts) -> Iterator[str]:
    wanted = NODE_PORTS | (CONTROL_PLANE_PORTS if host.spec.is_control_plane else {})
    if facts.files["/etc/kubernetes/manifests"].exists and any(
        path.startswith("/etc/kubernetes/manifests/") and file.exists for path, file in facts.files.items()
    ):
        return  # a control plane runs here, or half of one: the step control-plane handles it
    for port in sorted(facts.listening & wanted.keys()):
        yield f"port {port} is in use, but {wanted[port]} needs it: find the process with ss -ltnp"


def _pod_network(facts: HostFacts, site: Site) -> Iterator[str]:
    """Yield a problem if another pod network than hosts.toml's is in use, or would be.

    containerd uses the first file in the directory, by name (github.com/containerd/go-cni, WithDefaultConf).
    """
    files = {"bridge": pod_routes.CNI, "flannel": flannel.CNI}
    wanted = site.cluster.network
    present = sorted(path for path, file in facts.files.items() if path.startswith(f"{CNI}/") and file.exists)
    if facts.files[KUBELET_CONF].exists:
        for name in (name for name, path in files.items() if path in present and name != wanted):
            yield (
                f'has the pod network "{name}", but hosts.toml says "{wanted}": set network = "{name}" under '
                "[cluster]; only a new cluster can have another one (provisioner reset)"
            )
        return
    for path in (path for path in present if path < files[wanted] and path.endswith((".conf", ".conflist", ".json"))):
        yield f"has {path} of another pod network, which containerd would use: sudo rm {path}"


def _packages(facts: HostFacts, site: Site) -> Iterator[str]:
    """Yield a problem if installing containerd would remove packages, which apply does not do."""
    wanted, other = (FROM_DOCKER, FROM_DEBIAN) if needs_docker_packages(site) else (FROM_DEBIAN, FROM_DOCKER)
    conflicting = [name for name in other if name in facts.packages]
    if not conflicting or any(name in facts.packages for name in wanted):
        return
    to_remove = " ".join([*conflicting, *(name for name in DOCKER if name in facts.packages)])
    yield (
        f"has {join_words(conflicting)} installed, in conflict with {join_words(wanted)} for Kubernetes "
        f"{site.version.minor_text}: if nothing else needs it, apt-get remove {to_remove}"
    )


def _sources(facts: HostFacts, site: Site) -> Iterator[str]:
    """Yield a problem of apt's sources, and of packages that are held at a version that is too old."""
    repositories = [kubernetes.repository(site)]
    if needs_docker_packages(site):
        repositories.append(docker_repository(site, facts.os_id, facts.codename))
        installed = facts.packages.get(PACKAGE_2)
        if installed is not None and too_old(facts) and installed.held:
            yield (
                f"holds {PACKAGE_2} at {installed.version}, but Kubernetes {site.version.minor_text} needs 2.x: "
                f"sudo apt-mark unhold {PACKAGE_2}"
            )
    yield from filter(None, (conflict(facts, repository) for repository in repositories))


STEP = Step(
    name="preflight",
    summary="check that hosts can become nodes",
    scope=Scope.ALL,
    changes=changes,
    query=lambda site: (
        FactQuery(
            files=(
                *AptSource.query("kubernetes"),
                *AptSource.query("docker"),
                *((vip.CONFIG,) if site.cluster.vip else ()),
            ),
            exists=(KUBELET_CONF, f"{CNI}/*", "/etc/kubernetes/manifests", "/etc/kubernetes/manifests/*.yaml"),
            packages=(*FROM_DEBIAN, *FROM_DOCKER, *DOCKER),
            units=tuple(leftovers.OTHERS),
        )
        | boards.query(site)
        | exports_elsewhere.query(site)
    ),
    reads_only=True,
)

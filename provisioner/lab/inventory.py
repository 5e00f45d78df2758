"""The hosts.toml of a lab: the cluster that `provisioner apply` makes of its VMs."""

import json

from provisioner import openpgp
from provisioner.catalogue import default_minor
from provisioner.errors import ProvisionerError
from provisioner.lab.containers import cgroups, nfs
from provisioner.lab.guest import USER
from provisioner.lab.spec import LabSpec, MirrorInfo
from provisioner.version import Version

POOL = "192.168.56.200-192.168.56.230"
NETWORKS = ("flannel", "bridge")
# A small lab omits what takes minutes to roll out, and to build if there is a mirror.
SMALL = {
    "metrics": "enabled = false",
    "ingress": "enabled = false",
    "workloads": 'enabled = ["nodeport", "loadbalancer", "shared-volume"]',
}
# Leader election and frequent housekeeping overload an emulated core: leases expire, components restart. The kubelet
# syncs pods more often than by default: in 1.20 a pod that exits between two syncs stays Terminating until the next
# one (dispatchWork in pkg/kubelet/kubelet.go), and every drain and rollout waits for that. In 1.20, priority and
# fairness take 40 % of the API server's time, most of it for their histograms. Generating ten RSA keys takes an
# emulated processor nearly a minute. A node that misses two status reports, 40 s, becomes unknown: its endpoints are
# removed from every packet filter and added again while the machines are busiest. To evict pods, the kubelet gets the
# stats of every container from its shim every ten seconds, as long as it has an eviction threshold or a local storage
# limit (synchronize in pkg/kubelet/eviction/eviction_manager.go).
_LOW_LOAD = """\

[kubeadm]
key_algorithm = "ECDSA-P256"
api_server = {{ "enable-priority-and-fairness" = "false" }}
controller_manager = {{ {election}, "node-monitor-grace-period" = "2m" }}
scheduler = {{ {scheduler} }}
kubelet = {{ "housekeeping-interval" = "30s" }}

[kubeadm.kubelet_configuration]
nodeStatusUpdateFrequency = "20s"
syncFrequency = "20s"
volumeStatsAggPeriod = "10m"
evictionHard = {{ "memory.available" = "0%" }}
{local_storage}
"""
# nf_conntrack_max belongs to the initial network namespace, and kube-proxy exits if it cannot set it.
_CONNTRACK = """
[kubeadm.kube_proxy_configuration.conntrack]
maxPerCore = 0
min = 0
"""
# etcd's defaults, a heartbeat of 100 ms and an election after 1 s without one, are for members with processors and
# disks of their own. All members of a lab share one machine's: while it is busy they elect leaders all the time, and
# every election fails the requests that are under way (etcd.io, "Tuning"). So with the leases of the components.
_ONE_MACHINE = """
[kubeadm.etcd]
"heartbeat-interval" = "500"
"election-timeout" = "5000"
"""
_NO_ELECTION = '"leader-elect" = "false"'
_LONG_LEASES = '"leader-elect-lease-duration" = "60s", "leader-elect-renew-deadline" = "40s"'


def _low_load(kubernetes: str, election: str) -> str:
    """Return tables that reduce the load of a cluster on emulated machines. kubernetes: "1.20.2" or "1.37".

    election: arguments of the controller manager and the scheduler.

    Local storage isolation is a feature gate up to 1.24 and a kubelet setting since 1.25. The gate is also needed for
    the scheduler: it would see no local storage left next to etcd, whose static pod requests some, and schedule
    nothing on the master.
    """
    if not Version.parse(kubernetes).at_least(1, 25):
        gate = "LocalStorageCapacityIsolation"
        return _LOW_LOAD.format(
            election=election,
            scheduler=f'{election}, "feature-gates" = "{gate}=false"',
            local_storage=f"featureGates = {{ {gate} = false }}",
        )
    return _LOW_LOAD.format(
        election=election, scheduler=election, local_storage="localStorageCapacityIsolation = false"
    )


def _shared_kernel(kubernetes: str, cgroup_v1: bool, *, several: bool) -> str:
    """Return tables for nodes that share this host's kernel. kubernetes: "1.20.2" or "1.37".

    A kubelet refuses cgroup v1 since 1.35, and kubeadm's check of the system with it.
    """
    refuses_v1 = cgroup_v1 and Version.parse(kubernetes).at_least(1, 35)
    leases = ("controller_manager", "scheduler") if several else ()
    lines = [
        *(['ignore_preflight_errors = ["SystemVerification"]'] if refuses_v1 else []),
        *(["kubelet_configuration = { failCgroupV1 = false }"] if refuses_v1 else []),
        *(f"{component} = {{ {_LONG_LEASES} }}" for component in leases),
    ]
    return ("\n[kubeadm]\n" + "".join(f"{line}\n" for line in lines) if lines else "") + _CONNTRACK


def storage_stand_in(spec: LabSpec) -> str:
    """Return a sentence on what stands in for the kernel's NFS in this lab, "" where nothing does."""
    return nfs.stand_in() if spec.nodes == "containers" else ""


def choose_network(wanted: str, mirror: MirrorInfo | None) -> str:
    """Return the pod network: `wanted`, or if that is "", flannel, or bridge if the mirror lacks flannel."""
    why = mirror.lacks("flannel") if mirror else ""
    if wanted == "flannel" and why:
        raise ProvisionerError(f"flannel {why}", "provisioner lab up --network bridge")
    return wanted or ("bridge" if why else "flannel")


def render_site(spec: LabSpec, mirror: MirrorInfo | None, network: str = "flannel", timeout_scale: float = 1.0) -> str:
    """Return the text of the lab's hosts.toml.

    `network` is flannel or bridge. With a mirror, its addresses and versions are included. A `timeout_scale` above 1
    means emulated machines, with settings that reduce their load.
    """
    kubernetes = mirror.kubernetes if mirror else spec.kubernetes
    lines = [
        f"# The lab {spec.name}. `provisioner lab up` overwrites this file.",
        "[cluster]",
        f'name = "{spec.name}"',
        *([f'kubernetes = "{kubernetes}"'] if kubernetes else []),
        f'network = "{network}"',
        *([f'vip = "{spec.vip}"'] if spec.vip else []),
        *([f'endpoint = "{spec.endpoint}"'] if spec.endpoint else []),
        f"timeout_scale = {timeout_scale:.1f}",
        "",
        "[ssh]",
        f'user = "{USER}"',
        f'key = "{spec.key}"',
        'config = ""',
        'host_keys = "accept-new"',
        f'known_hosts = "{spec.known_hosts}"',
    ]
    for vm in spec.vms:
        lines += ["", "[[hosts]]", f'name = "{vm.name}"', f'address = "{vm.address}"', f'roles = ["{vm.role}"]']
    lines += ["", "[metallb]", *([f'version = "{mirror.metallb}"'] if mirror else [])]
    lines += ["", "[[metallb.pools]]", 'name = "lab"', f'addresses = ["{POOL}"]']
    for table, line in (SMALL if spec.small else {}).items():
        lines += ["", f"[{table}]", line]
    if mirror and not spec.small:
        lines += ["", "[metrics]", f'version = "{mirror.metrics_server}"']
        lines += ["", "[ingress]", 'controller = "traefik"  # the only one in the mirror']
    if mirror:
        lines += ["", "[mirror]"]
        lines += [
            f'packages = "{mirror.packages}"',
            f'images = "{mirror.images}"',
            f'manifests = "{mirror.manifests}"',
            *([f'containerd = "{mirror.containerd}"'] if mirror.containerd else []),
            *_own_keys(mirror),
        ]
    several = spec.control_planes > 1 or bool(spec.vip)  # with a vip, one control plane can get others later
    version = kubernetes or default_minor()
    text = "\n".join(lines) + "\n"
    if spec.nodes == "containers":
        text += _shared_kernel(version, cgroups.is_v1(cgroups.hierarchies()), several=several)
    elif timeout_scale > 1:
        text += _low_load(version, _LONG_LEASES if several else _NO_ELECTION)
    return text + (_ONE_MACHINE if several else "")


def _own_keys(mirror: MirrorInfo) -> list[str]:
    """Return the lines with the fingerprints of the key that the mirror signs its packages with, once it has one."""
    if not mirror.key.is_file():
        return []
    keys = json.dumps(openpgp.fingerprints(mirror.key.read_text()))
    return [f"packages_key = {keys}", *([f"containerd_key = {keys}"] if mirror.containerd else [])]

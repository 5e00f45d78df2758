"""The hosts.toml of a lab: what `provisioner apply` is to make of its VMs."""

from provisioner.catalogue import default_minor
from provisioner.errors import ProvisionerError
from provisioner.lab.guest import USER
from provisioner.lab.spec import LabSpec, MirrorInfo
from provisioner.version import Version

POOL = "192.168.56.200-192.168.56.230"
NETWORKS = ("flannel", "bridge")
# Of a small lab: what takes minutes of waiting each, and of building where a mirror has to be built, is left out.
SMALL = {
    "metrics": "enabled = false",
    "ingress": "enabled = false",
    "workloads": 'enabled = ["nodeport", "loadbalancer", "shared-volume"]',
}
# Leader election and frequent housekeeping drown an emulated core: leases run out, components restart. The kubelet
# looks at each pod more often than it would by itself: in 1.20 a pod that ended between two looks stays Terminating
# until the next one (dispatchWork in pkg/kubelet/kubelet.go), and every drain and rollout waits for that. The fairness
# of the API server costs it 40 % of its time in 1.20, most of it for the histograms of that fairness. Ten RSA keys
# take an emulated processor close to a minute. A node that says nothing for 40 s, two of its reports, is taken for
# lost: its endpoints go from every packet filter and come again, work for all at the moment they have least time.
# To evict pods in time the kubelet asks the shim of every container for its figures each ten seconds, as long as there
# is a threshold, or a limit of local storage, to watch (synchronize in pkg/kubelet/eviction/eviction_manager.go).
_SLOW_MACHINE = """\

[kubeadm]
key_algorithm = "ECDSA-P256"
api_server = {{ "enable-priority-and-fairness" = "false" }}
controller_manager = {{ "leader-elect" = "false", "node-monitor-grace-period" = "2m" }}
scheduler = {{ {scheduler} }}
kubelet = {{ "housekeeping-interval" = "30s" }}

[kubeadm.kubelet_configuration]
nodeStatusUpdateFrequency = "20s"
syncFrequency = "20s"
volumeStatsAggPeriod = "10m"
evictionHard = {{ "memory.available" = "0%" }}
{local_storage}
"""
_NO_ELECTION = '"leader-elect" = "false"'


def _slow_machine(kubernetes: str) -> str:
    """Return the tables that make a cluster on an emulated machine calmer. kubernetes: "1.20.2" or "1.37".

    Limits of local storage are a gate until 1.24 and a setting of the kubelet since 1.25. With the gate the scheduler
    must know too: it finds none left beside etcd, whose static pod asks for some, and puts nothing on the master.
    """
    if not Version.parse(kubernetes).at_least(1, 25):
        gate = "LocalStorageCapacityIsolation"
        return _SLOW_MACHINE.format(
            scheduler=f'{_NO_ELECTION}, "feature-gates" = "{gate}=false"',
            local_storage=f"featureGates = {{ {gate} = false }}",
        )
    return _SLOW_MACHINE.format(scheduler=_NO_ELECTION, local_storage="localStorageCapacityIsolation = false")


def choose_network(wanted: str, mirror: MirrorInfo | None) -> str:
    """Return the pod network: the one wanted, else (for "") flannel, or bridge where the mirror lacks flannel."""
    why = mirror.lacks("flannel") if mirror else ""
    if wanted == "flannel" and why:
        raise ProvisionerError(f"flannel {why}", "provisioner lab up --network bridge")
    return wanted or ("bridge" if why else "flannel")


def render_site(spec: LabSpec, mirror: MirrorInfo | None, network: str = "flannel", timeout_scale: float = 1.0) -> str:
    """Return the text of the lab's hosts.toml.

    `network` is flannel or bridge. With a mirror its addresses and versions go in; a `timeout_scale` above 1
    stands for an emulated machine, whose components also get calmer settings.
    """
    kubernetes = mirror.kubernetes if mirror else spec.kubernetes
    lines = [
        f"# The lab {spec.name}: written by `provisioner lab up`, again at each run.",
        "[cluster]",
        f'name = "{spec.name}"',
        *([f'kubernetes = "{kubernetes}"'] if kubernetes else []),
        f'network = "{network}"',
        f"timeout_scale = {timeout_scale:.1f}",
        "",
        "[ssh]",
        f'user = "{USER}"',
        f'key = "{spec.key}"',
        'host_keys = "accept-new"',
        f'known_hosts = "{spec.known_hosts}"',
    ]
    for vm in spec.vms:
        role = "control-plane" if vm.name == "master" else "worker"
        lines += ["", "[[hosts]]", f'name = "{vm.name}"', f'address = "{vm.address}"', f'roles = ["{role}"]']
    lines += ["", "[metallb]", *([f'version = "{mirror.metallb}"'] if mirror else [])]
    lines += ["", "[[metallb.pools]]", 'name = "lab"', f'addresses = ["{POOL}"]']
    if spec.small:
        for table, line in SMALL.items():
            lines += ["", f"[{table}]", line]
    elif mirror:
        lines += ["", "[metrics]", f'version = "{mirror.metrics_server}"']
        lines += ["", "[ingress]", 'controller = "traefik"  # the one that the mirror has']
    if mirror:
        lines += ["", "[mirror]"]
        lines += [
            f'packages = "{mirror.packages}"',
            f'images = "{mirror.images}"',
            f'manifests = "{mirror.manifests}"',
            *([f'containerd = "{mirror.containerd}"'] if mirror.containerd else []),
        ]
    text = "\n".join(lines) + "\n"
    slow = _slow_machine(kubernetes or default_minor())
    return text + slow if timeout_scale > 1 else text

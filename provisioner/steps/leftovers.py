"""Part of the step preflight: what another cluster, another Kubernetes or another network left or runs on a host."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from provisioner.site import Site
from provisioner.ssh import HostFacts

# Units of other distributions of Kubernetes, each with its name and what its documentation says removes it.
OTHERS = {
    "k3s.service": ("k3s", "sudo k3s-uninstall.sh"),
    "k3s-agent.service": ("k3s", "sudo k3s-agent-uninstall.sh"),
    "rke2-server.service": ("RKE2", "sudo rke2-uninstall.sh"),
    "rke2-agent.service": ("RKE2", "sudo rke2-uninstall.sh"),
    "k0scontroller.service": ("k0s", "sudo k0s stop; sudo k0s reset"),
    "k0sworker.service": ("k0s", "sudo k0s stop; sudo k0s reset"),
    "snap.microk8s.daemon-kubelite.service": ("MicroK8s", "sudo snap remove --purge microk8s"),
    "snap.kubelet.daemon.service": ("the snap kubelet", "sudo snap remove --purge kubelet"),
}
CLUSTER_NICS = ("cni0", "flannel.1")
_OURS = (*CLUSTER_NICS, "kube-ipvs0", "nodelocaldns", "lo")


def problems(facts: HostFacts, site: Site) -> Iterator[str]:
    """Yield what is in the way of a host that is no node yet."""
    named: set[str] = set()
    for unit, (name, removal) in OTHERS.items():
        state = facts.units[unit]
        if (state.active or state.enabled) and name not in named:
            named.add(name)
            yield f"runs {name} ({unit}), another Kubernetes: if it is not needed, {removal}"
    yield from _old_pod_network(facts, site)
    yield from _overlaps(facts, site)


def _old_pod_network(facts: HostFacts, site: Site) -> Iterator[str]:
    """Yield links of an earlier pod network: the CNI plugin refuses a bridge that has another address."""
    pods = ipaddress.ip_network(site.cluster.pod_cidr)
    for name in CLUSTER_NICS:
        nic = facts.nic(name)
        for text in nic.addresses if nic is not None else ():
            address = ipaddress.ip_interface(text).ip
            if address.version == pods.version and not address.is_link_local and address not in pods:
                yield (
                    f"has {name} with {text} of an earlier pod network, outside pod_cidr {pods}: "
                    f"sudo ip link delete {name}"
                )


def _overlaps(facts: HostFacts, site: Site) -> Iterator[str]:
    """Yield networks that the host reaches already (LAN, VPN, docker0) and that pods or Services would take over."""
    here: dict[str, str] = {}
    for nic in facts.nics:
        if nic.name not in _OURS:
            here |= {str(ipaddress.ip_interface(text).network): nic.name for text in nic.addresses}
    for network, nic_name in facts.routes:
        if nic_name not in _OURS:
            here.setdefault(network, nic_name)
    for key, cidr in (("pod_cidr", site.cluster.pod_cidr), ("service_cidr", site.cluster.service_cidr)):
        wanted = ipaddress.ip_network(cidr)
        for network, name in here.items():
            other = ipaddress.ip_network(network)
            if other.version == wanted.version and other.overlaps(wanted):
                docker = ", or move Docker's: bip and default-address-pools in /etc/docker/daemon.json"
                also = docker if name.startswith(("docker", "br-")) else ""
                yield (
                    f"reaches {network} over {name}, which overlaps {key} {cidr}: write another {key} under "
                    f"[cluster] in hosts.toml{also}"
                )

"""Every host of the site is a Ready node of the right version at its own address, and nobody else is one."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from provisioner.checks import pods
from provisioner.checks.check import Check, Context, Finding, failed, passed, wait_for
from provisioner.kube import Object
from provisioner.site import HostSpec
from provisioner.steps import kubernetes
from provisioner.text import join_words


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding for each host of the site, and for each node that is no host of it."""
    site = context.site
    names = [host.name for host in site.hosts]
    nodes = wait_for(
        context,
        "every host to be a Ready node",
        context.cluster.nodes,
        lambda seen: all(name in seen and _ready(seen[name]) for name in names),
        timeout=60,
    )
    for host in site.hosts:
        node = nodes.get(host.name)
        if node is None:
            yield failed(
                "NODE_MISSING",
                host.name,
                "is no node of the cluster",
                f"provisioner apply --limit {host.name}",
                f"nodes: {', '.join(nodes) or 'none'}",
            )
        else:
            yield judge(context, host, node, nodes)
    for name in sorted(nodes.keys() - set(names)):
        yield passed(
            "NODE_UNKNOWN",
            name,
            "is a node of the cluster but no host of hosts.toml, so nothing else here speaks of it",
            f"add it to hosts.toml; where its machine is off for good: provisioner node remove {name} --gone",
        )


def judge(context: Context, host: HostSpec, node: Object, nodes: Mapping[str, Object]) -> Finding:
    """Return what is wrong first with the node of a host, one of `nodes`, or that nothing is."""
    version = running_version(node)
    addresses = internal_addresses(node)
    if not _ready(node):
        said = pods.condition(node, "Ready", "message") or "its kubelet has reported nothing"
        return failed(
            "NODE_NOT_READY",
            host.name,
            f"is not Ready: {said}",
            f"provisioner ssh {host.name} -- sudo journalctl -u kubelet -n 30",
            *context.cluster.events("default", host.name)[-pods.EVENTS :],
        )
    if version != str(context.site.version):
        return failed(
            "NODE_WRONG_VERSION",
            host.name,
            f"runs kubelet {version}, and hosts.toml wants {context.site.version}",
            _version_remedy(context, host, nodes),
        )
    if ipaddress.ip_address(host.address) not in map(ipaddress.ip_address, addresses):
        return failed(
            "NODE_WRONG_ADDRESS",
            host.name,
            f"has the InternalIP {join_words(addresses) or '(none)'}, not {host.address}",
            _address_remedy(context, host),
        )
    if node["spec"].get("unschedulable"):
        return passed(
            "NODE_CORDONED",
            host.name,
            f"is Ready at {host.address} with kubelet {version}, but cordoned: it takes no new pods",
            f"provisioner node uncordon {host.name}",
        )
    return passed("NODE_READY", host.name, f"is Ready at {host.address} with kubelet {version}")


def _version_remedy(context: Context, host: HostSpec, nodes: Mapping[str, Object]) -> str:
    """Return a remedy that fits the cluster as it runs: apply changes the version of no running node."""
    first = nodes.get(context.site.first.name)
    version = running_version(first) if first is not None else ""
    if version == str(context.site.version):
        return f"provisioner node remove {host.name}, then provisioner apply joins it anew"
    return kubernetes.kept(version or running_version(nodes[host.name]))


def _address_remedy(context: Context, host: HostSpec) -> str:
    """Return what gives a kubelet another --node-ip: kubeadm writes it once, when the node joins."""
    if host.name != context.site.first.name:
        return f"provisioner node rebuild {host.name}"
    return (
        f"put --node-ip={host.address} into /var/lib/kubelet/kubeadm-flags.env on it, then "
        f"provisioner ssh {host.name} -- sudo systemctl restart kubelet"
    )


def running_version(node: Object) -> str:
    """Return the kubelet's version without the "v" and what a distributor put behind it."""
    text = str(node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", ""))
    return text.removeprefix("v").partition("+")[0].partition("-")[0]


def internal_addresses(node: Object) -> list[str]:
    """Return the node's InternalIPs."""
    addresses = node.get("status", {}).get("addresses") or ()
    return [str(entry["address"]) for entry in addresses if entry.get("type") == "InternalIP"]


def _ready(node: Object) -> bool:
    return pods.condition(node, "Ready") == "True"


CHECK = Check("nodes", "Every host is a Ready node of the right version at its address.", run, reads_only=True)

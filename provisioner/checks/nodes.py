"""Every host is a Ready node with the right version and address; nodes that are not in hosts.toml are named."""

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
    """Yield a finding for each host, and for each node that is not in hosts.toml."""
    site = context.site
    names = [host.name for host in site.hosts]
    nodes = wait_for(
        context,
        "every host to be a Ready node",
        context.cluster.nodes,
        lambda nodes: all(name in nodes and _ready(nodes[name]) for name in names),
        timeout=60,
    )
    for host in site.hosts:
        node = nodes.get(host.name)
        if node is None:
            yield failed(
                "NODE_MISSING",
                host.name,
                "is not a node of the cluster",
                f"provisioner apply --limit {host.name}",
                f"nodes: {', '.join(nodes) or 'none'}",
            )
        else:
            yield judge(context, host, node, nodes)
    for name in sorted(nodes.keys() - set(names)):
        yield passed(
            "NODE_UNKNOWN",
            name,
            "is a node of the cluster but not in hosts.toml, so no other check covers it",
            f"add it to hosts.toml; if its machine is gone for good: provisioner node remove {name} --gone",
        )


def judge(context: Context, host: HostSpec, node: Object, nodes: Mapping[str, Object]) -> Finding:
    """Return the first fault of a host's node, one of `nodes`, or that it has none."""
    version = running_version(node)
    addresses = internal_addresses(node)
    if not _ready(node):
        reason = pods.condition(node, "Ready", "message") or "its kubelet has not reported"
        return failed(
            "NODE_NOT_READY",
            host.name,
            f"is not Ready: {reason}",
            f"provisioner ssh {host.name} -- sudo journalctl -u kubelet -n 30",
            *context.cluster.events("default", host.name)[-pods.EVENTS :],
        )
    if version != str(context.site.version):
        return failed(
            "NODE_WRONG_VERSION",
            host.name,
            f"runs kubelet {version}, but hosts.toml has {context.site.version}",
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
            f"is Ready at {host.address} with kubelet {version}, but cordoned, so it gets no new pods",
            f"provisioner node uncordon {host.name}",
        )
    return passed("NODE_READY", host.name, f"is Ready at {host.address} with kubelet {version}")


def _version_remedy(context: Context, host: HostSpec, nodes: Mapping[str, Object]) -> str:
    """Return a remedy for the running cluster; apply does not change the version of a running node."""
    first = nodes.get(context.site.first.name)
    version = running_version(first) if first is not None else ""
    if version == str(context.site.version):
        return f"provisioner node remove {host.name}; then join it again: provisioner apply"
    return kubernetes.keep_version(version or running_version(nodes[host.name]))


def _address_remedy(context: Context, host: HostSpec) -> str:
    """Return how to change the kubelet's --node-ip, which kubeadm writes once, when the node joins."""
    if host.name != context.site.first.name:
        return f"provisioner node rebuild {host.name}"
    return (
        f"set --node-ip={host.address} in /var/lib/kubelet/kubeadm-flags.env on it, then: "
        f"provisioner ssh {host.name} -- sudo systemctl restart kubelet"
    )


def running_version(node: Object) -> str:
    """Return the kubelet's version without the "v" and a distributor's suffix."""
    text = str(node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", ""))
    return text.removeprefix("v").partition("+")[0].partition("-")[0]


def internal_addresses(node: Object) -> list[str]:
    """Return the node's InternalIPs."""
    addresses = node.get("status", {}).get("addresses") or ()
    return [str(entry["address"]) for entry in addresses if entry.get("type") == "InternalIP"]


def _ready(node: Object) -> bool:
    return pods.condition(node, "Ready") == "True"


CHECK = Check("nodes", "Every host is a Ready node with the right version and address.", run, reads_only=True)

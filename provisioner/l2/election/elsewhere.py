"""Who announces an address of a program other than MetalLB: its Lease names the node, or the address is a node's own.

Sources: Cilium (pkg/l2announcer: a Lease for each Service), kube-vip (pkg/services: a Lease for each or for all), K3s
(pkg/cloudprovider/servicelb.go: the addresses of the nodes with a ready pod).
"""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.l2.facts import Address, Facts, Service

NAMES = {
    "metallb": "MetalLB",
    "kube-vip": "kube-vip",
    "cilium": "Cilium",
    "servicelb": "K3s ServiceLB",
    "keepalived": "keepalived",
}


@dataclass(frozen=True)
class Elected:
    """The node that should announce, "" if unknown; why: how that is known, or what is missing."""

    node: str
    why: str


def by_metallb(facts: Facts, service: Service | None) -> bool:
    """Tell whether MetalLB announces a Service; facts that do not say so mean MetalLB, unless it is not installed."""
    announcer = service.announcer if service is not None else None
    return announcer == "metallb" or (announcer is None and facts.metallb.installed is not False)


def program(service: Service | None) -> str:
    """Return the name of the program that announces a Service, for sentences."""
    return NAMES.get((service.announcer if service is not None else None) or "", "its announcer")


def elected(facts: Facts, ip: Address, service: Service) -> Elected:
    """Return the node that should announce an address of a Service that MetalLB does not announce."""
    text = str(ip)
    owners = [node.name for node in facts.nodes if text in (*node.internal_ips, *node.external_ips)]
    if owners:
        return Elected(owners[0], f"{text} is {owners[0]}'s own address")
    lease = service.lease
    if lease is None:
        return Elected("", f"no Lease is known that says which node {program(service)} has chosen for {text}")
    if not lease.holder:
        return Elected("", f"{lease.name} has no holder")
    if lease.expired:
        return Elected("", f"{lease.name} of {lease.holder} has expired")
    node = next((node.name for node in facts.nodes if node.name == lease.holder), "")
    if not node:  # kube-vip may use a pod's or a host's name
        node = next((node.name for node in facts.nodes if lease.holder.split(".")[0] == node.name.split(".")[0]), "")
    if not node:
        return Elected("", f"{lease.name} is held by {lease.holder}, which is no node")
    return Elected(node, f"{node} holds {lease.name}")

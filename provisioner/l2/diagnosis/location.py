"""Whether anything can be concluded from this machine: it must be on the nodes' segment and not be a node."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from provisioner.addresses import why_unusable
from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.segment import Segment
from provisioner.l2.facts import Facts
from provisioner.l2.facts_values import interface
from provisioner.l2.probe.capture import Address, Vantage
from provisioner.text import join_words

# VirtualBox and QEMU assign this address, and often one MAC, to every VM behind their NAT: it identifies no machine.
_NAT = ip_address("10.0.2.15")


def unusable(case: Case) -> Cause | None:
    """Return ADDRESS_UNUSABLE if no host can have the address, whoever answers for it here."""
    subnets = [own.network for own in case.capture.vantage.addresses]
    why = why_unusable(case.ip, subnets)
    if not why:
        return None
    evidence = [f"{case.ip} {why}, which no host can have."]
    if case.owners:
        evidence.append(f"{join_words(owner.mac for owner in case.owners)} answers; clients do not ask.")
    pool = f"Leave it out of pool {case.pool.name}, and give" if case.pool is not None else ""
    remedy = f"{pool} the Service another address: delete and create it." if pool else ""
    return Cause("ADDRESS_UNUSABLE", "certain", tuple(evidence), remedy=remedy)


def on_node(vantage: Vantage, facts: Facts | None) -> Cause | None:
    """Return INCONCLUSIVE_PROBE_LOCATION if this machine is a node, by its MACs and addresses."""
    nodes = facts.nodes if facts is not None else ()
    for node in nodes:
        others = [other for other in nodes if other.name != node.name]
        shared_macs = {nic.mac for other in others for nic in other.nics or ()}
        shared_ips = {text for other in others for text in other.internal_ips}
        here = vantage.own_macs | {vantage.mac}
        for nic in node.nics or ():
            natted = any(interface(text).ip == _NAT for text in nic.addresses)
            # The probing MAC counts even if several nodes have it: they are indistinguishable from this machine.
            if nic.mac and (nic.mac == vantage.mac or (nic.mac in here and nic.mac not in shared_macs and not natted)):
                return _node_cause(f"This machine's MAC {nic.mac} is that of {node.name}'s {nic.name}.", node.name)
        own = [ip_address(text) for text in node.internal_ips if text not in shared_ips]
        # Of its other addresses, only those on this segment count: docker0 has the same one on every machine.
        own += [
            ip
            for nic in node.nics or ()
            for ip in (interface(text).ip for text in nic.addresses)
            if vantage.on_link(ip) and not ip.is_link_local and str(ip) not in shared_ips
        ]
        for ip in own:
            if ip != _NAT and ip in vantage.own_addresses:
                return _node_cause(f"This machine's address {ip} is {node.name}'s.", node.name)
    return None


def _node_cause(what: str, node: str) -> Cause:
    return Cause(
        "INCONCLUSIVE_PROBE_LOCATION",
        "certain",
        (what, f"{node} does not receive its own replies, so nothing can be proven from here."),
        fields={"node": node},
    )


def isolated(segment: Segment) -> Cause | None:
    """SEGMENT_ISOLATED: no node answers, not even for its own address, so silence about others proves nothing."""
    silent = [*segment.silent_nodes(4), *segment.silent_nodes(6)]
    if (
        not silent
        or segment.nodes_heard
        or (segment.answers.keys() & {ip for ips in segment.addresses.values() for ip in ips})
    ):
        return None
    nodes = [node for node in segment.facts.nodes if node.name in dict(silent)]
    if all(node.ready is False for node in nodes):
        return None
    shown = [f"{node} ({ip})" for node, ip in silent[:4]] + ([f"{len(silent) - 4} more"] if len(silent) > 4 else [])
    interface = segment.capture.vantage.interface
    evidence = [f"No node answers even for its own address: {join_words(shown)}."]
    others = [mac for mac in segment.capture.macs_heard if mac not in segment.gateways]
    routers = [ip for ip in segment.capture.vantage.gateways if segment.answers.get(ip)]
    if routers:
        evidence.append(f"The router {routers[0]} answers, so {interface} is connected.")
    elif others:
        evidence.append("Other hosts answer, so the link works.")
    evidence.append(
        f"So {interface} is kept apart from the nodes: client isolation of an access point or guest Wi-Fi, a private "
        "VLAN, or another VLAN than theirs; or all nodes are off."
    )
    return Cause("SEGMENT_ISOLATED", "certain", tuple(evidence))


def off_segment(vantage: Vantage, facts: Facts | None, ips: Sequence[Address]) -> Cause | None:
    """Return INCONCLUSIVE_PROBE_LOCATION if neither the addresses nor any node is in a subnet of the interface."""
    own = [ip_address(text) for node in (facts.nodes if facts else ()) for text in node.internal_ips]
    own += [
        interface(text).ip
        for node in (facts.nodes if facts else ())
        for nic in node.nics or ()
        for text in nic.addresses
    ]
    own = [ip for ip in own if ip != _NAT and not ip.is_link_local]
    if any(vantage.on_link(ip) for ip in [*ips, *own]):
        return None
    subnets = [net for one in vantage.addresses if not (net := one.network).is_link_local]
    where = f"is in {join_words(subnets)}" if subnets else "has no address"
    nodes = f", nor is any node ({join_words([str(ip) for ip in own][:4])})" if own else ""
    what = f"{vantage.interface} {where}: {join_words([str(ip) for ip in ips][:4])} is not on this segment{nodes}."
    return Cause(
        "INCONCLUSIVE_PROBE_LOCATION",
        "certain",
        (what, "Routers do not forward ARP and neighbor discovery, so silence here proves nothing."),
        remedy="Run it on a machine on the nodes' segment, or select an interface on that segment with --interface.",
        commands=("ip -brief address",),
    )

"""Other programs in the cluster that announce external IPs beside MetalLB: kube-vip, K3s's ServiceLB, Cilium."""

from __future__ import annotations

from ipaddress import ip_address

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.duplicates import nodes
from provisioner.l2.diagnosis.sentences import answered, owner
from provisioner.l2.gratuitous import periodic


def kube_vip_duplicate(case: Case) -> Cause | None:
    """KUBE_VIP_DUPLICATE: kube-vip's pods run, or its frames every 3 s are heard, and several nodes answer."""
    if len(nodes(case)) < 2:
        return None
    own = case.segment.announcements.get(case.ip, ())
    beating = [seen for seen in case.owners if periodic([one for one in own if one.mac == seen.mac])]
    runs = case.facts.others.kube_vip
    if runs is False or (not runs and not beating):
        return None
    evidence = [f"{owner(seen)} announces {case.ip} every 3 s, as kube-vip does." for seen in beating]
    kernels = [seen for seen in case.owners if seen.owner_class == "kernel"]
    if runs:
        evidence.append("kube-vip runs in the cluster.")
    if runs and not beating and (_partial(case) or all(seen.owner_class == "speaker" for seen in case.owners)):
        return None  # kube-vip lets the kernel answer; two speakers are MetalLB's own affair
    evidence += [answered(case, seen) for seen in case.owners]
    sure = runs and (beating or kernels)
    return Cause("KUBE_VIP_DUPLICATE", "certain" if sure else "likely", tuple(evidence), ("SPLIT_BRAIN",))


def servicelb_conflict(case: Case) -> Cause | None:
    """SERVICELB_CONFLICT: K3s's ServiceLB runs, and it has given the Service a node's own address."""
    if not case.facts.others.servicelb or case.facts.pools is None or case.pool is not None or not case.services:
        return None
    held = [node.name for node in case.facts.nodes if case.ip in map(ip_address, node.internal_ips)]
    if not held:
        return None
    evidence = (
        f"Service {case.services[0].key} has {case.ip}, which is {held[0]}'s own address and in no pool of MetalLB.",
        "K3s's ServiceLB runs in the cluster and gives Services the nodes' addresses.",
    )
    return Cause("SERVICELB_CONFLICT", "certain", evidence)


def cilium_l2_conflict(case: Case) -> Cause | None:
    """CILIUM_L2_CONFLICT: Cilium announces too, and several nodes answer."""
    if len(nodes(case)) < 2 or not case.facts.others.cilium_l2 or _partial(case):
        return None
    if any(seen.owner_class == "kernel" for seen in case.owners):
        return None
    evidence = ("Cilium announces external IPs on layer 2 in this cluster, beside MetalLB.",)
    return Cause(
        "CILIUM_L2_CONFLICT", "likely", (*evidence, *(answered(case, seen) for seen in case.owners)), ("SPLIT_BRAIN",)
    )


def _partial(case: Case) -> bool:
    return any(log.partial_join for log in (case.facts.speaker_log or {}).values())

"""Other programs in the cluster that announce external IPs: kube-vip, K3s ServiceLB, Cilium."""

from __future__ import annotations

from ipaddress import ip_address

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.duplicates import answering_nodes
from provisioner.l2.diagnosis.sentences import answers, name
from provisioner.l2.gratuitous import periodic


def kube_vip_duplicate(case: Case) -> Cause | None:
    """KUBE_VIP_DUPLICATE: kube-vip runs, or its gratuitous ARP every 3 s is heard, and several nodes answer."""
    if len(answering_nodes(case)) < 2:
        return None
    frames = case.segment.announcements.get(case.ip, ())
    periodic_owners = [owner for owner in case.owners if periodic([one for one in frames if one.mac == owner.mac])]
    runs = case.facts.others.kube_vip
    if runs is False or (not runs and not periodic_owners):
        return None
    evidence = [f"{name(owner)} announces {case.ip} every 3 s, as kube-vip does." for owner in periodic_owners]
    kernels = [owner for owner in case.owners if owner.owner_class == "kernel"]
    if runs:
        evidence.append("kube-vip runs in the cluster.")
    speakers = all(owner.owner_class == "speaker" for owner in case.owners)
    if runs and not periodic_owners and (_partial_join(case) or speakers):
        return None  # kube-vip leaves the reply to the kernel, so two speakers are a fault of MetalLB's
    evidence += [answers(case, owner) for owner in case.owners]
    sure = runs and (periodic_owners or kernels)
    return Cause("KUBE_VIP_DUPLICATE", "certain" if sure else "likely", tuple(evidence), ("SPLIT_BRAIN",))


def servicelb_conflict(case: Case) -> Cause | None:
    """SERVICELB_CONFLICT: K3s ServiceLB runs and has assigned a node's own address to the Service."""
    if not case.facts.others.servicelb or case.facts.pools is None or case.pool is not None or not case.services:
        return None
    nodes = [node.name for node in case.facts.nodes if case.ip in map(ip_address, node.internal_ips)]
    if not nodes:
        return None
    evidence = (
        f"Service {case.services[0].key} has {case.ip}, which is {nodes[0]}'s own address and in no MetalLB pool.",
        "K3s ServiceLB runs in the cluster; it assigns the nodes' addresses to Services.",
    )
    return Cause("SERVICELB_CONFLICT", "certain", evidence, explains=("NOT_SERVING", "RETURN_PATH", "NO_ENDPOINTS"))


def cilium_l2_conflict(case: Case) -> Cause | None:
    """CILIUM_L2_CONFLICT: Cilium announces external IPs too, and several nodes answer."""
    if len(answering_nodes(case)) < 2 or not case.facts.others.cilium_l2 or _partial_join(case):
        return None
    if any(owner.owner_class == "kernel" for owner in case.owners):
        return None
    what = "Cilium announces external IPs on layer 2 in this cluster, in addition to MetalLB."
    evidence = (what, *(answers(case, owner) for owner in case.owners))
    return Cause("CILIUM_L2_CONFLICT", "likely", evidence, ("SPLIT_BRAIN",))


def _partial_join(case: Case) -> bool:
    return any(log.partial_join for log in (case.facts.speaker_log or {}).values())

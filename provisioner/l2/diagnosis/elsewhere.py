"""Addresses that MetalLB does not announce: nobody does, the Lease is stale, its node is silent, or two answer."""

from __future__ import annotations

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.duplicates import answering_nodes
from provisioner.l2.diagnosis.sentences import answers, silence
from provisioner.l2.election import elsewhere
from provisioner.l2.facts import Lease


def no_announcer(case: Case) -> Cause | None:
    """NO_ANNOUNCER: no program in the cluster announces the Service."""
    service = case.service
    if not case.silent or service is None or service.announcer != "other" or case.is_api:
        return None
    why = f"Of Service {service.key}, {service.announcer_reason}." if service.load_balancer_class else ""
    sure = not service.load_balancer_class
    why = why or f"{service.announcer_reason[:1].upper()}{service.announcer_reason[1:]}."
    return Cause("NO_ANNOUNCER", "certain" if sure else "likely", (why, silence(case)))


def lease_expired(case: Case) -> Cause | None:
    """LEASE_EXPIRED: the Lease by which a node would be chosen has no holder, or its holder stopped renewing it."""
    lease = _lease(case)
    if not case.silent or lease is None or (lease.holder and not lease.expired):
        return None
    program = elsewhere.program(case.service)
    state = f"was last renewed by {lease.holder} and has expired" if lease.holder else "has no holder"
    what = f"{program} chooses the node that announces {case.ip} by {lease.name}, which {state}."
    return Cause("LEASE_EXPIRED", "certain", (what, silence(case)), fields=_fields(case))


def holder_silent(case: Case) -> Cause | None:
    """LEASE_HOLDER_SILENT: the node that has the Lease does not answer for the address."""
    node = case.prediction.leader
    if not case.silent or not node or not case.prediction.because:
        return None
    own = case.segment.own_address(node)
    reaches = ""
    if own is not None:
        reaches = f"{node} {'answers' if own[1] else 'does not answer'} for its own address {own[0]}."
    evidence = (f"{case.prediction.because}, and no host answers for {case.ip}.", reaches, silence(case))
    alternatives = ("EGRESS_FILTERED", "INGRESS_LOST") if own is not None and own[1] else ("LEADER_OFF_SEGMENT",)
    return Cause("LEASE_HOLDER_SILENT", "likely", tuple(filter(None, evidence)), alternatives, _fields(case, node))


def announced_twice(case: Case) -> Cause | None:
    """ANNOUNCED_TWICE: several nodes answer for an address that one of them should announce."""
    nodes = answering_nodes(case)
    if len(nodes) < 2:
        return None
    others = [node for node in nodes if node != case.prediction.leader]
    because = f"{case.prediction.because}." if case.prediction.because else ""
    evidence = (*(answers(case, owner) for owner in case.owners), because)
    sure = "certain" if case.prediction.leader in nodes else "likely"
    fields = _fields(case, others[0]) | {"nodes": " ".join(others)}
    return Cause("ANNOUNCED_TWICE", sure, tuple(filter(None, evidence)), ("KERNEL_ALSO_OWNS",), fields)  # type: ignore[arg-type]


def _lease(case: Case) -> Lease | None:
    return case.service.lease if case.service is not None else None


def _fields(case: Case, node: str = "") -> dict[str, str]:
    lease = _lease(case)
    found = {"node": node} if node else {}
    if lease is not None and "/" in lease.name and " " not in lease.name:
        namespace, _, name = lease.name.partition("/")
        found |= {"lease_namespace": namespace, "lease": name}
    return found | {"program": elsewhere.program(case.service)}

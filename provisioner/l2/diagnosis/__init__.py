"""From facts and frames to one verdict an address: pure functions, no I/O.

segment, case: what was heard and what is known, arranged for one address. configuration, leader, lost, several,
strangers, connection, announcers: a small function a cause, `Case -> Finding | None`. causes: their order, which is
that of the verdicts' table, and the choice. fine: when an address is OK; undecided: what UNKNOWN says. pending:
Services without an address. location: whether anything can be concluded from here. gratuitous: whose frames they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.l2.diagnosis import case as cases
from provisioner.l2.diagnosis import causes, frame_loss, ok, segment, unknown, warnings
from provisioner.l2.diagnosis import location as locations
from provisioner.l2.diagnosis import pending as waiting
from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.finding import Finding
from provisioner.l2.diagnosis.foreign import overlaps
from provisioner.l2.diagnosis.handover import unsettled
from provisioner.l2.diagnosis.remedies import REMEDIES, filled
from provisioner.l2.diagnosis.segment import Segment
from provisioner.l2.election.rules import since
from provisioner.l2.facts import Facts, Service
from provisioner.l2.probe.capture import Address, Capture, Vantage
from provisioner.l2.result import Result

__all__ = ["REMEDIES", "all", "diagnose", "location", "pending", "unsettled"]


def diagnose(capture: Capture, facts: Facts | None, ip: Address) -> Result:
    """Return the verdict on one address. facts: None when nothing is known of the cluster."""
    return _judge(segment.of(capture, facts), ip, locations.is_node(capture.vantage, facts))


def all(
    capture: Capture, facts: Facts | None, ips: Sequence[Address], services: Sequence[Service] = ()
) -> tuple[Result, ...]:
    """Return the verdicts on addresses, and on Services that have none; a Service's addresses are among `ips`."""
    here = segment.of(capture, facts)
    on_node = locations.is_node(capture.vantage, facts)
    judged = [_judge(here, ip, on_node) for ip in dict.fromkeys(ips)]
    waits = [pending(facts, service) for service in services if not service.ingress_ips] if facts is not None else []
    return (*judged, *waits)


def pending(facts: Facts, service: Service) -> Result:
    """Return why a Service has no external IP."""
    found = waiting.find(facts, service)
    own = waiting.eligible(facts, service) or ()
    fields = {"ns": facts.metallb.namespace, "namespace": service.namespace, "name": service.name}
    fields |= {"service": service.key, **_pool_fields(facts, own[0].name if len(own) == 1 else "")}
    fields |= _pool_fields(facts, found.fields.get("pool", ""))
    remedy, command = _remedy(found, fields)
    return Result(
        ip="",
        family="",
        service=service.key,
        pool=service.wanted_pool or (own[0].name if len(own) == 1 else ""),
        verdict=found.code,
        confidence=found.confidence,
        evidence=found.evidence,
        remedy=remedy,
        command=command,
        alternatives=found.alternatives,
    )


def location(vantage: Vantage, facts: Facts | None, ips: Sequence[Address]) -> Result | None:
    """Return INCONCLUSIVE_PROBE_LOCATION when nothing can be concluded from there, before anything is asked."""
    found = locations.is_node(vantage, facts) or locations.elsewhere(vantage, facts, ips)
    if found is None:
        return None
    one = str(ips[0]) if len(ips) == 1 else ""
    remedy, command = _remedy(found, {"ip": one} if one else {})
    family = "" if not one else "ipv4" if ips[0].version == 4 else "ipv6"
    return Result(one, family, "", "", found.code, found.confidence, found.evidence, remedy, command)  # type: ignore[arg-type]


def _judge(here: Segment, ip: Address, on_node: Finding | None) -> Result:
    case = cases.build(here, ip)
    # Whoever answered is on this segment, whatever the subnets say.
    away = None if case.answers or here.nodes_heard else locations.elsewhere(here.capture.vantage, here.facts, [ip])
    if wrong_place := on_node or away:
        return _result(case, wrong_place, (), ())
    found = causes.supported(case)
    if ok.is_fine(case):
        # What is only possible does not unmake what was seen to be right.
        found = tuple(one for one in found if one.confidence != "possible")
        if not found:
            return _result(case, Finding("OK", ok.confidence(case), ok.evidence(case)), (), _notes(case))
    elif case.capture.dropped and len(case.owners) < 2:
        return _result(case, unknown.find(case), tuple(one.code for one in found), _notes(case))
    if not found:
        return _result(case, unknown.find(case), (), _notes(case))
    return _result(case, found[0], tuple(one.code for one in found[1:]), _notes(case))


def _notes(case: Case) -> tuple[str, ...]:
    return tuple(filter(None, (ok.moved(case), overlaps(case))))


def _result(case: Case, found: Finding, others: tuple[str, ...], notes: tuple[str, ...]) -> Result:
    warned = warnings.find(case, found.code) if found.code != "INCONCLUSIVE_PROBE_LOCATION" else ()
    fields = _fields(case)
    remedy, command = _remedy(found, fields)
    codes = tuple(code for code, _ in warned)
    if found.code == "OK" and "KERNEL_ALSO_OWNS" in codes:
        remedy, command = _remedy(_kernel(case), fields)
    open_cause = found.code == "UNKNOWN" or found.confidence != "certain"
    buggy = ("BUGGY_IP",) if open_cause and frame_loss.may_be_buggy(case) else ()
    alternatives = dict.fromkeys((*others, *found.alternatives, *buggy))
    alternatives.pop(found.code, None)
    return Result(
        ip=str(case.ip),
        family="ipv4" if case.ip.version == 4 else "ipv6",
        service=", ".join(service.key for service in case.services),
        pool=case.pool.name if case.pool is not None else "",
        verdict=found.code,
        confidence=found.confidence,
        evidence=(*filter(None, found.evidence), *notes, *(sentence for _, sentence in warned)),
        remedy=remedy,
        command=command,
        warnings=codes,
        predicted_leader=case.leader,
        owners=case.owners,
        alternatives=tuple(alternatives),
        unanswered=found.code != "INCONCLUSIVE_PROBE_LOCATION" and unknown.unanswered(case),
    )


def _kernel(case: Case) -> Finding:
    """Return the finding whose remedy takes an address from a kernel that answers beside MetalLB."""
    node = case.owner.node if case.owner is not None else ""
    carriers = case.carriers(node)
    if not carriers and case.facts.kube_proxy.mode == "ipvs" and case.facts.kube_proxy.strict_arp is False:
        return Finding("ARP_FLUX_IPVS", "certain", ())
    nic, text = carriers[0] if carriers else ("", "")
    return Finding(
        "KERNEL_ALSO_OWNS", "certain", (), fields={"node": node, **({"nic": nic, "configured": text} if nic else {})}
    )


def _fields(case: Case) -> dict[str, str]:
    """Return the names that any remedy's command may use; what is not known is absent."""
    arp = "arp" if case.ip.version == 4 else "icmp6"
    fields = {
        "ip": str(case.ip),
        "interface": case.capture.vantage.interface,
        "filter": f"{arp} and host {case.ip}" if arp == "arp" else arp,
        "ns": case.facts.metallb.namespace,
    }
    if case.source is not None:
        fields["source"] = str(case.source)
    if case.service is not None:
        fields |= {"namespace": case.service.namespace, "name": case.service.name, "service": case.service.key}
    return fields | _pool_fields(case.facts, case.pool.name if case.pool is not None else "")


def _pool_fields(facts: Facts, pool: str) -> dict[str, str]:
    """Return where pools are written: in CRs, before MetalLB 0.13 in a ConfigMap."""
    if since(facts, "0.13") is False:
        return {"configmap": "config"}
    return {"pool": pool} if pool else {}


def _remedy(found: Finding, fields: dict[str, str]) -> tuple[str, str]:
    table = REMEDIES[found.code]
    names = {**fields, **found.fields}
    return filled(found.remedy or table.sentence, found.commands or table.commands, names)

"""Choose the verdict on an address: INCONCLUSIVE_PROBE_LOCATION, OK, the best-supported cause, or UNKNOWN."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from provisioner.l2.diagnosis import causes, frame_loss, location, ok, pending, routers, serving, unknown, warnings
from provisioner.l2.diagnosis.case import Case, build_case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.foreign import overlaps
from provisioner.l2.diagnosis.remedies import REMEDIES, changes_something, culprit, fill, without_metallb
from provisioner.l2.diagnosis.segment import Segment, build_segment
from provisioner.l2.election.rules import since
from provisioner.l2.facts import Facts, Service
from provisioner.l2.probe.capture import Address, Capture, Vantage
from provisioner.l2.result import INCONCLUSIVE, ReachedPort, ReachedService, Result
from provisioner.text import printable


def diagnose(capture: Capture, facts: Facts | None, ip: Address) -> Result:
    """Return the verdict on one address. facts: None if nothing is known about the cluster."""
    return _judge(build_segment(capture, facts), ip, location.on_node(capture.vantage, facts))


def diagnose_all(
    capture: Capture,
    facts: Facts | None,
    ips: Sequence[Address],
    services: Sequence[Service] = (),
    judged_at: Mapping[Address, tuple[str, ...]] | None = None,
) -> tuple[Result, ...]:
    """Return one verdict per address, then one per Service without an address.

    services: those with an address are skipped; their addresses are among `ips`. judged_at: namespace/name of the
    Services in question at an address that others share; the default is all.
    """
    segment = build_segment(capture, facts)
    on_node = location.on_node(capture.vantage, facts)
    chosen = judged_at or {}
    judged = [
        _whatever_happens(functools.partial(_judge, segment, ip, on_node, chosen.get(ip, ())), _blank(ip))
        for ip in dict.fromkeys(ips)
    ]
    if facts is None:
        return tuple(judged)
    pending_ones = [service for service in services if not service.ingress_ips]
    return (
        *judged,
        *(
            _whatever_happens(functools.partial(diagnose_pending, facts, one), _blank(None, one.key))
            for one in pending_ones
        ),
    )


def _whatever_happens(judge: Callable[[], Result], blank: Result) -> Result:
    """Return a verdict, `blank` with the defect as evidence if there is one: the others are judged all the same."""
    try:
        return judge()
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = (
            f"A defect of this program, {type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error}"
        )
        return replace(blank, evidence=(f"{printable(what)}.",))


def _blank(ip: Address | None, service: str = "") -> Result:
    """Return the verdict on what could not be judged."""
    family = "" if ip is None else "ipv4" if ip.version == 4 else "ipv6"
    remedy, command = "Report it, with the facts and this output.", "provisioner l2 collect"
    return Result(str(ip or ""), family, service, "", "UNKNOWN", "certain", (), remedy, command)  # type: ignore[arg-type]


def diagnose_pending(facts: Facts, service: Service) -> Result:
    """Return why a Service has no external IP."""
    cause = pending.find(facts, service)
    own = pending.eligible(facts, service) or ()
    only = own[0].name if len(own) == 1 else ""
    fields = {"ns": facts.metallb.namespace, "namespace": service.namespace, "name": service.name}
    fields |= {"service": service.key, "component_label": facts.metallb.component_label, **_pool_fields(facts, only)}
    fields |= _pool_fields(facts, cause.fields.get("pool", ""))
    remedy, command, changes = _remedy(cause, fields)
    return Result(
        ip="",
        family="",
        service=service.key,
        pool=service.wanted_pool or only,
        verdict=cause.code,
        confidence=cause.confidence,
        evidence=cause.evidence,
        remedy=remedy,
        command=command,
        alternatives=cause.alternatives,
        alternative_remedies=tuple(fill(REMEDIES[code].sentence, (), fields)[0] for code in cause.alternatives),
        changes=changes,
        culprit=culprit(cause.fields),
    )


def diagnose_isolation(capture: Capture, facts: Facts | None) -> str:
    """Return why nothing can be concluded if no node answers even for its own address; "" otherwise."""
    cause = location.isolated(build_segment(capture, facts)) if facts is not None else None
    return " ".join(cause.evidence) if cause is not None else ""


def diagnose_location(vantage: Vantage, facts: Facts | None, ips: Sequence[Address]) -> Result | None:
    """Return INCONCLUSIVE_PROBE_LOCATION if nothing can be concluded from the vantage, before any frame is sent."""
    cause = location.on_node(vantage, facts) or location.off_segment(vantage, facts, ips)
    if cause is None:
        return None
    only = str(ips[0]) if len(ips) == 1 else ""
    remedy, command, _ = _remedy(cause, {"ip": only} if only else {})
    family = "" if not only else "ipv4" if ips[0].version == 4 else "ipv6"
    return Result(only, family, "", "", cause.code, cause.confidence, cause.evidence, remedy, command)  # type: ignore[arg-type]


def _judge(segment: Segment, ip: Address, on_node: Cause | None, judged: tuple[str, ...] = ()) -> Result:
    case = build_case(segment, ip, judged)
    # A host that answered is on this segment, whatever the subnets are.
    heard = bool(case.answers) or segment.nodes_heard
    off_segment = None if heard else location.off_segment(segment.capture.vantage, segment.facts, [ip])
    if out_of_question := location.unusable(case) or on_node or off_segment:
        return _result(case, out_of_question, (), ())
    found = causes.supported(case)
    if ok.is_ok(case):
        # A mere possibility does not outweigh what was observed to work.
        found = tuple(cause for cause in found if cause.confidence != "possible")
        if not found:
            return _result(case, Cause("OK", ok.confidence(case), ok.evidence(case)), (), _notes(case))
    elif case.capture.dropped and len(case.owners) < 2:
        return _result(case, unknown.find(case), tuple(cause.code for cause in found), _notes(case))
    if case.silent and (apart := location.isolated(segment)) and not (found and found[0].confidence == "certain"):
        return _result(case, apart, (), ())
    if not found:
        return _result(case, unknown.find(case), (), _notes(case))
    first, others = _explained(found)
    return _result(case, first, tuple(cause.code for cause in others), _notes(case))


def _explained(found: tuple[Cause, ...]) -> tuple[Cause, tuple[Cause, ...]]:
    """Return the first cause, and those that it does not explain; it is certain only if no other is as likely."""
    first = found[0]
    others = tuple(cause for cause in found[1:] if cause.code not in (*first.explains, first.code))
    if first.confidence == "certain" and any(cause.confidence == "certain" for cause in others):
        first = replace(first, confidence="likely")
    return first, others


def _notes(case: Case) -> tuple[str, ...]:
    return tuple(filter(None, (ok.handover_note(case), overlaps(case), routers.note(case))))


def _result(case: Case, cause: Cause, others: tuple[str, ...], notes: tuple[str, ...]) -> Result:
    inconclusive = cause.code in INCONCLUSIVE
    warned = () if inconclusive or cause.code == "ADDRESS_UNUSABLE" else warnings.find(case, cause.code)
    fields = _fields(case)
    remedy, command, changes = _remedy(cause, fields, metallb=case.by_metallb)
    codes = tuple(code for code, _ in warned)
    if cause.code == "OK" and "KERNEL_ALSO_OWNS" in codes:
        remedy, command, changes = _remedy(_kernel(case), fields)
    unproven = cause.code == "UNKNOWN" or cause.confidence != "certain"
    buggy = ("BUGGY_IP",) if unproven and frame_loss.may_be_buggy(case) else ()
    alternatives = dict.fromkeys((*others, *cause.alternatives, *buggy))
    alternatives.pop(cause.code, None)
    return Result(
        ip=str(case.ip),
        family="ipv4" if case.ip.version == 4 else "ipv6",
        service=", ".join(service.key for service in case.judged),
        pool=case.pool.name if case.pool is not None else "",
        verdict=cause.code,
        confidence=cause.confidence,
        evidence=tuple(dict.fromkeys((*filter(None, cause.evidence), *notes, *(sentence for _, sentence in warned)))),
        remedy=remedy,
        command=command,
        changes=changes,
        warnings=codes,
        predicted_leader=case.leader,
        owners=case.owners,
        alternatives=tuple(alternatives),
        alternative_remedies=tuple(
            fill(REMEDIES[code].sentence, (), {**fields, **cause.fields})[0] for code in alternatives
        ),
        unanswered=not inconclusive and unknown.unanswered(case),
        covers=ok.covers(case) if cause.code == "OK" else "",
        reached=_reached(case),
        notes=() if inconclusive else warnings.notes(case),
        culprit="this machine" if inconclusive else "" if cause.code == "UNKNOWN" else culprit(cause.fields),
    )


def _reached(case: Case) -> tuple[ReachedService, ...]:
    """Return what became of the connections to each Service in question through the only owner."""
    states = serving.port_states(case, case.owner) if case.owner is not None else ()
    return tuple(
        ReachedService(
            service.key,
            tuple(
                ReachedPort(
                    state.port.port,
                    state.port.protocol.upper(),
                    len(state.tried),
                    state.opened,
                    state.resent,
                    state.asked if state.port.protocol.upper() == "UDP" else "",
                )
                for state in states
                if state.service is service
            ),
        )
        for service in case.judged
    )


def _kernel(case: Case) -> Cause:
    """Return the cause whose remedy removes an address from a kernel that answers in addition to MetalLB."""
    node = case.owner.node if case.owner is not None else ""
    configured = case.configured_on(node)
    if not configured and case.facts.kube_proxy.mode == "ipvs" and case.facts.kube_proxy.strict_arp is False:
        return Cause("ARP_FLUX_IPVS", "certain", ())
    nic, text = configured[0] if configured else ("", "")
    return Cause(
        "KERNEL_ALSO_OWNS", "certain", (), fields={"node": node, **({"nic": nic, "configured": text} if nic else {})}
    )


def _fields(case: Case) -> dict[str, str]:
    """Return the placeholders that any remedy's command may use; unknown ones are absent."""
    arp = "arp" if case.ip.version == 4 else "icmp6"
    fields = {
        "ip": str(case.ip),
        "interface": case.capture.vantage.interface,
        "filter": f"{arp} and host {case.ip}" if arp == "arp" else arp,
        "ns": case.facts.metallb.namespace,
        "component_label": case.facts.metallb.component_label,
    }
    if case.source is not None:
        fields["source"] = str(case.source)
    if case.service is not None:
        fields |= {"namespace": case.service.namespace, "name": case.service.name, "service": case.service.key}
    return fields | _pool_fields(case.facts, case.pool.name if case.pool is not None else "")


def _pool_fields(facts: Facts, pool: str) -> dict[str, str]:
    """Return where pools are defined: in CRs, before MetalLB 0.13 in a ConfigMap."""
    if since(facts, "0.13") is False:
        return {"configmap": "config"}
    return {"pool": pool} if pool else {}


def _remedy(cause: Cause, fields: dict[str, str], *, metallb: bool = True) -> tuple[str, str, bool]:
    """Return the remedy, the command, and whether that changes something."""
    table = REMEDIES[cause.code] if metallb else without_metallb(cause.code)
    sentence, command = fill(
        cause.remedy or table.sentence, cause.commands or table.commands, {**fields, **cause.fields}
    )
    return sentence, command, changes_something(command)

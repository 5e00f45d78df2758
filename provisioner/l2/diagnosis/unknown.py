"""Build the UNKNOWN verdict: what was observed, what is ruled out, what is still open, what to measure next."""

from __future__ import annotations

from provisioner.l2.diagnosis import handover
from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.connection import connections
from provisioner.l2.diagnosis.sentences import answers, probed, silence
from provisioner.l2.owners import link_local
from provisioner.l2.probe.arp import Kind
from provisioner.text import join_words, pluralize


def find(case: Case) -> Cause:
    """Return UNKNOWN with its evidence and the next measurement.

    It is certain if the observation itself is: no reply, or nothing could be measured.
    """
    fields = {"link_local": str(link_local(case.capture.vantage.mac))} if _no_source(case) else {}
    node = case.facts.node(case.prediction.leader or case.leader)
    here = [nic.name for nic in case.segment.nics_here(node)] if node is not None else []
    if node is not None and here:
        fields |= {"node": node.name, "nic": here[0]}
    return Cause(
        "UNKNOWN",
        "certain" if case.capture.dropped or not case.probed or unanswered(case) else "possible",
        (*_observed(case), *_ruled_out(case)),
        _possible(case),
        fields,
        *_next(case),
    )


def unanswered(case: Case) -> bool:
    """Tell whether silence is proven where a reply is due, which is a fault whatever its cause.

    A Service has the address, and a request was sent on its segment. A probe from 0.0.0.0 counts only if some host
    answers them. For an address in no subnet here, a reply is due only if MetalLB announces its pool.
    """
    here = case.capture.vantage.on_link(case.ip) or (case.pool is not None and case.segment.nodes_heard)
    requested = Kind.REQUEST in case.kinds_sent or case.segment.probes_work
    return bool(case.services) and case.silent and here and requested


def _observed(case: Case) -> tuple[str, ...]:
    dropped = case.capture.dropped
    frames = pluralize(dropped, "frame")
    lost = (f"The kernel dropped {frames} here, so neither silence nor a single owner is proven.",) if dropped else ()
    if not case.probed:
        why = f"{case.capture.vantage.interface} has no IPv6 link-local address, which neighbor discovery requires."
        return (f"{case.ip} was not probed.", *([why] if _no_source(case) else []), *lost)
    if not case.answers:
        free = _free(case) if case.unassigned and not dropped else ()
        return (*free, *lost, silence(case))
    found = [*lost, *(answers(case, owner) for owner in case.owners)]
    if len(case.owners) > 1:
        found.insert(0, f"{probed(case)}; {pluralize(len(case.owners), 'owner')} answered.")
        if handover.overlap_seconds(case.answers) < handover.MAX_OVERLAP:
            found.append("They overlapped for less than a second, as in a handover.")
    owner = case.owner
    if owner is not None:
        if not owner.nodes:
            found.append(f"Whether {owner.mac} belongs to a node is unknown.")
        elif case.unassigned:
            found.append(f"No Service is known to have {case.ip}.")
        elif not case.outcomes(owner.mac):
            found.append("No TCP port was tried, so whether the Service is reachable is unknown.")
        if tried := connections(case, owner):
            found.append(tried)
    return tuple(found)


def _free(case: Case) -> tuple[str, ...]:
    """Return that no Service has the address; facts of an older version do not tell what spec.externalIPs says."""
    if case.facts.external_ips is not None:
        return (f"No Service has {case.ip}: it is free.",)
    return (
        f"No Service has {case.ip} in its status.",
        "Whether one names it in spec.externalIPs, which no node announces, is not in these facts.",
    )


def _ruled_out(case: Case) -> tuple[str, ...]:
    """Return what the facts rule out, as sentences; unknown facts rule nothing out."""
    if not case.segment.informed:
        return ("Nothing is known about the cluster, so no cause within it is ruled out.",)
    found = []
    if case.facts.pools is not None and case.pool is None and case.by_metallb:
        found.append(f"{case.ip} is in no MetalLB pool, so MetalLB does not announce it.")
    wanted = case.service.load_balancer_class if case.service is not None else None
    if case.service is not None and case.by_metallb and wanted not in (None, case.facts.metallb.load_balancer_class):
        found.append(f"Service {case.service.key} has loadBalancerClass {wanted}, perhaps another controller's.")
    if case.endpoints:
        where = sorted(node for node in case.endpoints if node)
        on = f" on {join_words(where)}" if where else ""
        found.append(f"Service {case.services[0].key} has ready endpoints{on}.")
    if case.advertisements and case.pool is not None:
        names = join_words(one.name for one in case.advertisements)
        found.append(f"L2Advertisement {names} covers pool {case.pool.name}.")
    if case.prediction.candidates == ():
        found += [f"{why.rstrip('.')}." for why in list(case.prediction.ruled_out.values())[:8]]
    node = case.facts.node(case.prediction.leader)
    if node is not None:
        if node.speaker == "ready" and case.by_metallb:
            found.append(f"The speaker on {node.name}, the predicted leader, is ready.")
        if here := case.segment.nics_here(node):
            found.append(f"{node.name}'s {join_words(nic.name for nic in here)} is on this segment.")
        if (own := case.segment.own_address(node.name)) and own[1] and not case.answers:
            found.append(f"{node.name} answers for its own address {own[0]}, so frames pass both ways.")
        received, sent = case.requests_received(node.name), case.responses_sent(node.name)
        if case.capture.counted and received is not None and sent is not None and not case.answers:
            counted = f"{pluralize(received, 'request')} for {case.ip} and sent {pluralize(sent, 'response')}"
            found.append(f"During this run {node.name}'s speaker received {counted}.")
    return tuple(found)


def _possible(case: Case) -> tuple[str, ...]:
    """Return the codes that remain possible because facts are unknown."""
    if not case.probed or (case.unassigned and not case.answers):
        return ()
    if len(case.owners) > 1:
        return ("SPLIT_BRAIN", "ADDRESS_CONFLICT", "MULTI_NIC_SAME_SEGMENT")
    if case.owner is not None:
        unserved = case.outcomes(case.owner.mac) and not case.served(case.owner.mac)
        foreign = () if case.owner.nodes else ("ADDRESS_CONFLICT",)
        return (*foreign, *(("NOT_SERVING",) if unserved else ()))
    if not case.by_metallb:
        return () if case.prediction.leader else ("NO_ANNOUNCER",)
    codes = [] if case.endpoints else ["NO_ENDPOINTS"]
    codes += [] if case.advertisements or case.facts.advertisements is not None else ["NO_L2ADVERTISEMENT"]
    node = case.facts.node(case.prediction.leader or case.leader)
    codes += ["SPEAKER_DOWN"] if node is None or node.speaker is None else []
    received = case.requests_received(node.name) if node is not None and case.capture.counted else None
    codes += ["EGRESS_FILTERED", "INGRESS_LOST"] if received is None or 0 < received < case.request_count else []
    return tuple(codes)


# Usually IPv6 is disabled on the interface, and no address can be added until it is enabled. Slashes in the sysctl's
# name allow a dot in the interface's (a VLAN).
_LINK_LOCAL = (
    "sudo sh -c 'sysctl -w net/ipv6/conf/{interface}/disable_ipv6=0 && "
    "ip -6 address replace {link_local}/64 dev {interface}'",
    "ip -6 address show",
)


def _no_source(case: Case) -> bool:
    """Tell whether it was not probed because the interface has no link-local address for neighbor discovery."""
    own = case.capture.vantage.addresses
    return case.ip.version == 6 and not case.probed and not any(one.ip.is_link_local for one in own)


def _probe_again(case: Case) -> tuple[str, tuple[str, ...]]:
    """Return how to repeat the probe so that it measures."""
    if _no_source(case):
        return "Add an IPv6 link-local address to {interface}, and probe again.", _LINK_LOCAL
    slower = f" --pps {max(10, case.capture.pps // 2)}" if case.capture.dropped else ""
    return f"Probe again{' at a lower rate' if slower else ''}.", (f"provisioner l2 check {case.ip}{slower}",)


_PODS = "kubectl get pods -A -o wide"
_FREE = "Nothing to do; a Service may be assigned the address."


def _next(case: Case) -> tuple[str, tuple[str, ...]]:
    """Return the next measurement: a sentence, and commands in order of preference."""
    if case.capture.dropped or not case.probed:
        return _probe_again(case)
    if not case.segment.informed:
        return "Collect the cluster's facts where its API is reachable.", ("provisioner l2 collect -o facts.json",)
    if case.unassigned and not case.answers:
        known = case.facts.external_ips is not None
        what = _FREE if known else "If a Service names it in spec.externalIPs, make it of type LoadBalancer instead."
        return what, ("kubectl get services -A -o wide",)
    if case.facts.pools is not None and case.pool is None and case.service is not None and case.by_metallb:
        return "Find out what assigned the address.", ("kubectl -n {namespace} describe service {name}",)
    if case.answers:
        return "Check again with the interfaces of all nodes.", ("provisioner l2 collect -o facts.json",)
    return (
        "Capture on {node} whether the requests arrive and whether it replies.",
        (
            "provisioner exec --limit {node} -- timeout 10 tcpdump -eni {nic} '{filter}'",
            "kubectl -n {ns} logs -l component=speaker --prefix --tail=50" if case.by_metallb else _PODS,
        ),
    )

"""What to say where nothing is proven, neither that all is well nor a cause: what was seen, ruled out, and is open."""

from __future__ import annotations

from provisioner.l2.diagnosis import handover
from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.connection import connections
from provisioner.l2.diagnosis.sentences import answered, asked, silence
from provisioner.l2.owners import link_local
from provisioner.l2.probe.arp import Kind
from provisioner.text import join_words, pluralize


def find(case: Case) -> Cause:
    """Return UNKNOWN with what was seen, what is ruled out, and the next measurement.

    It is certain of what was seen: that nobody answers, or that nothing could be measured.
    """
    fields = {"link_local": str(link_local(case.capture.vantage.mac))} if _no_source(case) else {}
    node = case.facts.node(case.prediction.leader or case.leader)
    here = [nic.name for nic in case.segment.nics_here(node)] if node is not None else []
    if node is not None and here:
        fields |= {"node": node.name, "nic": here[0]}
    return Cause(
        "UNKNOWN",
        "certain" if case.capture.dropped or not case.broadcast or unanswered(case) else "possible",
        (*_seen(case), *_ruled_out(case)),
        _possible(case),
        fields,
        *_next(case),
    )


def unanswered(case: Case) -> bool:
    """Tell whether silence is proven where an answer is due: that is a fault, whatever its cause.

    A Service has the address, and it was asked for on its own segment as a client asks. A question from nobody counts
    where somebody answers such ones. An address of no subnet here is due here only where MetalLB announces its pool.
    """
    here = case.capture.vantage.on_link(case.ip) or (case.pool is not None and case.segment.nodes_heard)
    asked = Kind.REQUEST in case.asked or case.segment.zero_works
    return bool(case.services) and case.silent and here and asked


def _seen(case: Case) -> tuple[str, ...]:
    dropped = case.capture.dropped
    lost = (
        (
            f"The kernel dropped {pluralize(dropped, 'frame')} here, so that neither silence nor a single owner is proven.",
        )
        if dropped
        else ()
    )
    if not case.broadcast:
        why = f"{case.capture.vantage.interface} has no IPv6 link-local address, from which neighbours are asked."
        return (
            f"{case.ip} was not asked for, so nothing is known of it.",
            *([why] if _no_source(case) else []),
            *lost,
        )
    if not case.answers:
        free = (f"No Service has {case.ip}: it is free.",) if case.unassigned and not dropped else ()
        return (*free, *lost, silence(case))
    said = [*lost, *(answered(case, seen) for seen in case.owners)]
    if len(case.owners) > 1:
        said.insert(0, f"{asked(case)}; {pluralize(len(case.owners), 'owner')} answered.")
        if handover.together(case.answers) < handover.LONGEST:
            said.append("They answered together for under a second, which a handover does too.")
    seen = case.owner
    if seen is not None:
        if not seen.nodes:
            said.append(f"Whether {seen.mac} is a node's is not known.")
        elif case.unassigned:
            said.append(f"No Service is known to have {case.ip}.")
        elif not case.outcomes(seen.mac):
            said.append("No TCP port was tried, so whether it is served is not known.")
        if tried := connections(case, seen):
            said.append(tried)
    return tuple(said)


def _ruled_out(case: Case) -> tuple[str, ...]:
    """Return what the facts rule out, each as a sentence; what is not known rules nothing out."""
    said = []
    if not case.segment.informed:
        return ("Nothing is known of the cluster, so no cause within it is ruled out.",)
    if case.facts.pools is not None and case.pool is None:
        said.append(f"No pool of MetalLB holds {case.ip}, so MetalLB does not announce it.")
    if case.service is not None and case.service.load_balancer_class not in (
        None,
        case.facts.metallb.load_balancer_class,
    ):
        said.append(
            f"Service {case.service.key} is of class {case.service.load_balancer_class}, perhaps another controller's."
        )
    if case.endpoints:
        where = sorted(node for node in case.endpoints if node)
        on = f" on {join_words(where)}" if where else ""
        said.append(f"Service {case.services[0].key} has ready endpoints{on}.")
    if case.advertisements and case.pool is not None:
        names = join_words(one.name for one in case.advertisements)
        said.append(f"L2Advertisement {names} announces pool {case.pool.name}.")
    if case.prediction.candidates == ():
        said += [f"{why.rstrip('.')}." for why in list(case.prediction.ruled_out.values())[:8]]
    node = case.facts.node(case.prediction.leader)
    if node is not None:
        if node.speaker == "ready":
            said.append(f"The speaker of {node.name}, the predicted leader, is ready.")
        if here := case.segment.nics_here(node):
            said.append(f"{node.name}'s {join_words(nic.name for nic in here)} is on this segment.")
        if (own := case.segment.own_address(node.name)) and own[1] and not case.answers:
            said.append(f"{node.name} answers for its own address {own[0]}, so frames pass between here and there.")
        received, sent = case.requests(node.name), case.responses(node.name)
        if case.capture.counted and received is not None and sent is not None and not case.answers:
            counted = f"{pluralize(received, 'request')} for {case.ip} and sent {pluralize(sent, 'response')}"
            said.append(f"During this run {node.name}'s speaker counted {counted}.")
    return tuple(said)


def _possible(case: Case) -> tuple[str, ...]:
    """Return the codes that are open for lack of knowledge."""
    if not case.broadcast or (case.unassigned and not case.answers):
        return ()
    if len(case.owners) > 1:
        return ("SPLIT_BRAIN", "ADDRESS_CONFLICT", "MULTI_NIC_SAME_SEGMENT")
    if case.owner is not None:
        unserved = case.outcomes(case.owner.mac) and not case.served(case.owner.mac)
        stranger = () if case.owner.nodes else ("ADDRESS_CONFLICT",)
        return (*stranger, *(("NOT_SERVING",) if unserved else ()))
    codes = [] if case.endpoints else ["NO_ENDPOINTS"]
    codes += [] if case.advertisements or case.facts.advertisements is not None else ["NO_L2ADVERTISEMENT"]
    node = case.facts.node(case.prediction.leader or case.leader)
    codes += ["SPEAKER_DOWN"] if node is None or node.speaker is None else []
    received = case.requests(node.name) if node is not None and case.capture.counted else None
    codes += ["EGRESS_FILTERED", "INGRESS_LOST"] if received is None or 0 < received < case.questions else []
    return tuple(codes)


# Most often IPv6 is off on the interface, and no address can be added as long as it is. With slashes, sysctl takes
# the dot of a VLAN's name for a dot.
_LINK_LOCAL = (
    "sudo sh -c 'sysctl -w net/ipv6/conf/{interface}/disable_ipv6=0 && "
    "ip -6 address replace {link_local}/64 dev {interface}'",
    "ip -6 address show",
)


def _no_source(case: Case) -> bool:
    """Tell whether it could not be asked for since the interface has no address that neighbour discovery asks from."""
    own = case.capture.vantage.addresses
    return case.ip.version == 6 and not case.broadcast and not any(one.ip.is_link_local for one in own)


def _ask_again(case: Case) -> tuple[str, tuple[str, ...]]:
    """Return how to ask so that it is measured the next time."""
    if _no_source(case):
        return "Give {interface} an IPv6 link-local address, and ask again.", _LINK_LOCAL
    slower = f" --pps {max(10, case.capture.pps // 2)}" if case.capture.dropped else ""
    return f"Ask again{', more slowly' if slower else ''}.", (f"provisioner l2 check {case.ip}{slower}",)


def _next(case: Case) -> tuple[str, tuple[str, ...]]:
    """Return the next measurement: a sentence, and commands of which the first is typed whose names are known."""
    if case.capture.dropped or not case.broadcast:
        return _ask_again(case)
    if not case.segment.informed:
        return "Let the cluster tell its side, where its API is in reach.", ("provisioner l2 collect -o facts.json",)
    if case.unassigned and not case.answers:
        return "Nothing needs to be done; a Service may get it.", ("kubectl get services -A",)
    if case.facts.pools is not None and case.pool is None and case.service is not None:
        return "Find out who gave the Service this address.", ("kubectl -n {namespace} describe service {name}",)
    if case.answers:
        return "Ask again with the interfaces of all nodes known.", ("provisioner l2 collect -o facts.json",)
    return (
        "Look on {node} whether the questions arrive and whether it answers.",
        (
            "provisioner exec --limit {node} -- timeout 10 tcpdump -eni {nic} '{filter}'",
            "kubectl -n {ns} logs -l component=speaker --prefix --tail=50",
        ),
    )

"""Owners that are not cluster nodes or are ambiguous, and pools that overlap hosts or miss the segment."""

from __future__ import annotations

from ipaddress import ip_address

from provisioner.l2 import macs, pools
from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import answers, name, silence
from provisioner.l2.facts_values import interface
from provisioner.l2.gratuitous import by_metallb, periodic
from provisioner.l2.probe.arp import NOBODY, Kind
from provisioner.l2.result import AddressOwner, Confidence
from provisioner.text import join_words

_SLOW = 50_000  # microseconds; Linux delays a proxy ARP reply to a broadcast by up to 0.8 s (proxy_delay)


def address_conflict(case: Case) -> Cause | None:
    """ADDRESS_CONFLICT: a host that is not a cluster node answers, in addition to the leader or instead of it."""
    if case.ip in case.capture.vantage.own_addresses and not case.unassigned:
        what = f"{case.ip} is configured on this machine, which probes from {case.capture.vantage.interface}."
        own = next((one for one in case.capture.vantage.addresses if one.ip == case.ip), None)
        here = {"here": case.capture.vantage.interface, "own": str(own)} if own is not None else {}
        remedy = "Remove the address from this machine or from the pool."
        commands = ("sudo ip address del {own} dev {here}", "ip address show to {ip}")
        return Cause("ADDRESS_CONFLICT", "certain", (what,), (), here, remedy, commands)
    if case.unassigned or (case.is_api and case.owner is not None and case.served(case.owner.mac)):
        return None  # a load balancer in front of the control planes need not be a node
    if case.pool is not None and case.ip in case.capture.vantage.gateways:
        return None
    foreign = [owner for owner in case.owners if owner.owner_class == "foreign" and not proxy_confidence(case, owner)]
    if not foreign:
        return None
    mac = foreign[0].mac
    complete = case.segment.known.complete
    evidence = [f"{case.ip} is the router of this machine."] if case.ip in case.capture.vantage.gateways else []
    evidence += [f"{name(owner)} answers for {case.ip}." for owner in foreign]
    if routers := [macs.virtual_router(owner.mac) for owner in foreign if macs.virtual_router(owner.mac)]:
        evidence.append(f"That is the MAC of a virtual router ({join_words(routers)}), shared by several routers.")
    if not complete:
        evidence.append("No node answers for its own address with that MAC, but not all node interfaces are known.")
    frames = case.segment.announcements.get(case.ip, ())
    if any(by_metallb([frame for frame in frames if frame.mac == owner.mac]) for owner in foreign):
        evidence.append("It sends gratuitous ARP like MetalLB's: another cluster has the address in its own pool.")
    evidence += [answers(case, owner) for owner in case.owners if owner not in foreign]
    others = () if complete else ("MULTI_NIC_SAME_SEGMENT",)
    return Cause("ADDRESS_CONFLICT", "certain" if complete else "likely", tuple(evidence), others, {"mac": mac})


def pool_address_in_use(case: Case) -> Cause | None:
    """POOL_ADDRESS_IN_USE: a host answers for an address of a pool that no Service has."""
    if case.pool is None or not case.unassigned or pool_overlaps_node(case) is not None:
        return None
    if case.ip in case.capture.vantage.own_addresses:
        what = f"{case.ip} of pool {case.pool.name} is configured on this machine."
        return Cause("POOL_ADDRESS_IN_USE", "certain", (what,))
    users = [owner for owner in case.owners if not proxy_confidence(case, owner)]
    if not users:
        return None
    # A node may announce it for a Service created or deleted since the facts were read.
    confidence: Confidence = "likely" if any(owner.node for owner in users) else "certain"
    evidence = (
        f"No Service has {case.ip} of pool {case.pool.name}, but {join_words(map(name, users))} "
        f"{'answer' if len(users) > 1 else 'answers'} for it.",
    )
    return Cause("POOL_ADDRESS_IN_USE", confidence, evidence, fields={"mac": users[0].mac})


def pool_overlaps_node(case: Case) -> Cause | None:
    """POOL_OVERLAPS_NODE: the address is in a pool, and is a node's or the router's own."""
    if case.pool is None:
        return None
    if case.ip in case.capture.vantage.gateways:
        what = f"{case.ip} of pool {case.pool.name} is the router of this segment."
        heard = tuple(answers(case, owner) for owner in case.owners)
        return Cause("POOL_OVERLAPS_NODE", "certain", (what, *heard), explains=_GATEWAY)
    for node in case.facts.nodes:
        if case.ip in [ip_address(text) for text in node.internal_ips]:
            what = f"{case.ip} of pool {case.pool.name} is {node.name}'s own address."
            return Cause("POOL_OVERLAPS_NODE", "certain", (what,), fields={"node": node.name})
        # On the leader it is a warning (KERNEL_ALSO_OWNS), and kube-vip configures the addresses that it announces.
        leads = case.owner is not None and case.owner.node == node.name == case.leader
        by_kube_vip = case.facts.others.kube_vip or _announces_periodically(case, node.name)
        if (nics := [nic for nic, _ in case.configured_on(node.name)]) and not leads and not by_kube_vip:
            what = f"{case.ip} of pool {case.pool.name} is configured on {node.name}'s {join_words(nics)}."
            return Cause(
                "POOL_OVERLAPS_NODE",
                "certain",
                (what, *(answers(case, owner) for owner in case.owners)),
                fields={"node": node.name, "nic": nics[0]},
            )
    return _other_kernel(case)


# A router's own address in a pool: that several answer, or the router, or that nobody serves there, follows from it.
_GATEWAY = ("ADDRESS_CONFLICT", "PROXY_ARP", "RETURN_PATH", "NOT_SERVING", "SPLIT_BRAIN", "STALE_CACHE")


def _other_kernel(case: Case) -> Cause | None:
    """Find that a kernel other than the leader's has the address, by its replies; its interfaces may be unknown."""
    proxy = case.facts.kube_proxy
    flux = proxy.mode is None or (proxy.mode == "ipvs" and not proxy.strict_arp)
    kernels = [
        owner
        for owner in case.owners
        if owner.owner_class == "kernel"
        and owner.node
        and owner.node != case.leader
        and not _announces_periodically(case, owner.node)
    ]
    if case.pool is None or not kernels or flux or case.facts.others.kube_vip or not case.leader:
        return None
    one = kernels[0]
    what = f"{one.node}'s kernel answers for {case.ip} of pool {case.pool.name}, so the address is configured there."
    return Cause(
        "POOL_OVERLAPS_NODE",
        "likely",
        (what, *(answers(case, owner) for owner in case.owners)),
        ("KUBE_VIP_DUPLICATE",) if case.facts.others.kube_vip is None else (),
        {"node": one.node, **({"nic": one.nic} if one.nic else {})},
    )


def _announces_periodically(case: Case, node: str) -> bool:
    frames = case.segment.announcements.get(case.ip, ())
    macs = [owner.mac for owner in case.owners if owner.node == node]
    return any(periodic([frame for frame in frames if frame.mac == mac]) for mac in macs)


def overlaps(case: Case) -> str:
    """Return the sentence on other addresses in the pool that are a node's or the router's; "" without any."""
    if case.pool is None:
        return ""
    own = {ip_address(text): node.name for node in case.facts.nodes for text in node.internal_ips}
    own |= {ip: "the router" for ip in case.capture.vantage.gateways}
    held = [f"{ip} ({own[ip]})" for ip in pools.overlapping(case.pool, own) if ip != case.ip]
    return f"Pool {case.pool.name} also contains {join_words(held)}, which must not be assigned." if held else ""


def pool_off_subnet(case: Case) -> Cause | None:
    """POOL_OFF_SUBNET: the address is in no subnet of the segment, so clients there send no ARP requests for it."""
    subnets = [net for net in case.segment.subnets if net.version == case.ip.version]
    if case.pool is None or not subnets or any(case.ip in net for net in subnets) or len(case.owners) > 1:
        return None
    what = (
        f"{case.ip} of pool {case.pool.name} is in no subnet of this segment ({join_words(subnets)}), so clients send "
        "packets for it to their router."
    )
    heard = tuple(answers(case, owner) for owner in case.owners) or (silence(case),)
    # If no node's interfaces are known, only this machine's subnets are.
    known = any(node.nics for node in case.facts.nodes)
    return Cause("POOL_OFF_SUBNET", "likely" if known else "possible", (what, *heard))


def proxy_confidence(case: Case, owner: AddressOwner) -> Confidence | None:
    """Return how sure it is that an owner answers for others; None: it does not seem to.

    Proxy ARP, at least on Linux, does not answer probes from 0.0.0.0 (Z). On a network that drops such probes no host
    answers them, so another host must have answered one.
    """
    answered = owner.answered
    if case.ip.version == 6 or "Z" in answered or "B" not in answered or Kind.PROBE not in case.kinds_sent:
        return None
    known = case.facts.node(owner.node)
    flags = [nic.proxy_arp for nic in (known.nics if known else None) or () if nic.name == owner.nic]
    if True in flags:
        return "certain"
    if False in flags or not _keeps_to_requests(case, owner):
        return None
    if owner.mac in case.segment.gateways:
        return "certain" if case.segment.probes_work else "likely"
    if case.segment.probes_work:
        return "likely"
    # A MAC found on a node is not a foreign proxy, whatever the network does to such probes.
    return None if owner.matched_by == "inventory" else "possible"


def _keeps_to_requests(case: Case, owner: AddressOwner) -> bool:
    """Tell whether an owner answers every request and no probe, each asked more than once.

    One unanswered probe is a lost frame. An owner of several addresses need not be asked twice about each.
    """
    asked, heard = case.asked_times(owner), case.answered_times(owner)
    if heard[Kind.REQUEST] < asked[Kind.REQUEST]:
        return False
    return asked[Kind.PROBE] > 1 or case.segment.unanswered_probes(owner.mac) > 1


def proxy_arp(case: Case) -> Cause | None:
    """PROXY_ARP: an owner answers requests from this machine's address, but no probe from 0.0.0.0."""
    found = [(owner, confidence) for owner in case.owners if (confidence := proxy_confidence(case, owner))]
    if not found:
        return None
    owner, confidence = found[0]
    source = case.source or "this machine"
    evidence = [f"{name(owner)} answers requests for {case.ip} from {source}, but no probe from {NOBODY}."]
    if router := case.segment.gateways.get(owner.mac):
        evidence.append(f"{owner.mac} is the router {router}.")
    known = case.facts.node(owner.node)
    if any(nic.proxy_arp and nic.name == owner.nic for nic in (known.nics if known else None) or ()):
        evidence.append(f"proxy_arp is enabled on {owner.node}'s {owner.nic}.")
    replies = [answer for answer in case.answers if answer.mac == owner.mac and answer.kind is Kind.REQUEST]
    if replies and (delay := min(round(answer.rtt * 1e6) for answer in replies)) > _SLOW:
        evidence.append(f"Its reply took {delay / 1000:.0f} ms, which matches Linux's proxy_delay.")
    if not case.segment.probes_work:
        evidence.append(f"No host answered a probe from {NOBODY}, so the network may drop them: try --no-zero.")
    evidence += [answers(case, other) for other in case.owners if other is not owner]
    fields = {"mac": owner.mac}
    fields |= {"node": owner.node} if owner.node else {}
    fields |= {"nic": owner.nic} if owner.nic else {}
    return Cause("PROXY_ARP", confidence, tuple(evidence), fields=fields)


def cloned_mac(case: Case) -> Cause | None:
    """CLONED_MAC: interfaces of several nodes on this segment have one MAC, as copies of a virtual machine do."""
    for owner in case.owners:
        entries = case.segment.known.inventory.get(owner.mac, ())
        nodes = tuple(dict.fromkeys(node for node, nic in entries if _is_here(case, node, nic)))
        if len(nodes) > 1:
            product = macs.hypervisor(owner.mac)
            evidence = [
                f"{owner.mac} answers for {case.ip}, and {join_words(nodes)} have that MAC on this segment.",
                "A switch delivers its frames to whichever of them sent last.",
            ]
            evidence += [f"It is a MAC of {product.name}: copies of one virtual machine keep it."] if product else []
            fields = {"mac": owner.mac, "node": nodes[0]}
            return Cause("CLONED_MAC", "certain", tuple(evidence), fields=fields, explains=("AMBIGUOUS_MAC",))
    return None


def _is_here(case: Case, node: str, nic: str) -> bool:
    known = case.facts.node(node)
    return any(
        case.capture.vantage.on_link(interface(text).ip)
        for each in (known.nics if known else None) or ()
        if each.name == nic
        for text in each.addresses
    )


def ambiguous_mac(case: Case) -> Cause | None:
    """AMBIGUOUS_MAC: the MAC that answers belongs to several nodes."""
    shared = [owner for owner in case.owners if len(owner.nodes) > 1]
    if not shared:
        return None
    mac = shared[0].mac
    nodes = join_words(shared[0].nodes)
    evidence = [f"{mac} answers for {case.ip} and belongs to {nodes}; which of them answers is unknown."]
    if rewritten := next((one.source for one in case.answers if one.mac == mac and one.source not in ("", mac)), ""):
        evidence.append(f"The reply's Ethernet source is {rewritten}: a bridge rewrites MACs, as over Wi-Fi.")
    evidence += [answers(case, owner) for owner in case.owners if owner is not shared[0]]
    return Cause("AMBIGUOUS_MAC", "certain", tuple(evidence), fields={"mac": mac})

"""Owners that are no node, or that cannot be told from one, and pools that lie where they must not."""

from __future__ import annotations

from ipaddress import ip_address

from provisioner.l2 import pools
from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import answered, owner, silence
from provisioner.l2.gratuitous import by_metallb, periodic
from provisioner.l2.probe.arp import Kind
from provisioner.l2.result import AddressOwner, Confidence
from provisioner.text import join_words

_SLOW = 50_000  # microseconds; Linux delays a proxied answer to a broadcast by up to 0.8 s (proxy_delay)


def address_conflict(case: Case) -> Cause | None:
    """ADDRESS_CONFLICT: an owner that is no node answers, beside the leader or instead of it."""
    if case.ip in case.capture.vantage.own_addresses and not case.unassigned:
        what = f"{case.ip} is configured on this very machine, which asks from {case.capture.vantage.interface}."
        own = next((one for one in case.capture.vantage.addresses if one.ip == case.ip), None)
        here = {"here": case.capture.vantage.interface, "own": str(own)} if own is not None else {}
        remedy = "Take the address off this machine, or out of the pool."
        commands = ("sudo ip address del {own} dev {here}", "ip address show to {ip}")
        return Cause("ADDRESS_CONFLICT", "certain", (what,), (), here, remedy, commands)
    if case.unassigned:
        return None
    strangers = [seen for seen in case.owners if seen.owner_class == "foreign" and not proxied(case, seen)]
    if not strangers:
        return None
    one = strangers[0]
    evidence = [f"{owner(seen)} answers for {case.ip}." for seen in strangers]
    if not case.segment.known.complete:
        evidence.append("It is told from the nodes by their own addresses' answers; not all interfaces are known.")
    frames = case.segment.announcements.get(case.ip, ())
    if by_metallb([frame for frame in frames if frame.mac == one.mac]):
        evidence.append("It announces in the shape of MetalLB: another cluster has the address in a pool of its own.")
    evidence += [answered(case, seen) for seen in case.owners if seen not in strangers]
    complete = case.segment.known.complete
    others = () if complete else ("MULTI_NIC_SAME_SEGMENT",)
    confidence: Confidence = "certain" if complete else "likely"
    return Cause("ADDRESS_CONFLICT", confidence, tuple(evidence), others, {"mac": one.mac})


def pool_address_in_use(case: Case) -> Cause | None:
    """POOL_ADDRESS_IN_USE: somebody answers for an address of a pool that no Service has."""
    if case.pool is None or not case.unassigned or pool_overlaps_node(case) is not None:
        return None
    if case.ip in case.capture.vantage.own_addresses:
        what = f"{case.ip} of pool {case.pool.name} is configured on this very machine."
        return Cause("POOL_ADDRESS_IN_USE", "certain", (what,))
    users = [seen for seen in case.owners if not proxied(case, seen)]
    if not users:
        return None
    # A node's own interface may announce for a Service that was made or deleted since the facts were read.
    confidence: Confidence = "likely" if any(seen.node for seen in users) else "certain"
    evidence = (
        f"No Service has {case.ip} of pool {case.pool.name}, and {join_words(owner(seen) for seen in users)} "
        f"{'answer' if len(users) > 1 else 'answers'} for it.",
    )
    return Cause("POOL_ADDRESS_IN_USE", confidence, evidence, fields={"mac": users[0].mac})


def pool_overlaps_node(case: Case) -> Cause | None:
    """POOL_OVERLAPS_NODE: the address is in a pool and is a node's or the router's own."""
    if case.pool is None:
        return None
    if case.ip in case.capture.vantage.gateways:
        what = f"{case.ip} of pool {case.pool.name} is the router of this segment."
        return Cause("POOL_OVERLAPS_NODE", "certain", (what,))
    for node in case.facts.nodes:
        if case.ip in [ip_address(text) for text in node.internal_ips]:
            what = f"{case.ip} of pool {case.pool.name} is {node.name}'s own address."
            return Cause("POOL_OVERLAPS_NODE", "certain", (what,), fields={"node": node.name})
        # On the leader it is a warning (KERNEL_ALSO_OWNS), and kube-vip configures what it announces.
        leads = case.owner is not None and case.owner.node == node.name == case.leader
        by_kube_vip = case.facts.others.kube_vip or _announces_for_ever(case, node.name)
        if (nics := [name for name, _ in case.carriers(node.name)]) and not leads and not by_kube_vip:
            what = f"{case.ip} of pool {case.pool.name} is configured on {node.name}'s {join_words(nics)}."
            return Cause(
                "POOL_OVERLAPS_NODE",
                "certain",
                (what, *(answered(case, seen) for seen in case.owners)),
                fields={"node": node.name, "nic": nics[0]},
            )
    return _kernel_elsewhere(case)


def _kernel_elsewhere(case: Case) -> Cause | None:
    """Find that another node's kernel has the address, where its interfaces are not known but its answer tells."""
    proxy = case.facts.kube_proxy
    flux = proxy.mode is None or (proxy.mode == "ipvs" and not proxy.strict_arp)
    kernels = [
        seen
        for seen in case.owners
        if seen.owner_class == "kernel"
        and seen.node
        and seen.node != case.leader
        and not _announces_for_ever(case, seen.node)
    ]
    if case.pool is None or not kernels or flux or case.facts.others.kube_vip or not case.leader:
        return None
    one = kernels[0]
    what = (
        f"The kernel of {one.node} answers for {case.ip} of pool {case.pool.name}, so the address is configured there."
    )
    return Cause(
        "POOL_OVERLAPS_NODE",
        "likely",
        (what, *(answered(case, seen) for seen in case.owners)),
        ("KUBE_VIP_DUPLICATE",) if case.facts.others.kube_vip is None else (),
        {"node": one.node, **({"nic": one.nic} if one.nic else {})},
    )


def _announces_for_ever(case: Case, node: str) -> bool:
    own = case.segment.announcements.get(case.ip, ())
    return any(seen.node == node and periodic([one for one in own if one.mac == seen.mac]) for seen in case.owners)


def overlaps(case: Case) -> str:
    """Return a sentence on other addresses of the pool that are a node's or the router's; "" without any."""
    if case.pool is None:
        return ""
    own = {ip_address(text): node.name for node in case.facts.nodes for text in node.internal_ips}
    own |= {ip: "the router" for ip in case.capture.vantage.gateways}
    held = [f"{ip} ({own[ip]})" for ip in pools.overlapping(case.pool, own) if ip != case.ip]
    return f"Pool {case.pool.name} also holds {join_words(held)}, which must not be given out." if held else ""


def pool_off_subnet(case: Case) -> Cause | None:
    """POOL_OFF_SUBNET: the address is in no subnet of the segment, so that clients there never ask for it."""
    subnets = [net for net in case.segment.subnets if net.version == case.ip.version]
    if case.pool is None or not subnets or any(case.ip in net for net in subnets) or len(case.owners) > 1:
        return None
    what = (
        f"{case.ip} of pool {case.pool.name} is in no subnet of this segment ({join_words(subnets)}): its clients send to "
        "their router instead of asking for it here."
    )
    seen = tuple(answered(case, one) for one in case.owners) or (silence(case),)
    # Where no node's interface is known, only this machine's own subnets are.
    known = any(node.nics for node in case.facts.nodes)
    return Cause("POOL_OFF_SUBNET", "likely" if known else "possible", (what, *seen))


def proxied(case: Case, seen: AddressOwner) -> Confidence | None:
    """Tell how sure it is that an owner answers on behalf of others; None: it does not seem to.

    Proxy ARP keeps silent to a question from nobody (Z), at least Linux's does. On a network that drops such
    questions everybody keeps silent to them, so somebody else must have answered one.
    """
    if case.ip.version == 6 or "Z" in seen.answered or "B" not in seen.answered or Kind.PROBE not in case.asked:
        return None
    known = case.facts.node(seen.node)
    flags = [nic.proxy_arp for nic in (known.nics if known else None) or () if nic.name == seen.nic]
    if True in flags:
        return "certain"
    if False in flags:
        return None
    if seen.mac in case.segment.gateways:
        return "certain" if case.segment.zero_works else "likely"
    if case.segment.zero_works:
        return "likely"
    # Whose own list of interfaces has the MAC is no stranger's proxy, whatever the network does to such questions.
    return None if seen.matched_by == "inventory" else "possible"


def proxy_arp(case: Case) -> Cause | None:
    """PROXY_ARP: an owner answers a client's question and a direct one, but none from nobody."""
    found = [(seen, sure) for seen in case.owners if (sure := proxied(case, seen))]
    if not found:
        return None
    seen, sure = found[0]
    evidence = [f"{owner(seen)} answers for {case.ip} when asked as {case.source or 'a client'}, and not as nobody."]
    if router := case.segment.gateways.get(seen.mac):
        evidence.append(f"{seen.mac} is the router {router}.")
    known = case.facts.node(seen.node)
    if any(nic.proxy_arp and nic.name == seen.nic for nic in (known.nics if known else None) or ()):
        evidence.append(f"proxy_arp is on at {seen.node}'s {seen.nic}.")
    slow = [answer for answer in case.answers if answer.mac == seen.mac and answer.kind is Kind.REQUEST]
    if slow and (delay := min(round(answer.rtt * 1e6) for answer in slow)) > _SLOW:
        evidence.append(f"Its answer took {delay / 1000:.0f} ms, as a delayed answer of proxy ARP does.")
    if not case.segment.zero_works:
        evidence.append("Nobody answered any question from nobody here, so the network may drop them: try --no-zero.")
    evidence += [answered(case, one) for one in case.owners if one is not seen]
    fields = {"mac": seen.mac, **({"node": seen.node} if seen.node else {}), **({"nic": seen.nic} if seen.nic else {})}
    return Cause("PROXY_ARP", sure, tuple(evidence), fields=fields)


def ambiguous_mac(case: Case) -> Cause | None:
    """AMBIGUOUS_MAC: the MAC that answers stands for several nodes."""
    shared = [seen for seen in case.owners if len(seen.nodes) > 1]
    if not shared:
        return None
    one = shared[0]
    evidence = [
        f"{one.mac} answers for {case.ip} and stands for {join_words(one.nodes)}; which of them cannot be told."
    ]
    if rewritten := next((a.source for a in case.answers if a.mac == one.mac and a.source not in ("", one.mac)), ""):
        evidence.append(f"The answer's frame came from {rewritten}: a bridge rewrites MACs, as Wi-Fi does.")
    evidence += [answered(case, seen) for seen in case.owners if seen is not one]
    return Cause("AMBIGUOUS_MAC", "certain", tuple(evidence), fields={"mac": one.mac})

"""What the way to an owner lets through: broadcasts, unicasts, IP from the address, large segments, routed packets."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from provisioner.l2 import macs
from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.connection import connections
from provisioner.l2.diagnosis.frame_loss import buggy_ip
from provisioner.l2.diagnosis.sentences import name, silence
from provisioner.l2.facts_values import interface
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Address, Exchange
from provisioner.l2.result import AddressOwner, Confidence
from provisioner.text import join_words

_WORKING = ("open", "refused", "unreachable")


def unicast_lost(case: Case) -> Cause | None:
    """UNICAST_LOST: broadcasts are answered, and nothing addressed to the same MAC arrives: a switch's MAC table."""
    owner = case.owner
    if owner is None or case.ip.version != 4 or not {"Z", "B"} & set(owner.answered):
        return None
    asked, heard = case.asked_times(owner), case.answered_times(owner)
    unicasts = asked.get(Kind.UNICAST, 0)
    tried = case.handshakes(owner.mac)
    if not unicasts or heard[Kind.UNICAST] or any(one.outcome in _WORKING for one in tried):
        return None
    if case.capture.echo.get(case.ip) or _own_ip_works(case, owner) or not (tried or unicasts > 1):
        return None
    broadcasts = {kind: count for kind, count in asked.items() if kind is not Kind.UNICAST and heard[kind]}
    answered = f"{sum(heard[kind] for kind in broadcasts)} of {sum(broadcasts.values())}"
    evidence = [
        f"{name(owner)} answered {answered} broadcast requests for {case.ip}, and none of {unicasts} unicast requests "
        f"to {owner.mac}."
    ]
    if tried:
        evidence.append(connections(case, owner))
    if case.ip in case.capture.echo:
        evidence.append("A ping in a frame to that MAC was not answered either.")
    evidence.append(f"So a switch delivers broadcasts to it, and frames for {owner.mac} to another port.")
    sure: Confidence = "certain" if unicasts > 2 and tried else "likely"
    return Cause("UNICAST_LOST", sure, tuple(evidence), (), _fields(owner), explains=("RETURN_PATH", "NOT_SERVING"))


def spoof_guard(case: Case) -> Cause | None:
    """SPOOF_GUARD: ARP for the address passes and IP from it does not, while IP from the node's own address does.

    The node has an address in this machine's subnet and answers from it through the same MAC, so neither its routes
    nor the way explain it. What drops packets whose source address a port is not known to have: Proxmox's ipfilter,
    VMware's, Hyper-V's, OpenStack's and clouds' guards, a switch's IP source guard.
    """
    owner = case.owner
    if owner is None or not owner.node or case.capture.echo.get(case.ip):
        return None
    tried = case.handshakes(owner.mac)
    if not case.outcomes(owner.mac) or any(one.outcome in _WORKING for one in tried):
        return None  # silence to UDP questions alone is more often a server's
    own = _own_ip_works(case, owner)
    if own is None or not _same_subnet(case, owner) or buggy_ip(case) is not None:
        return None
    product = macs.hypervisor(owner.mac)
    evidence = [
        connections(case, owner),
        f"{owner.node}'s own address {own} answers over IP through {owner.mac}, so the way and its routes are fine; "
        f"only IP from {case.ip} is missing.",
    ]
    if product:
        evidence.append(f"{owner.mac} is a MAC of {product.name}: {product.guard}.")
    others = ("NOT_SERVING", "RETURN_PATH")
    sure: Confidence = "likely" if product or case.endpoints else "possible"
    guard = product.guard if product else "Proxmox ipfilter, VMware, Hyper-V, OpenStack port security, a cloud's check"
    return Cause(
        "SPOOF_GUARD", sure, tuple(evidence), others, {**_fields(owner), "guard": guard}, explains=("RETURN_PATH",)
    )


def mtu_black_hole(case: Case) -> Cause | None:
    """MTU_BLACK_HOLE: a segment of full size does not get through with DF, and small ones do."""
    owner = case.owner
    if owner is None or not owner.nodes:
        return None
    ports = {port.port for service in case.judged for port in service.ports}
    mine = [one for one in case.segment.exchanges.get(case.ip, ()) if one.mac == owner.mac and one.port in ports]
    for large in mine:
        small = next((one for one in mine if one.port == large.port and one.mss < large.mss), None)
        if small is None or small.received <= large.received:
            continue
        asked = f"{large.asked} on " if large.asked else ""
        evidence = [_stalled(large, small, asked)]
        if large.gap:
            evidence.append("Its last, smaller segment arrived, and the full ones before it did not.")
        bytes_ = large.mss + (40 if case.ip.version == 4 else 60)
        evidence.append(f"Packets of {bytes_} bytes with DF are lost, and no ICMP error about it arrived.")
        return Cause("MTU_BLACK_HOLE", "certain", tuple(evidence), (), _fields(owner))
    return None


def _stalled(large: Exchange, small: Exchange, asked: str) -> str:
    port = f"{asked}TCP port {large.port}"
    if large.large and not large.accepted and small.accepted:
        return f"{port} received no question that fills a segment of {large.mss} bytes, and a small one it answered."
    return (
        f"{port} answered {small.received} bytes in segments of at most {small.mss}, and only {large.received} in "
        f"segments of {large.mss}."
    )


def measured(exchanges: Iterable[Exchange]) -> str:
    """Return up to what size segments of the answers arrived, for an OK; "" if no large one was to be had."""
    full = [one for one in exchanges if one.largest >= one.mss and not one.gap]
    return f"a full segment of {max(one.mss for one in full)} bytes arrived" if full else ""


def router_stale(case: Case) -> Cause | None:
    """ROUTER_STALE: a port is open directly, and not through the router, which forwards other packets."""
    via, owner = case.capture.via, case.owner
    if via is None or not via.mac or not via.forwards or owner is None:
        return None
    through = [one for one in via.handshakes if one.ip == case.ip]
    if not through or any(one.outcome in ("open", "refused") for one in through):
        return None
    ports = join_words(dict.fromkeys(str(one.port) for one in through))
    evidence = (
        f"TCP port {ports} is open directly, and {len(through)} of {len(through)} connections in frames to the router "
        f"{via.router} ({via.mac}) stayed without an answer.",
        f"{via.router} forwards packets to other addresses of this segment, so only {case.ip} is out of its reach: a "
        "stale neighbor entry, or none.",
    )
    return Cause("ROUTER_STALE", "likely", evidence, fields={"router": str(via.router)})


def multicast_snooping(case: Case) -> Cause | None:
    """MULTICAST_SNOOPING: a node answers NDP for itself and not for the address, which is in another group."""
    if case.ip.version != 6 or not case.silent:
        return None
    leader = case.facts.node(case.leader or case.prediction.leader)
    if leader is None or leader.speaker in ("missing", "failing"):
        return None
    own = [
        ip
        for ip in case.segment.addresses.get(leader.name, ())
        if ip.version == 6 and case.segment.answers.get(ip) and _group(ip) != _group(case.ip)
    ]
    if not own or any(nic.dad_failed for nic in case.segment.nics_here(leader)):
        return None
    evidence = (
        f"{leader.name}, which should announce {case.ip}, answers neighbor solicitations for its own {own[0]}.",
        f"Those for {case.ip} go to another multicast group, which a switch that snoops MLD may not deliver to it.",
        silence(case),
    )
    others = ("NDP_RESPONDER_FAILED", "EGRESS_FILTERED")
    return Cause(
        "MULTICAST_SNOOPING", "likely", evidence, others, {"node": leader.name, **_nic_field(case, leader.name)}
    )


def _group(ip: Address) -> int:
    return int(ip) & 0xFFFFFF


def _nic_field(case: Case, node: str) -> dict[str, str]:
    known = case.facts.node(node)
    here = case.segment.nics_here(known) if known is not None else ()
    return {"nic": here[0].name} if here else {}


def _own_ip_works(case: Case, owner: AddressOwner) -> Address | None:
    """Return an own address of the owner's node that answers over IP through the same MAC; None without one."""
    for ip in case.segment.addresses.get(owner.node, ()):
        if ip.version != case.ip.version or ip == case.ip:
            continue
        through = [one.outcome for one in case.segment.handshakes.get(ip, ()) if one.mac == owner.mac]
        echoed = case.capture.echo.get(ip) and case.capture.macs(ip) == (owner.mac,)
        if echoed or any(outcome in _WORKING for outcome in through):
            return ip
    return None


def _same_subnet(case: Case, owner: AddressOwner) -> bool:
    """Tell whether the node's interface is in the subnet of this machine, as far as is known."""
    node = case.facts.node(owner.node)
    source = case.client
    texts = [text for nic in (node.nics if node else None) or () if nic.name == owner.nic for text in nic.addresses]
    if not texts:
        own = map(ip_address, node.internal_ips if node else ())
        return any(ip.version == case.ip.version and case.capture.vantage.on_link(ip) for ip in own)
    return source is not None and any(
        one.version == source.version and source in one.network for one in map(interface, texts)
    )


def _fields(owner: AddressOwner) -> dict[str, str]:
    fields = {"mac": owner.mac, "node": owner.node, "nic": owner.nic}
    return {key: value for key, value in fields.items() if value}

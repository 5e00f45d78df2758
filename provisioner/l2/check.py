"""One diagnosis end to end: where to probe from, what to ask, who answered, what it means.

Every external IP is asked for by broadcast and from each node directly; so are the nodes' own addresses, which reveal
their MACs where SSH could not. Two owners are probed again, since a handover has two for a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface

from provisioner.errors import Inconclusive
from provisioner.l2 import closer_look, diagnosis
from provisioner.l2.facts import Facts, Metrics
from provisioner.l2.probe import interfaces, tcp_questions, udp_questions
from provisioner.l2.probe.capture import Capture, Vantage, merge
from provisioner.l2.probe.connecting import SCOUTS
from provisioner.l2.probe.conversation import Asked
from provisioner.l2.probe.interfaces import Interface
from provisioner.l2.probe.probe_target import ProbeTarget
from provisioner.l2.probe.router_listener import RouterListener
from provisioner.l2.probe.sequence import ATTEMPTS, probe
from provisioner.l2.result import Result
from provisioner.l2.targets import API_KEY, Address, Targets, services_by_ip

PPS = 200
LONGEST = 12.0  # seconds to listen for VRRP where an address is shared by it
RETRIES = 3  # further probe runs, of a second each, while two owners may still be a handover


def choose_interface(
    here: Sequence[Interface], ips: Sequence[Address], facts: Facts | None, name: str = ""
) -> Interface:
    """Return the interface to probe from: `name`, else one on the targets' segment, else one on the nodes'.

    An address in no subnet here may still be announced on the nodes' segment; that clients cannot reach it is then a
    verdict, not an error. Raises Inconclusive.
    """

    def reached(addresses: Sequence[Address]) -> list[Address]:
        usable = [one for one in here if one.up and one.ethernet]
        return [ip for ip in addresses if any(one.reaches(ip) for one in usable)]

    if name:
        return interfaces.choose(here, ips, name)
    near = reached(ips) or reached([*node_addresses(facts)])
    return interfaces.choose(here, near or ips)


def run(
    facts: Facts | None,
    targets: Targets,
    interface: Interface | None,
    *,
    metrics: Callable[[], Metrics | None] | None = None,
    pps: int = PPS,
    arp_probe: bool = True,
    timeout: float = 1.0,
    attempts: int = ATTEMPTS,
    via: Address | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Capture | None, tuple[Result, ...]]:
    """Probe the targets; return the capture and a verdict for each.

    interface: see `choose_interface`; None only if all targets are services without an address: no capture then.
    metrics: reads the speakers' counters; called before and after. pps: frames per second; arp_probe: also send ARP
    probes; timeout: seconds to listen after the last question; attempts: connections to each port; via: a router to
    send packets through as well. Raises Inconclusive (CAP_NET_RAW, interface lost).
    """
    if interface is None or not targets.ips:
        return None, tuple(
            diagnosis.diagnose_pending(facts, service) for service in targets.pending if facts is not None
        )
    vantage = interfaces.vantage(interface)
    if (node := on_a_node(vantage, facts, targets.ips)) is not None:
        return Capture(vantage, targets.ips, pps=pps), _everywhere(node, facts, targets)
    before = metrics() if metrics is not None else None
    with RouterListener(interface.name) as routers:
        began = time.monotonic()
        capture = probe_segment(
            facts,
            targets.ips,
            interface,
            pps=pps,
            arp_probe=arp_probe,
            timeout=timeout,
            attempts=attempts,
            converse=True,
            progress=progress,
        )
        if via is not None:
            capture = closer_look.through_router(capture, facts, interface, via, pps=pps)
        heard = routers.listen()
        shared, external = {ip for advert in heard for ip in advert.addresses} & {*targets.ips}, services_by_ip(facts)
        if shared or any(service.key == API_KEY for ip in targets.ips for service in external.get(ip, ())):
            # Long enough for a backup to take over, and for two masters to be heard twice each.
            longest = max([1.0, *(advert.interval for advert in heard if shared & {*advert.addresses})])
            heard = routers.listen(max(0.0, began + min(LONGEST, 4 * longest) - time.monotonic()))
    capture = replace(capture, routers=heard)
    if facts is not None and metrics is not None:
        after = metrics()
        facts = facts.model_copy(update={"metrics": before, "metrics_after": after})
        capture = replace(capture, counted=True)
    return capture, diagnosis.diagnose_all(capture, facts, targets.ips, targets.pending, targets.services)


def on_a_node(vantage: Vantage, facts: Facts | None, ips: Sequence[Address]) -> Result | None:
    """Return INCONCLUSIVE_PROBE_LOCATION if this machine is a node, which cannot hear its own answers."""
    # Whether it is on the segment is for the diagnosis to judge, from what was heard there.
    return diagnosis.diagnose_location(vantage, facts, ips) if diagnosis.on_node(vantage, facts) else None


def probe_segment(
    facts: Facts | None,
    ips: Sequence[Address],
    interface: Interface,
    *,
    pps: int,
    arp_probe: bool,
    timeout: float,
    others: Sequence[Address] = (),
    attempts: int = SCOUTS,
    converse: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Capture:
    """Return a capture of the addresses and of the nodes' own, without a verdict.

    ips: asked in every way; others: swept only. attempts: connections to each port; converse: also ask Services over
    TCP, and look closer at what is in doubt.
    """

    def asked(asks: Sequence[ProbeTarget], swept: Sequence[Address] = (), *, arp_probe: bool = arp_probe) -> Capture:
        return probe(
            interface,
            asks,
            others=swept,
            pps=pps,
            arp_probe=arp_probe,
            tail=timeout,
            attempts=attempts,
            progress=progress,
        )

    families = {ip.version for ip in (*ips, *others)}
    nodes = [ip for ip in node_addresses(facts) if ip.version in families and interface.reaches(ip)]
    ports, udp, speaks = tcp_ports(facts), udp_ports(facts), speaking_ports(facts) if converse else {}
    known = known_macs(facts, interface)
    asks = [
        ProbeTarget(ip, ports.get(ip, ()), unicast_to=known, udp=udp.get(ip, ()), speaks=speaks.get(ip, ()))
        for ip in ips
    ]
    capture = asked([*asks, *(ProbeTarget(ip, echo=False) for ip in nodes if ip not in ips)], others)
    # Nodes whose NICs could not be listed are known now, from the answers for their own addresses.
    learned = tuple(dict.fromkeys(mac for ip in nodes for mac in capture.macs(ip) if mac not in known))
    silent = [replace(ask, unicast_to=learned, echo=False) for ask in asks if not capture.macs(ask.ip)]
    if learned and silent:
        capture = merge(capture, asked(silent, arp_probe=False))
    for _ in range(RETRIES if ips else 0):
        open_ = [ProbeTarget(ip, echo=False) for ip in ips if diagnosis.needs_more_probes(capture, ip)]
        if not open_:
            break
        capture = merge(capture, asked(open_, arp_probe=False))
    if converse:
        capture = closer_look.at_doubts(
            capture,
            facts,
            asks,
            interface,
            pps=pps,
            arp_probe=arp_probe,
            timeout=timeout,
            attempts=attempts,
            progress=progress,
        )
    return capture


def node_addresses(facts: Facts | None) -> dict[Address, str]:
    """Return the nodes' own addresses, each with its node's name."""
    nodes = facts.nodes if facts is not None else ()
    return {ip_address(text): node.name for node in nodes for text in (*node.internal_ips, *node.external_ips)}


def known_macs(facts: Facts | None, interface: Interface) -> tuple[str, ...]:
    """Return the nodes' known MACs on this segment: of NICs with an address in one of its subnets."""
    nics = [nic for node in (facts.nodes if facts is not None else ()) for nic in node.nics or ()]
    near = [nic.mac for nic in nics if nic.mac and any(map(on_segment(interface), nic.addresses))]
    return tuple(dict.fromkeys(near))


def on_segment(interface: Interface) -> Callable[[str], bool]:
    """Return a predicate: whether an address with prefix length, "192.0.2.11/24", is on the segment."""
    return lambda text: interface.reaches(ip_interface(text).ip)


def tcp_ports(facts: Facts | None) -> Mapping[Address, tuple[int, ...]]:
    """Return the TCP ports of each external IP, across all services that share it."""
    return {
        ip: tuple(dict.fromkeys(port.port for one in services for port in one.ports if port.protocol == "TCP"))
        for ip, services in services_by_ip(facts).items()
    }


def udp_ports(facts: Facts | None) -> Mapping[Address, tuple[tuple[int, str], ...]]:
    """Return the UDP ports of each external IP that can be asked, each with the protocol to ask in."""
    return {
        ip: tuple(
            dict.fromkeys(
                (port.port, protocol)
                for one in services
                for port in one.ports
                if port.protocol == "UDP"
                and (protocol := udp_questions.protocol_of(port.port, port.name, port.app_protocol))
            )
        )
        for ip, services in services_by_ip(facts).items()
    }


def speaking_ports(facts: Facts | None) -> Mapping[Address, tuple[tuple[int, Asked], ...]]:
    """Return the TCP ports of each external IP that answer a question or speak first, each with how to ask."""
    return {
        ip: tuple(
            dict.fromkeys(
                (port.port, asked)
                for one in services
                for port in one.ports
                if port.protocol == "TCP"
                and (asked := tcp_questions.protocol_of(port.port, port.name, port.app_protocol)) is not None
            )
        )
        for ip, services in services_by_ip(facts).items()
    }


def off_segment(error: Inconclusive, facts: Facts | None, targets: Targets) -> tuple[Result, ...]:
    """Return the results if this machine is not on the segment, so that nothing could be asked."""
    blank = Result(
        ip="",
        family="",
        service="",
        pool="",
        verdict="INCONCLUSIVE_PROBE_LOCATION",
        confidence="certain",
        evidence=(f"{error.message}.",),
        remedy=f"{error.remedy}.",
    )
    return _everywhere(blank, facts, targets)


def _everywhere(result: Result, facts: Facts | None, targets: Targets) -> tuple[Result, ...]:
    """Return one result for every address; services without an address need no capture and keep their own."""
    external = services_by_ip(facts)
    same = tuple(
        replace(
            result,
            ip=str(ip),
            family="ipv4" if ip.version == 4 else "ipv6",
            service=", ".join(one.key for one in external.get(ip, ())),
        )
        for ip in targets.ips
    )
    return same + tuple(diagnosis.diagnose_pending(facts, service) for service in targets.pending if facts is not None)

"""Look closer at addresses in doubt: ask again what was not answered, try the owner's own address, wait for a flap.

A first run asks everything once or twice. What it leaves open is asked here, and only that, so that a check of a
thousand healthy addresses stays short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address

from provisioner.l2 import diagnosis
from provisioner.l2.facts import Facts
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Address, Capture, Via, merge
from provisioner.l2.probe.interfaces import Interface
from provisioner.l2.probe.probe_target import ProbeTarget
from provisioner.l2.probe.sequence import ask_again, probe, probe_through

_AGAIN = 4  # further questions of each kind; in a row, so that one lost in two does not look like a kind
_MOST = 50  # addresses; more in doubt share a cause, and a sample shows it
_KUBELET = 10250  # a port on which every node answers, if only by a refusal
_CALM = 6.0  # seconds for which a moved address is watched: flapping takes some
_WATCH_EVERY = 0.3

Wanted = tuple[Address, Kind, str]


def at_doubts(
    capture: Capture,
    facts: Facts | None,
    targets: Sequence[ProbeTarget],
    interface: Interface,
    *,
    pps: int,
    arp_probe: bool,
    timeout: float,
    attempts: int,
    progress: Callable[[str], None] | None = None,
) -> Capture:
    """Return the capture with what a closer look adds. targets: the addresses in question, and what was asked."""
    tell = progress or (lambda _: None)
    ips = [target.ip for target in targets]
    if not capture.answers:
        # Not one node answers. Whether the router does tells a dead link from a segment kept apart; whether the nodes
        # do over IPv4 tells that from a filter for IPv6.
        own = [ip_address(text) for node in (facts.nodes if facts else ()) for text in node.internal_ips]
        others = [*capture.vantage.gateways, *(ip for ip in own if ip not in capture.asked and interface.reaches(ip))]
        asked = [(ip, Kind.REQUEST, "") for ip in others if ip.version == 4]
        capture = merge(capture, ask_again(interface, [asked] * 2, pps=pps, pause=timeout)) if asked else capture
    doubted = [ip for ip in ips if _unanswered(capture, ip)][:_MOST]
    if doubted:
        tell("asking again what was not answered")
        rounds = _rounds({ip: _unanswered(capture, ip) for ip in doubted}, arp_probe)
        capture = merge(capture, ask_again(interface, rounds, pps=pps))
    moved = [ip for ip in ips if diagnosis.has_moved(capture, ip)][:_MOST]
    if moved:
        tell("waiting for an address that moves to settle")
        rounds = [[(ip, Kind.REQUEST, "") for ip in moved]] * round(_CALM / _WATCH_EVERY)
        capture = merge(capture, ask_again(interface, rounds, pps=pps, pause=_WATCH_EVERY))
        # The new owner has not been tried yet.
        asks = [replace(target, unicast_to=(), echo=False, speaks=()) for target in targets if target.ip in moved]
        again = probe(interface, asks, pps=pps, arp_probe=False, tail=timeout, attempts=attempts)
        capture = merge(capture, again)
    if reached := _own_addresses(capture, facts, ips):
        tell("trying the nodes' own addresses")
        asks = [ProbeTarget(ip, ports=(_KUBELET,)) for ip in reached]
        capture = merge(capture, probe(interface, asks, pps=pps, arp_probe=arp_probe, tail=timeout, attempts=2))
    return capture


def _unanswered(capture: Capture, ip: Address) -> dict[Kind, str]:
    """Return the kinds of question that one of the address's owners left unanswered at least once.

    The value is the MAC of a unicast. Unicast solicitations are left out: MetalLB never answers them.
    """
    macs = capture.macs(ip)
    heard = {mac: diagnosis.answered_times(capture, ip, mac) for mac in macs}
    found = {
        kind: ""
        for kind in (Kind.PROBE, Kind.REQUEST)
        if kind in capture.asked.get(ip, ())
        and any(times[kind] < capture.times.get(ip, {}).get(kind, 1) for times in heard.values())
    }
    if ip.version == 4 and len(macs) == 1 and macs[0] in capture.unicast_to.get(ip, ()):
        found |= {} if heard[macs[0]][Kind.UNICAST] else {Kind.UNICAST: macs[0]}
    return found


def _rounds(doubts: dict[Address, dict[Kind, str]], arp_probe: bool) -> list[list[Wanted]]:
    """Return rounds of questions: first all of one kind, then all of the next."""
    kinds = [Kind.PROBE, Kind.REQUEST, Kind.UNICAST] if arp_probe else [Kind.REQUEST, Kind.UNICAST]
    rounds: list[list[Wanted]] = []
    for kind in kinds:
        # Where a probe was not answered, requests are asked again too, so that the two can be compared.
        asked: list[Wanted] = [
            (ip, kind, own.get(kind, ""))
            for ip, own in doubts.items()
            if kind in own or (kind is Kind.REQUEST and Kind.PROBE in own)
        ]
        rounds += [asked] * (_AGAIN if asked else 0)
    return rounds


def _own_addresses(capture: Capture, facts: Facts | None, ips: Iterable[Address]) -> tuple[Address, ...]:
    """Return the own addresses of nodes through which every connection to an address was lost."""
    if facts is None:
        return ()
    outcomes: dict[tuple[Address, str], set[str]] = {}
    for shake in capture.handshakes:
        outcomes.setdefault((shake.ip, shake.mac), set()).add(shake.outcome)
    wanted = set(ips)
    lost = {mac for (ip, mac), tried in outcomes.items() if ip in wanted and tried == {"silent"}}
    nodes = [ip_address(text) for node in facts.nodes for text in node.internal_ips]
    return tuple(dict.fromkeys(ip for ip in nodes if lost & set(capture.macs(ip))))


def through_router(
    capture: Capture, facts: Facts | None, interface: Interface, router: Address, *, pps: int
) -> Capture:
    """Return the capture with what came of SYNs in frames to a router, for the ports that are open directly.

    A packet to a node's own address shows whether the router forwards packets back onto this segment at all.
    Raises Inconclusive.
    """
    opened = [
        (shake.ip, shake.port)
        for shake in capture.handshakes
        if shake.outcome == "open" and shake.protocol == "TCP" and shake.ip.version == router.version
    ]
    nodes = [ip_address(text) for node in (facts.nodes if facts else ()) for text in node.internal_ips]
    controls = [ip for ip in nodes if ip.version == router.version and capture.macs(ip)][:3]
    mac, handshakes, echoed = probe_through(interface, router, tuple(dict.fromkeys(opened)), controls, pps=pps)
    forwards = any(shake.outcome in ("open", "refused") for shake in handshakes) or any(echoed.values())
    return replace(capture, via=Via(router, mac, (forwards if mac and echoed else forwards or None), handshakes))

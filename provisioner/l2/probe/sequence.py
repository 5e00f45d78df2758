"""Probe addresses in every way that yields evidence, in an order that disturbs nobody, and return a capture.

First come broadcasts: ARP probes and requests, repeated once for silent addresses. Unicasts follow only when the time
for answers is over, since an answer does not say which of the two it belongs to. The first SYNs and an echo go through
each owner as soon as it is known, the others at the end.

A sweep sends requests first and listens for the whole tail. Meanwhile it sends ARP probes, to silent addresses and
then to as many owners as time allows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from provisioner.l2.probe import interfaces, questions
from provisioner.l2.probe.arp import Kind, Question
from provisioner.l2.probe.capture import Address, Capture, Handshake
from provisioner.l2.probe.connecting import Connecting
from provisioner.l2.probe.interfaces import Interface
from provisioner.l2.probe.probe_run import ProbeRun, listen_until
from provisioner.l2.probe.probe_target import ProbeTarget, merged
from provisioner.l2.probe.prober import DEFAULT_PPS, TAIL, Prober

ATTEMPTS = 10  # connections to each port


def probe(
    interface: Interface,
    targets: Sequence[ProbeTarget],
    *,
    others: Sequence[Address] = (),
    pps: int = DEFAULT_PPS,
    arp_probe: bool = True,
    tail: float = TAIL,
    retry: bool = True,
    passes: int = 2,
    attempts: int = ATTEMPTS,
    progress: Callable[[str], None] | None = None,
) -> Capture:
    """Ask for every address and return everything heard; this machine's own addresses are skipped.

    interface: see `interfaces.choose`; one without an address sends ARP probes only. others: addresses to sweep
    meanwhile, in this many passes, all but the first to silent ones only. arp_probe: False sends no ARP probes,
    for networks that inspect ARP; retry: ask once more for silent targets. attempts: connections to each port that
    answers. tail: seconds to listen after the first and the last question, at least 1; half of it after the later
    passes of a sweep. progress: is told what comes next. Raises Inconclusive: no CAP_NET_RAW, interface lost.
    """
    tell = progress or (lambda _: None)
    tail = max(TAIL, tail)
    vantage = interfaces.vantage(interface)
    asks = merged(ask for ask in targets if ask.ip not in vantage.own_addresses)
    swept = [ip for ip in dict.fromkeys(others) if ip not in vantage.own_addresses and ip not in asks]
    started = time.time()
    with Prober(interface, pps) as prober:
        run = ProbeRun(prober, vantage)
        connecting = Connecting(prober, attempts)
        prober.keep_announcements([*asks, *swept])
        tell("asking all hosts")
        if arp_probe:
            run.send(questions.arp_probe(interface, ip) for ip in asks)
        run.send(questions.request(interface, ip) for ip in asks)
        half, clear = time.monotonic() + tail / 2, time.monotonic() + tail
        run.send(run.first_question(ip, arp_probe) for ip in swept)
        end = time.monotonic() + tail
        for left in reversed(range(passes - 1)):
            if run.send(run.second_question(ip, arp_probe) for ip in prober.unanswered(swept)):
                end = max(end, time.monotonic() + tail / 2)
                if left:
                    prober.listen(tail / 2)
        if asks:
            listen_until(prober, half)
            _connect(run, connecting, asks)
            silent = [run.second_question(ip, arp_probe) for ip in (prober.unanswered(asks) if retry else ())]
            if run.send(silent):
                end = max(end, time.monotonic() + tail)
                if any(question is not None and question.kind is Kind.REQUEST for question in silent):
                    clear = end
        if arp_probe:
            run.send(run.confirmation_probes(swept, end))
        listen_until(prober, clear)
        if _send_unicasts(run, connecting, asks, tell):
            end = max(end, time.monotonic() + tail)
        listen_until(prober, end)
        if run.outstanding:
            prober.listen(tail / 2, until=run.confirmed)
        _connect(run, connecting, asks)  # owners that answered unicasts only
        connecting.settle()
        if connecting.sent:
            tell("connecting to each Service")
            connecting.rest()
            run.exchanges = connecting.converse(asks)
        return run.capture(dict.fromkeys([*(ask.ip for ask in targets), *others]), started, pps)


def _send_unicasts(
    run: ProbeRun, connecting: Connecting, asks: Mapping[Address, ProbeTarget], tell: Callable[[str], None]
) -> int:
    """Send the unicasts, then SYNs through the owners; return how many unicasts were sent."""
    single = [(ip, mac) for ip, ask in asks.items() for mac in ask.unicast_to]
    if single:
        tell("asking each node")
    sent = run.send(questions.unicast(run.prober.interface, ip, mac) for ip, mac in single)
    _connect(run, connecting, asks)
    return sent


def _connect(run: ProbeRun, connecting: Connecting, asks: Mapping[Address, ProbeTarget]) -> None:
    """Begin the first connections through each owner known so far, and send one echo for each address."""
    owners = run.owners()
    connecting.scout(asks, owners)
    for ip, macs in owners.items():
        if ip in asks and asks[ip].echo and ip not in run.echo_sent and run.prober.echo(ip, macs[0]):
            run.echo_sent.add(ip)


def ask_again(
    interface: Interface,
    rounds: Sequence[Sequence[tuple[Address, Kind, str]]],
    *,
    pps: int = DEFAULT_PPS,
    tail: float = TAIL,
    pause: float = 0.1,
) -> Capture:
    """Ask single questions in rounds, a pause apart so that each reply is matched to its own; return what was heard.

    A question is the address, the kind, and the MAC of a unicast. Raises Inconclusive.
    """
    started = time.time()
    with Prober(interface, pps) as prober:
        run = ProbeRun(prober, interfaces.vantage(interface))
        for number, wanted in enumerate(rounds):
            if number:
                prober.listen(pause)
            run.send(_question(interface, *one) for one in wanted)
        prober.listen(tail)
        return run.capture(dict.fromkeys(ip for wanted in rounds for ip, _, _ in wanted), started, pps)


def _question(interface: Interface, ip: Address, kind: Kind, to: str) -> Question | None:
    if kind is Kind.UNICAST:
        return questions.unicast(interface, ip, to)
    return questions.arp_probe(interface, ip) if kind is Kind.PROBE else questions.request(interface, ip)


def probe_through(
    interface: Interface,
    router: Address,
    ports: Sequence[tuple[Address, int]],
    controls: Sequence[Address],
    *,
    pps: int = DEFAULT_PPS,
    attempts: int = 3,
) -> tuple[str, tuple[Handshake, ...], dict[Address, bool]]:
    """Send SYNs, and an echo to each control, in frames to a router.

    Return the router's MAC, "" if it does not answer; the outcomes; and whether each control answered.
    Raises Inconclusive.
    """
    with Prober(interface, pps) as prober:
        run = ProbeRun(prober, interfaces.vantage(interface))
        for _ in range(2):
            run.send([questions.request(interface, router)])
            prober.listen(TAIL, until=lambda: bool(prober.answers))
        mac = prober.answers[0].mac if prober.answers else ""
        if not mac:
            return "", (), {}
        echoed = {ip: False for ip in controls if prober.echo(ip, mac)}
        for _ in range(attempts):
            for ip, port in ports:
                prober.send_syn(ip, mac, port, tries=2)
        Connecting(prober, attempts).settle()
        prober.listen(TAIL, until=lambda: set(controls) <= prober.echoed)
        return mac, tuple(prober.handshakes), {ip: ip in prober.echoed for ip in echoed}

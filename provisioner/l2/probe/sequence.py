"""Probe addresses in every way that yields evidence, in an order that disturbs nobody, and return a capture.

First come broadcasts: ARP probes and requests, repeated once for silent addresses. Unicasts follow only when the time
for answers is over, since an answer does not say which of the two it belongs to. A SYN and an echo go through each
owner as soon as it is known.

A sweep sends requests first and listens for the whole tail. Meanwhile it sends ARP probes, to silent addresses and
then to as many owners as time allows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from provisioner.l2.probe import interfaces, questions
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Address, Capture
from provisioner.l2.probe.interfaces import Interface
from provisioner.l2.probe.probe_run import ProbeRun, listen_until
from provisioner.l2.probe.prober import DEFAULT_PPS, PATIENCE, TAIL, Prober

SYN_TRIES = 2  # SYNs to one port through one owner that stays silent


@dataclass(frozen=True)
class ProbeTarget:
    """What to find out about one address.

    ports: TCP ports to try through each owner that answers; unicast_to: MACs to ask directly. echo: send one ICMP echo
    through the first owner; its answer is never a criterion.
    """

    ip: Address
    ports: tuple[int, ...] = ()
    unicast_to: tuple[str, ...] = ()
    echo: bool = True


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
    progress: Callable[[str], None] | None = None,
) -> Capture:
    """Ask for every address and return everything heard; this machine's own addresses are skipped.

    interface: see `interfaces.choose`; one without an address sends ARP probes only. others: addresses to sweep
    meanwhile, in this many passes, all but the first to silent ones only. arp_probe: False sends no ARP probes, for
    networks that inspect ARP; retry: ask once more for silent targets. tail: seconds to listen after the first and the
    last question, at least 1; half of it after the later passes of a sweep. progress: is told what comes next.
    Raises Inconclusive: no CAP_NET_RAW, interface lost.
    """
    tell = progress or (lambda _: None)
    tail = max(TAIL, tail)
    vantage = interfaces.vantage(interface)
    asks = _merged(ask for ask in targets if ask.ip not in vantage.own_addresses)
    swept = [ip for ip in dict.fromkeys(others) if ip not in vantage.own_addresses and ip not in asks]
    started = time.time()
    with Prober(interface, pps) as prober:
        run = ProbeRun(prober, vantage)
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
            _connect_through_owners(run, asks)
            silent = [run.second_question(ip, arp_probe) for ip in (prober.unanswered(asks) if retry else ())]
            if run.send(silent):
                end = max(end, time.monotonic() + tail)
                if any(question is not None and question.kind is Kind.REQUEST for question in silent):
                    clear = end
        if arp_probe:
            run.send(run.confirmation_probes(swept, end))
        listen_until(prober, clear)
        if _send_unicasts(run, asks, tell):
            end = max(end, time.monotonic() + tail)
        listen_until(prober, end)
        if run.outstanding:
            prober.listen(tail / 2, until=run.confirmed)
        _connect_through_owners(run, asks)  # owners that answered unicasts only
        prober.listen(max(PATIENCE, tail), until=lambda: not prober.pending_syns)
        prober.expire_syns()
        return run.capture(dict.fromkeys([*(ask.ip for ask in targets), *others]), started, pps)


def _merged(asks: Iterable[ProbeTarget]) -> dict[Address, ProbeTarget]:
    """Return one target for each address, with everything asked about it."""
    found: dict[Address, ProbeTarget] = {}
    for ask in asks:
        one = found.get(ask.ip, ProbeTarget(ask.ip, echo=False))
        found[ask.ip] = ProbeTarget(
            ask.ip,
            tuple(dict.fromkeys(one.ports + ask.ports)),
            tuple(dict.fromkeys(one.unicast_to + tuple(mac.lower() for mac in ask.unicast_to))),
            one.echo or ask.echo,
        )
    return found


def _send_unicasts(run: ProbeRun, asks: Mapping[Address, ProbeTarget], tell: Callable[[str], None]) -> int:
    """Send the unicasts, then SYNs through the owners; return how many unicasts were sent."""
    single = [(ip, mac) for ip, ask in asks.items() for mac in ask.unicast_to]
    if single:
        tell("asking each node")
    sent = run.send(questions.unicast(run.prober.interface, ip, mac) for ip, mac in single)
    _connect_through_owners(run, asks)
    return sent


def _connect_through_owners(run: ProbeRun, asks: Mapping[Address, ProbeTarget]) -> None:
    """Send SYNs to each port through each owner known so far, up to SYN_TRIES, and one echo for each address."""
    heard = {(shake.ip, shake.mac, shake.port) for shake in run.prober.handshakes if shake.outcome != "silent"}
    for ip, macs in run.owners().items():
        if ip not in asks:
            continue
        for key in [(ip, mac, port) for mac in macs for port in asks[ip].ports]:
            if run.syns_sent[key] < SYN_TRIES and key not in heard and run.prober.send_syn(*key):
                run.syns_sent[key] += 1
        if asks[ip].echo and ip not in run.echo_sent and run.prober.echo(ip, macs[0]):
            run.echo_sent.add(ip)

"""Ask for addresses by every way that tells something, in an order that disturbs nobody, and return all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from provisioner.l2 import frames, interfaces
from provisioner.l2.frames import Kind
from provisioner.l2.interfaces import Interface
from provisioner.l2.prober import DEFAULT_PPS, TAIL, Prober
from provisioner.l2.wire import Address, Wire


@dataclass(frozen=True)
class Ask:
    """What to find out about one address.

    ports: the TCP ports to try through each owner that answers; unicast_to: the MACs to ask directly. echo: send one
    ICMP echo through an owner; its answer is never a criterion.
    """

    ip: Address
    ports: tuple[int, ...] = ()
    unicast_to: tuple[str, ...] = ()
    echo: bool = True


def probe(
    interface: Interface,
    targets: Sequence[Ask],
    *,
    pps: int = DEFAULT_PPS,
    zero: bool = True,
    tail: float = TAIL,
    again: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Wire:
    """Ask for every address and return everything that was heard; addresses of this machine are not asked for.

    interface: see `interfaces.choose`; without an address of its own only Z is asked. zero=False leaves Z out, for
    networks that inspect ARP; again: one more Z, the second and last, for those that were silent. tail: seconds to
    listen after the last question, at least 1. progress: told in a few words what comes next.
    Raises Inconclusive: no CAP_NET_RAW, interface lost.
    """
    tell = progress or (lambda _: None)
    vantage = interfaces.vantage(interface)
    asks = [ask for ask in targets if ask.ip not in vantage.own_addresses]
    ips = list(dict.fromkeys(ask.ip for ask in asks if isinstance(ask.ip, IPv4Address)))
    asked: dict[Address, set[Kind]] = {ip: set() for ip in ips}
    started = time.time()
    with Prober(interface, pps) as prober:

        def send(questions: Sequence[frames.Question]) -> None:
            for question in questions:
                asked[question.target].add(question.kind)
            prober.send(questions)

        sources = {ip: source for ip in ips if isinstance(source := interface.source_for(ip), IPv4Address)}
        tell(f"asking for {len(ips)} addresses")
        if zero:
            send([frames.zero(ip, interface.mac) for ip in ips])
        send([frames.client(ip, interface.mac, source) for ip, source in sources.items()])
        if zero and again:
            prober.listen(max(TAIL, tail) / 2)
            send([frames.zero(ip, interface.mac) for ip in ips if ip in prober.silent(ips)])
        send(
            [
                frames.unicast(ip, interface.mac, source, mac)
                for ip, source in sources.items()
                for mac in dict.fromkeys(mac for ask in asks if ask.ip == ip for mac in ask.unicast_to)
            ]
        )
        prober.listen(max(TAIL, tail))
        return Wire(
            vantage=vantage,
            targets=tuple(dict.fromkeys(ask.ip for ask in targets)),
            answers=tuple(prober.answers),
            announcements=tuple(prober.announcements),
            handshakes=tuple(prober.handshakes),
            asked={ip: frozenset(kinds) for ip, kinds in asked.items()},
            unicast_to={ask.ip: ask.unicast_to for ask in asks if ask.unicast_to},
            started=started,
            sent=prober.sent,
            received=prober.received,
            dropped=prober.dropped,
            pps=pps,
        )

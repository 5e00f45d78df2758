"""Sweep addresses: every owner of each, and nobody missed who needs a little longer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from provisioner.l2 import frames
from provisioner.l2.interfaces import Interface
from provisioner.l2.prober import DEFAULT_PPS, TAIL, Answer, Prober


@dataclass(frozen=True)
class Sweep:
    """What a sweep heard. own: targets that this machine itself holds, and which were therefore not asked for.

    dropped: frames that the kernel lost for lack of room: above 0, silence proves nothing.
    """

    interface: Interface
    targets: tuple[IPv4Address, ...]
    own: tuple[IPv4Address, ...]
    answers: tuple[Answer, ...]
    started: float
    sent: int
    dropped: int

    @property
    def owners(self) -> Mapping[IPv4Address, tuple[str, ...]]:
        """Return the MACs that answered for each address, in order of their first answer; silent ones absent."""
        found: dict[IPv4Address, dict[str, None]] = {}
        for answer in self.answers:
            found.setdefault(answer.ip, {})[answer.mac] = None
        return {ip: tuple(macs) for ip, macs in found.items()}

    def only(self, targets: Iterable[IPv4Address]) -> Sweep:
        """Return the part of the sweep that is about these targets."""
        kept = set(targets)
        return replace(
            self,
            targets=tuple(target for target in self.targets if target in kept),
            own=tuple(target for target in self.own if target in kept),
            answers=tuple(answer for answer in self.answers if answer.ip in kept),
        )


def scan(
    addresses: Sequence[IPv4Address],
    interface: Interface,
    *,
    pps: int = DEFAULT_PPS,
    tail: float = TAIL,
    zero: bool = True,
    again: bool = False,
) -> Sweep:
    """Ask for every address, as nobody (Z) and as a client (B), and return every answer.

    interface: see `interfaces.choose`; without an address of its own only Z is asked. tail: seconds to listen after
    the last question, at least 1. zero=False leaves Z out, for networks that inspect ARP. again: one more Z, the
    second and last, for those that were silent. Raises Inconclusive (no CAP_NET_RAW, interface lost).
    """
    targets = tuple(dict.fromkeys(addresses))
    held = {own.ip for own in interface.addresses}
    asked = [target for target in targets if target not in held]
    started = time.time()
    with Prober(interface, pps) as prober:
        if zero:
            prober.send([frames.zero(target, interface.mac) for target in asked])
        sources = [(target, interface.source_for(target)) for target in asked]
        prober.send([frames.client(target, interface.mac, own) for target, own in sources if own is not None])
        if zero and again:
            prober.listen(max(TAIL, tail) / 2)
            prober.send([frames.zero(target, interface.mac) for target in prober.silent(asked)])
        prober.listen(max(TAIL, tail))
        return Sweep(
            interface,
            targets,
            tuple(target for target in targets if target in held),
            tuple(prober.answers),
            started,
            prober.sent,
            prober.dropped,
        )

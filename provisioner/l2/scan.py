"""Sweep addresses: every owner of each, and nobody missed who needs a little longer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from provisioner.l2.interfaces import Interface
from provisioner.l2.probe import Ask, probe
from provisioner.l2.prober import DEFAULT_PPS, TAIL
from provisioner.l2.wire import Address, Wire


@dataclass(frozen=True)
class Sweep(Wire):
    """A Wire with the names that the listing still uses."""

    @property
    def own(self) -> tuple[Address, ...]:
        """Return the targets that this machine itself holds."""
        return tuple(target for target in self.targets if target in self.vantage.own_addresses)

    @property
    def interface(self) -> Any:
        """Return the name and the MAC of where it was asked from."""
        return SimpleNamespace(name=self.vantage.interface, mac=self.vantage.mac)

    @property
    def owners(self) -> Mapping[Address, tuple[str, ...]]:
        """Return the MACs that answered for each address, in order of their first answer; silent ones absent."""
        return {ip: self.macs(ip) for ip in dict.fromkeys(answer.ip for answer in self.answers)}

    def only(self, targets: Iterable[Address]) -> Sweep:
        """Return the part of the sweep that is about these targets."""
        kept = set(targets)
        return replace(
            self,
            targets=tuple(target for target in self.targets if target in kept),
            answers=tuple(answer for answer in self.answers if answer.ip in kept),
        )


def scan(
    addresses: Sequence[Address],
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
    asks = [Ask(address, echo=False) for address in dict.fromkeys(addresses)]
    wire = probe(interface, asks, pps=pps, zero=zero, tail=tail, again=again)
    return Sweep(**vars(wire))

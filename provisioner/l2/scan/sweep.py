"""Sweep addresses: every owner of each, and nobody missed who needs a little longer."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.l2.probe.capture import Address, Capture
from provisioner.l2.probe.interfaces import Interface
from provisioner.l2.probe.prober import DEFAULT_PPS, TAIL
from provisioner.l2.probe.sequence import probe


def sweep(
    addresses: Sequence[Address],
    interface: Interface,
    *,
    pps: int = DEFAULT_PPS,
    tail: float = TAIL,
    arp_probe: bool = True,
    again: bool = False,
) -> Capture:
    """Ask for every address in two passes and return every answer; addresses of this machine are not asked for.

    interface: see `interfaces.choose`; without an address of its own only Z is asked. tail: seconds to listen for
    answers of each address, at least 1, and half of it after the second question to a silent one. zero=False leaves
    Z out, for networks that inspect ARP. again: a third pass for those that are still silent.
    Raises Inconclusive (no CAP_NET_RAW, interface lost).
    """
    return probe(interface, (), others=addresses, pps=pps, arp_probe=arp_probe, tail=tail, passes=3 if again else 2)

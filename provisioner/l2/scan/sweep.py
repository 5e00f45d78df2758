"""Sweep addresses for every owner of each, in two passes so that slow hosts are not missed."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.l2.probe.capture import Address, Capture
from provisioner.l2.probe.interfaces import Interface
from provisioner.l2.probe.prober import TAIL
from provisioner.l2.probe.sequence import probe


def sweep(addresses: Sequence[Address], interface: Interface, *, tail: float = TAIL) -> Capture:
    """Request every address in two passes and return every reply; this machine's own addresses are skipped.

    interface: see `interfaces.choose`; one without an address sends ARP probes (Z) only. tail: seconds to wait for
    replies for each address, at least 1, and half as long after the second request for a silent one.
    Raises Inconclusive (no CAP_NET_RAW, interface lost).
    """
    return probe(interface, (), others=addresses, tail=tail)

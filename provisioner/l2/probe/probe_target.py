"""What a probe is to find out about one address."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from provisioner.l2.probe.capture import Address
from provisioner.l2.probe.conversation import Asked


@dataclass(frozen=True)
class ProbeTarget:
    """What to find out about one address.

    ports: TCP ports to try through each owner that answers; udp: UDP ports, each with the protocol to ask in; speaks:
    TCP ports, each with how to ask it once it is open. unicast_to: MACs to ask directly. echo: send one ICMP echo
    through the first owner; its answer is never a criterion.
    """

    ip: Address
    ports: tuple[int, ...] = ()
    unicast_to: tuple[str, ...] = ()
    echo: bool = True
    udp: tuple[tuple[int, str], ...] = ()
    speaks: tuple[tuple[int, Asked], ...] = ()


def merged(asks: Iterable[ProbeTarget]) -> dict[Address, ProbeTarget]:
    """Return one target for each address, with everything asked about it."""
    found: dict[Address, ProbeTarget] = {}
    for ask in asks:
        one = found.get(ask.ip, ProbeTarget(ask.ip, echo=False))
        found[ask.ip] = ProbeTarget(
            ask.ip,
            tuple(dict.fromkeys(one.ports + ask.ports)),
            tuple(dict.fromkeys(one.unicast_to + tuple(mac.lower() for mac in ask.unicast_to))),
            one.echo or ask.echo,
            tuple(dict.fromkeys(one.udp + ask.udp)),
            tuple(dict.fromkeys(one.speaks + ask.speaks)),
        )
    return found

"""Groups of VRRP, HSRP and CARP on a segment: who is master of each, and what a group with several masters means.

A group has one master at a time; the others are silent (RFC 9568, 6.4). Two that keep on advertising do not hear each
other, or one of them is another group with the same number; masters that take turns are at war.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from provisioner.l2.probe.router_adverts import Address, Protocol, RouterAdvert

TURNS = 3  # changes of the master that are a war; one is a failover, and two its return
MISSED = (
    3.0  # intervals without an advertisement after which a backup takes over (RFC 9568, 6.1: Master_Down_Interval)
)

State = Literal["one master", "number used twice", "two masters", "war"]


@dataclass(frozen=True)
class Master:
    """A sender of a group's advertisements. first, last: Unix time; pauses: how often it fell silent and came back."""

    source: Address
    mac: str
    priority: int
    version: int
    authentication: int
    addresses: tuple[Address, ...]
    first: float
    last: float
    count: int
    pauses: int


@dataclass(frozen=True)
class Group:
    """A group of one IP version. turns: how often the master changed; given_up: a master sent priority 0."""

    protocol: Protocol
    number: int
    name: str
    masters: tuple[Master, ...]
    turns: int
    given_up: bool
    interval: float

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Return all addresses that its masters name."""
        return tuple(dict.fromkeys(ip for master in self.masters for ip in master.addresses))

    @property
    def state(self) -> State:
        """Return what its masters are to each other, as far as they were heard."""
        if len(self.masters) < 2:
            return "one master"
        named = [set(master.addresses) for master in self.masters if master.addresses]
        if any(not one & other for place, one in enumerate(named) for other in named[:place]):
            return "number used twice"
        if self.turns >= TURNS and (self.given_up or any(master.pauses for master in self.masters)):
            return "war"
        return "two masters" if self._together() else "one master"

    def _together(self) -> bool:
        """Tell whether two masters went on advertising after both had begun; a handover ends with the new one."""
        begun = max(master.first for master in self.masters)
        return sum(master.last > begun for master in self.masters) > 1


def groups(adverts: Iterable[RouterAdvert]) -> tuple[Group, ...]:
    """Return the groups of a run's advertisements, in order of their first one."""
    found: dict[tuple[Protocol, int, int], list[RouterAdvert]] = {}
    for advert in sorted(adverts, key=lambda one: one.timestamp):
        found.setdefault((advert.protocol, advert.group, advert.source.version), []).append(advert)
    return tuple(_group(own) for own in found.values())


def _group(adverts: list[RouterAdvert]) -> Group:
    by_source: dict[Address, list[RouterAdvert]] = {}
    for advert in adverts:
        by_source.setdefault(advert.source, []).append(advert)
    first = adverts[0]
    interval = max(advert.interval for advert in adverts)
    return Group(
        first.protocol,
        first.group,
        first.name,
        tuple(_master(own, interval) for own in by_source.values()),
        sum(before.source != after.source for before, after in pairwise(adverts)),
        any(advert.priority == 0 for advert in adverts),
        interval,
    )


def _master(own: list[RouterAdvert], interval: float) -> Master:
    last = own[-1]
    pauses = sum(after.timestamp - before.timestamp > MISSED * interval for before, after in pairwise(own))
    return Master(
        last.source,
        last.mac,
        max(advert.priority for advert in own),
        last.version,
        last.authentication,
        tuple(dict.fromkeys(ip for advert in own for ip in advert.addresses)),
        own[0].timestamp,
        last.timestamp,
        len(own),
        pauses,
    )

"""The guard's loop: hear, ask when it is time, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import dropwhile

from provisioner.l2.guard.event import Event
from provisioner.l2.guard.known import Known
from provisioner.l2.guard.listening import Listener
from provisioner.l2.guard.watcher import Watcher
from provisioner.l2.probe.capture import Address

TICK = 0.5  # seconds
SLEPT = 30.0  # seconds without a tick: the machine was suspended, or the clock was set
FREE_EVERY = 10.0  # seconds between questions for pool addresses that nobody should have
NODES_EVERY = 600.0  # seconds between questions for the nodes' own addresses
PACE = 20  # questions per second at most, all together
MOST_FREE = 65536  # addresses of a pool that are asked in turn; an IPv6 network is only listened to


@dataclass
class Schedule:
    """What is asked besides the watched addresses. free_due, nodes_due: Unix times; last: the last free one asked."""

    known: Known
    free_due: float = 0.0
    nodes_due: float = 0.0
    last: Address | None = None

    def __post_init__(self) -> None:
        self._turns = _turns(self.known, self.last)

    def free(self, now: float) -> Address | None:
        """Return the pool address to ask for now, None if it is not time."""
        if now < self.free_due:
            return None
        self.free_due = now + FREE_EVERY
        self.last = next(self._turns, None)
        return self.last

    def nodes(self, now: float) -> tuple[Address, ...]:
        """Return the nodes' addresses to ask for now."""
        if now < self.nodes_due:
            return ()
        self.nodes_due = now + NODES_EVERY
        return tuple(self.known.nodes)


def _turns(known: Known, after: Address | None) -> Iterator[Address]:
    """Yield the free addresses again and again, from the one behind `after` on."""
    rest = dropwhile(lambda ip: ip != after, _free(known)) if after is not None else iter(())
    next(rest, None)
    yield from rest
    while True:
        number = 0
        for number, ip in enumerate(_free(known), 1):  # noqa: B007
            yield ip
        if not number:
            return


def _free(known: Known) -> Iterator[Address]:
    """Yield the addresses of pools that no Service has and no node."""
    for one in (one for held in known.pools.values() for one in held if one.size <= MOST_FREE):
        for number in range(int(one.first), int(one.last) + 1):
            ip: Address = IPv4Address(number) if one.first.version == 4 else IPv6Address(number)
            if ip not in known.assigned and ip not in known.nodes:
                yield ip


def run(
    listener: Listener,
    watcher: Watcher,
    *,
    every: float,
    report: Callable[[Event], None],
    refresh: Callable[[], Known | None],
    show: Callable[[], None],
    stop: Callable[[], bool],
) -> None:
    """Guard until `stop`. every: seconds between two questions for an address. refresh: returns new facts, or None.

    Raises Inconclusive if the interface is lost.
    """
    schedule = Schedule(watcher.known)
    last = time.time()
    while not stop():
        for found in listener.listen(TICK):
            for event in watcher.hear(found, time.time()):
                report(event)
        now = time.time()
        if not 0 <= now - last <= SLEPT:
            watcher.pause()
            schedule.free_due = schedule.nodes_due = now
        last = now
        for event in watcher.tick(now):
            report(event)
        if (known := refresh()) is not None:
            watcher.update(known)
            schedule = Schedule(known, schedule.free_due, schedule.nodes_due, schedule.last)
        _ask(listener, watcher, schedule, every, now)
        show()


def _ask(listener: Listener, watcher: Watcher, schedule: Schedule, every: float, now: float) -> None:
    """Ask for what is due, at most at `PACE`, so that a thousand addresses are spread over time."""
    left = max(1, int(PACE * TICK))
    for ip in list(watcher.due(now, every))[:left]:
        if listener.ask(ip):
            watcher.asked(ip, now)
        left -= 1
    if left > 0:
        for ip in schedule.nodes(now):
            listener.ask(ip)
        if (free := schedule.free(now)) is not None:
            listener.ask(free)

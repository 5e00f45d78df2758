"""A segment in compressed time: hosts that answer, a watcher that asks, and the events that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from provisioner.l2.facts import Facts
from provisioner.l2.guard.event import Event
from provisioner.l2.guard.known import Known, known
from provisioner.l2.guard.sighting import Sighting
from provisioner.l2.guard.watcher import Watcher

W1, W2, STRANGER = "52:54:00:00:00:11", "52:54:00:00:00:12", "9c:b6:d0:12:34:56"
VIP, FREE = ip_address("192.0.2.200"), ip_address("192.0.2.205")
Answering = Callable[[float], tuple[str, ...]]


def nobody(_: float) -> tuple[str, ...]:
    """Return who answers where nobody does."""
    return ()


def facts(*, nics: bool = True) -> Facts:
    """Return a cluster with two nodes, a pool and one Service."""
    return Facts.model_validate(
        {
            "nodes": [
                {
                    "name": f"w{n}",
                    "internal_ips": (f"192.0.2.1{n}",),
                    "nics": ({"name": "eth1", "mac": f"52:54:00:00:00:1{n}"},) if nics else None,
                }
                for n in (1, 2)
            ],
            "pools": ({"name": "lab", "addresses": ("192.0.2.200-192.0.2.210",)},),
            "services": ({"namespace": "default", "name": "web", "ingress_ips": ("192.0.2.200",)},),
        }
    )


@dataclass
class Segment:
    """Who answers for each address as a function of time. asked: how often each address was asked for."""

    watched: Known = field(default_factory=lambda: known(facts(), ()))
    answering: Mapping[object, Answering] = field(default_factory=dict)
    every: float = 30.0
    now: float = 1_700_000_000.0

    def __post_init__(self) -> None:
        self.begun = self.now
        self.watcher = Watcher(self.watched, ("02:00:00:00:00:01",), (ip_address("192.0.2.1"),))
        self.asked: dict[object, int] = {}
        self.events: list[Event] = []

    def run(self, seconds: float, step: float = 1.0) -> list[Event]:
        """Let time pass; return the events of it."""
        end, before = self.now + seconds, len(self.events)
        while self.now < end:
            self.now += step
            self.events += self.watcher.tick(self.now)
            for ip in list(self.watcher.due(self.now, self.every)):
                self.watcher.asked(ip, self.now)
                self.asked[ip] = self.asked.get(ip, 0) + 1
                for mac in self.answering.get(ip, nobody)(self.now - self.begun):
                    self.hear(Sighting(ip, mac, "answers", self.now))
        return self.events[before:]

    def hear(self, found: Sighting) -> None:
        """Let a frame arrive."""
        self.events += self.watcher.hear(found, self.now)

"""The masters of VRRP, HSRP and CARP groups over time: who leads, when that changes, and when two do."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from provisioner.l2.guard.event import Event, Severity
from provisioner.l2.probe.capture import Address
from provisioner.l2.probe.router_adverts import RouterAdvert
from provisioner.text import join_words

GROUPS = 256  # groups that are kept
SENDERS = 8  # senders kept of a group
MISSED = 3.5  # intervals after which a master is silent (RFC 9568, 6.1: three, and the skew time)
TURNS = 5  # changes of the sender in a row that are two masters; a takeover has up to three


@dataclass
class _Group:
    name: str
    interval: float
    master: Address | None = None
    senders: dict[Address, float] = field(default_factory=dict)
    turns: int = 0
    previous: Address | None = None
    two: bool = False
    silent: bool = False


class Masters:
    """The groups that were heard."""

    def __init__(self) -> None:
        self._groups: OrderedDict[tuple[str, int, int], _Group] = OrderedDict()

    def hear(self, advert: RouterAdvert) -> list[Event]:
        """Take in an advertisement; return the events that it makes."""
        key = (advert.protocol, advert.group, advert.source.version)
        group = self._groups.pop(key, None) or _Group(advert.name, max(advert.interval, 0.01))
        self._groups[key] = group
        while len(self._groups) > GROUPS:
            self._groups.popitem(last=False)
        now, group.interval = advert.timestamp, max(advert.interval, 0.01)
        if advert.priority == 0:  # gives up
            group.senders.pop(advert.source, None)
            group.turns = 0
            return []
        group.senders[advert.source] = now
        group.senders = {one: last for one, last in group.senders.items() if now - last <= group.interval * MISSED}
        while len(group.senders) > SENDERS:
            del group.senders[min(group.senders, key=lambda one: group.senders[one])]
        alone = len(group.senders) == 1
        group.turns = 0 if alone else group.turns + (group.previous != advert.source)
        group.previous = advert.source
        return self._judge(group, advert, alone, now)

    def tick(self, now: float) -> list[Event]:
        """Report groups that have fallen silent."""
        events = []
        for group in self._groups.values():
            last = max(group.senders.values(), default=None)
            if last is not None and not group.silent and now - last > max(10.0, 3 * group.interval * MISSED):
                group.silent = True
                text = f"No advertisement of {group.name}; {group.master} was its master."
                events.append(Event(now, "VRRP_SILENT", "fault", group.name, text))
        return events

    def _judge(self, group: _Group, advert: RouterAdvert, alone: bool, now: float) -> list[Event]:
        """Return the event that an advertisement makes; a second sender may be a takeover until it has gone on."""
        if not alone:
            if group.two or group.turns < TURNS:
                return []
            group.two = True
            text = f"{join_words(sorted(map(str, group.senders)))} are both master of {group.name}."
            return [Event(now, "VRRP_TWO_MASTERS", "fault", group.name, text, (advert.mac,))]
        former, group.master = group.master, advert.source
        severity: Severity
        ended = group.two or group.silent
        group.two = group.silent = False
        who = f"{advert.source} (priority {advert.priority})" if advert.priority >= 0 else str(advert.source)
        if ended:
            code, severity, text = "VRRP_ALONE", "resolved", f"{who} is the only master of {group.name}."
        elif former is None:
            code, severity, text = "VRRP_FOUND", "notice", f"{who} is master of {group.name}."
        elif former != advert.source:
            code, severity, text = "VRRP_MASTER_CHANGED", "notice", f"{who} has taken {group.name} over from {former}."
        else:
            return []
        return [Event(now, code, severity, group.name, text, (advert.mac,))]

"""What a guard concludes: sightings and unanswered questions in, events out; a pure function of time, so testable.

Memory is bounded by what is watched: a few MACs for each address, a fixed number of addresses that are in use without
having been assigned, of VRRP groups and of leases.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from provisioner.l2.guard.event import Event, Severity
from provisioner.l2.guard.known import Known
from provisioner.l2.guard.masters import Masters
from provisioner.l2.guard.sighting import Sighting
from provisioner.l2.probe.capture import Address
from provisioner.l2.probe.dhcp import Lease
from provisioner.l2.probe.router_adverts import RouterAdvert
from provisioner.text import join_words

WAIT = 2.0  # seconds for the answers to a question
MISSES = 3  # questions in a row without an answer that are silence; one is a lost frame
ROUNDS = 2  # questions in a row with several owners that are a conflict; one is a handover
MOVES, PERIOD = 4, 600.0  # changes of the owner within so many seconds that are flapping
OWNERS = 8  # MACs kept for an address
STRAYS = 1024  # pool addresses in use that are kept
STRAY_FOR = 3600.0  # seconds until one that is heard no more is forgotten
GRACE = 120.0  # seconds that a node may answer for an address before its Service is known here
AGAIN = 3600.0  # seconds until the same lease or stray is reported again
_SEVERITY: dict[str, Severity] = {
    "FOUND": "notice",
    "LEADER_CHANGED": "notice",
    "ANSWERED": "resolved",
    "ALONE": "resolved",
}
_KINDS = {"ack": "confirms", "offer": "offers", "request": "has offered"}


@dataclass
class Watched:
    """An address that should be answered for. heard: the MACs that answered the open question.

    state: unknown, held, silent or conflict. misses, several: questions in a row without an answer, with several.
    """

    leader: str = ""
    state: str = "unknown"
    asked: float = 0.0
    open: bool = False
    heard: dict[str, None] = field(default_factory=dict)
    last: float = 0.0
    misses: int = 0
    several: int = 0
    again: bool = False
    suspect: str = ""
    suspected: float = 0.0
    conflict: tuple[str, ...] = ()
    foreign: str = ""
    moves: deque[float] = field(default_factory=lambda: deque(maxlen=MOVES))
    flapping: bool = False


@dataclass
class Stray:
    """A pool address that is in use and that no Service has. macs: each with when it was heard last."""

    since: float
    macs: dict[str, float] = field(default_factory=dict)
    reported: float = 0.0
    duplicate: float = 0.0


class Watcher:
    """The state of what is watched. own: MACs and addresses of this machine, whose frames say nothing."""

    def __init__(self, known: Known, own_macs: Iterable[str] = (), own_addresses: Iterable[Address] = ()) -> None:
        self.known = known
        self.watched = {ip: Watched() for ip in known.assigned}
        self.strays: OrderedDict[Address, Stray] = OrderedDict()
        self._own = frozenset(own_macs)
        self._here = frozenset(own_addresses)
        self._learned: dict[str, str] = {}  # the nodes' MACs, by their own addresses
        self._leases: OrderedDict[Address, float] = OrderedDict()
        self._masters = Masters()

    def update(self, known: Known) -> None:
        """Watch what is known now; the state of what stays is kept."""
        self.known = known
        self.watched = {ip: self.watched.get(ip, Watched()) for ip in known.assigned}
        for ip in [ip for ip in self.strays if ip in self.watched]:
            del self.strays[ip]

    def due(self, now: float, every: float) -> Iterator[Address]:
        """Yield the addresses to ask for now: every so many seconds, and at once again while in doubt."""
        for ip, one in self.watched.items():
            if not one.open and now - one.asked >= (WAIT if one.again else every):
                yield ip

    def asked(self, ip: Address, now: float) -> None:
        """Note that an address was asked for: a question is open until `WAIT` is over."""
        one = self.watched[ip]
        one.asked, one.open, one.again = now, True, False
        one.heard.clear()

    def pause(self) -> None:
        """Forget the open questions, after this machine has slept."""
        for one in self.watched.values():
            one.open, one.misses, one.several, one.again = False, 0, 0, False
            one.asked = 0.0

    def hear(self, found: Sighting | Lease | RouterAdvert, now: float) -> list[Event]:
        """Take in what a frame said; return the events that it makes."""
        if isinstance(found, Lease):
            return self._lease(found, now)
        if isinstance(found, RouterAdvert):
            return [] if found.mac in self._own else self._masters.hear(found)
        if found.mac in self._own or found.ip in self._here:
            return []
        if (node := self.known.nodes.get(found.ip)) is not None and found.said != "uses":
            self._learn(found.mac, node)
        if (one := self.watched.get(found.ip)) is not None:
            self._seen(one, found, now)
            return []
        return self._stray(found, now) if self.known.pool_of(found.ip) and found.ip not in self.known.nodes else []

    def tick(self, now: float) -> list[Event]:
        """Close the questions whose time is over; return the events that follow."""
        events: list[Event] = []
        for ip, one in self.watched.items():
            if one.open and now - one.asked >= WAIT:
                one.open = False
                events += self._close(ip, one, now)
        while self.strays and now - max(next(iter(self.strays.values())).macs.values()) > STRAY_FOR:
            self.strays.popitem(last=False)
        return [*events, *self._masters.tick(now)]

    def name(self, mac: str) -> str:
        """Return whose a MAC is: a node's name, else the MAC."""
        owner = self.known.macs.owner(mac)
        return f"{owner.node} {owner.nic}".strip() if owner.node else self._learned.get(mac, mac)

    def node(self, mac: str) -> str:
        """Return the node that a MAC belongs to, "" if to none that is known."""
        return self.known.macs.owner(mac).node or self._learned.get(mac, "")

    def foreign(self, mac: str) -> bool:
        """Tell whether a MAC is certainly no node's: every node's MAC is known, and it is none of them."""
        everyone = set(self.known.nodes.values())
        known = set(self._learned.values()) | self.known.macs.listed
        return bool(everyone) and everyone <= known and not self.node(mac)

    def _learn(self, mac: str, node: str) -> None:
        if len(self._learned) < 4 * len(self.known.nodes) + 8:
            self._learned.setdefault(mac, node)

    def _seen(self, one: Watched, found: Sighting, now: float) -> None:
        if found.said == "answers":
            one.last = now
            if one.open and len(one.heard) < OWNERS:
                one.heard[found.mac] = None
        elif found.mac not in (one.leader, *one.conflict) and self._is_news(one, found.mac, now):
            one.suspect, one.suspected, one.again = found.mac, now, True

    @staticmethod
    def _is_news(one: Watched, mac: str, now: float) -> bool:
        """Tell whether to ask before the next turn, as somebody else announces or uses an address: once for each."""
        return mac != one.suspect or now - one.suspected > PERIOD

    def _close(self, ip: Address, one: Watched, now: float) -> list[Event]:
        macs = tuple(one.heard)
        if not macs:
            return self._missed(ip, one, now)
        one.misses = 0
        if len(macs) > 1:
            return self._several(ip, one, macs, now)
        return self._single(ip, one, macs[0], now)

    def _missed(self, ip: Address, one: Watched, now: float) -> list[Event]:
        one.misses = min(one.misses + 1, MISSES)
        one.several = 0
        one.again = one.misses < MISSES
        if one.misses < MISSES or one.state == "silent":
            return []
        who = f" {self.name(one.leader)} answered last." if one.leader else ""
        one.state, one.conflict = "silent", ()
        return [self._event("SILENT", ip, now, f"No host answers for {ip}.{who}", (one.leader,) * bool(one.leader))]

    def _several(self, ip: Address, one: Watched, macs: tuple[str, ...], now: float) -> list[Event]:
        one.several = min(one.several + 1, ROUNDS)
        one.again = one.several < ROUNDS
        owners = tuple(sorted(macs))
        if one.several < ROUNDS or owners == one.conflict:
            return []
        one.state, one.conflict = "conflict", owners
        who = join_words(map(self.name, owners))
        return [self._event(self._code(owners), ip, now, f"{who} answer for {ip} at the same time.", owners)]

    def _code(self, macs: tuple[str, ...]) -> str:
        if any(map(self.foreign, macs)):
            return "ADDRESS_CONFLICT"
        nodes = {self.node(mac) for mac in macs}
        if "" in nodes:
            return "DUPLICATE_OWNERS"
        return "SPLIT_BRAIN" if len(nodes) > 1 else "MULTI_NIC_SAME_SEGMENT"

    def _single(self, ip: Address, one: Watched, mac: str, now: float) -> list[Event]:
        events: list[Event] = []
        if one.several:  # the conflict is over only if one owner is alone twice
            one.several -= 1
            one.again = True
            return []
        before, former = one.state, one.leader
        one.state, one.leader, one.conflict = "held", mac, ()
        if before == "silent":
            events.append(self._event("ANSWERED", ip, now, f"{self.name(mac)} answers for {ip} again.", (mac,)))
        elif before == "conflict":
            events.append(self._event("ALONE", ip, now, f"Only {self.name(mac)} answers for {ip} now.", (mac,)))
        elif before == "unknown":
            events.append(self._event("FOUND", ip, now, f"{self.name(mac)} answers for {ip}.", (mac,)))
        if former and former != mac:
            events += self._moved(ip, one, former, mac, now)
        return events + self._stranger(ip, one, mac, now)

    def _moved(self, ip: Address, one: Watched, former: str, mac: str, now: float) -> list[Event]:
        one.moves.append(now)
        text = f"{ip} moved from {self.name(former)} to {self.name(mac)}."
        flapping = len(one.moves) == MOVES and now - one.moves[0] <= PERIOD
        if not flapping:
            one.flapping = False
            return [self._event("LEADER_CHANGED", ip, now, text, (former, mac))]
        if one.flapping:
            return []
        one.flapping = True
        text += f" That is {MOVES} times in {now - one.moves[0]:.0f} s."
        return [self._event("FLAPPING", ip, now, text, (former, mac))]

    def _stranger(self, ip: Address, one: Watched, mac: str, now: float) -> list[Event]:
        """Report a host that is no node and answers alone, once."""
        if not self.foreign(mac):
            had, one.foreign = one.foreign, ""
            text = f"{self.name(mac)} answers for {ip}, and {had} no longer does."
            return [self._event("ALONE", ip, now, text, (mac,))] if had else []
        if one.foreign == mac:
            return []
        one.foreign = mac
        text = f"{mac}, which is no node's, answers for {ip}."
        return [self._event("ADDRESS_CONFLICT", ip, now, text, (mac,))]

    def _stray(self, found: Sighting, now: float) -> list[Event]:
        """Report a pool address that is in use and that no Service has."""
        one = self.strays.pop(found.ip, None) or Stray(now)
        self.strays[found.ip] = one  # the oldest come first
        while len(self.strays) > STRAYS:
            self.strays.popitem(last=False)
        one.macs[found.mac] = now
        if len(one.macs) > OWNERS:
            del one.macs[min(one.macs, key=lambda mac: one.macs[mac])]
        pool = self.known.pool_of(found.ip)
        recent = sorted(mac for mac, last in one.macs.items() if now - last <= 2 * 60)
        if len(recent) > 1 and now - one.duplicate > AGAIN:
            one.duplicate = one.reported = now
            text = f"{join_words(map(self.name, recent))} both have {found.ip} of pool {pool}."
            return [self._event("POOL_DUPLICATE", found.ip, now, text, tuple(recent))]
        # A node may answer for a Service that was created since the cluster was read.
        wait = GRACE if self.node(found.mac) else 0.0
        if now - one.since < wait or (one.reported and now - one.reported <= AGAIN):
            return []
        one.reported = now
        text = f"{self.name(found.mac)} has {found.ip} of pool {pool}, which no Service has."
        return [self._event("POOL_ADDRESS_IN_USE", found.ip, now, text, (found.mac,))]

    def _lease(self, lease: Lease, now: float) -> list[Event]:
        """Report a DHCP server that hands out an address of a pool."""
        pool = self.known.pool_of(lease.ip)
        if not (pool or lease.ip in self.watched) or now - self._leases.get(lease.ip, -AGAIN) < AGAIN:
            return []
        if lease.kind == "request" and lease.server is None:
            return []  # a client that wants its former address back; nobody has offered it
        self._leases[lease.ip] = now
        while len(self._leases) > STRAYS:
            self._leases.popitem(last=False)
        server = f"The DHCP server {lease.server}" if lease.server else "A DHCP server"
        place = f" of pool {pool}" if pool else ""
        text = f"{server} {_KINDS[lease.kind]} {lease.ip}{place} to {lease.client}."
        return [self._event("DHCP_IN_POOL", lease.ip, now, text, (lease.client,))]

    def _event(self, code: str, ip: Address, now: float, text: str, owners: tuple[str, ...]) -> Event:
        service = self.known.assigned.get(ip, "")
        return Event(now, code, _SEVERITY.get(code, "fault"), str(ip), text, owners, service)

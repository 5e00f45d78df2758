"""What a sweep found, one entry an address: free, right, wrong, a stranger's, owned twice. Table and pictures show it.

A verdict comes from the diagnosis; here it is only said what each address looks like on a map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from provisioner.l2 import targets
from provisioner.l2.facts import Facts
from provisioner.l2.owners import NodeMacs, vendor
from provisioner.l2.probe.capture import Answer, Capture
from provisioner.l2.result import OwnerSeen, Result
from provisioner.l2.targets import Address


class State(Enum):
    """How an address looks: (letter on the map, words in the legend, whether it is a fault).

    TAKEN: somebody answers, and nothing says that this is wrong (outside of the pools, or nothing is known of them).
    """

    FREE = (".", "free", False)
    RIGHT = ("o", "assigned and right", False)
    WRONG = ("X", "assigned and wrong", True)
    STRANGER = ("S", "stranger in the pool", True)
    DUPLICATE = ("D", "two owners", True)
    NODE = ("n", "node, router or this machine", False)
    TAKEN = ("u", "in use", False)
    UNCLEAR = ("?", "cannot be told", False)

    @property
    def letter(self) -> str:
        """Return the letter on the map."""
        return self.value[0]

    @property
    def words(self) -> str:
        """Return the words in the legend."""
        return self.value[1]

    @property
    def fault(self) -> bool:
        """Tell whether such an address is a fault."""
        return self.value[2]


ALWAYS = (State.FREE, State.RIGHT, State.WRONG, State.STRANGER, State.DUPLICATE)  # in every legend
_STRANGERS = frozenset({"ADDRESS_CONFLICT", "POOL_ADDRESS_IN_USE"})


@dataclass(frozen=True)
class Spot:
    """One address of a sweep. service, pool: "" for none; note: what it is beside that; result: None without one.

    asked: whether it was asked for; not so this machine's own, and where there was no address to ask from.
    """

    ip: Address
    state: State
    owners: tuple[OwnerSeen, ...] = ()
    service: str = ""
    pool: str = ""
    note: str = ""
    result: Result | None = None
    asked: bool = True

    @property
    def who(self) -> str:
        """Return the owners in few words."""
        return ", ".join(name(owner) for owner in self.owners)

    @property
    def about(self) -> str:
        """Return the address in one line, for a hover title and the list under a picture."""
        who = self.who or ("" if self.note or not self.service else "nobody answers")
        said = f"{self.state.words} ({who})" if who else self.state.words
        return f"{self.ip}: {', '.join(part for part in (said, self.service, self.verdict, self.note) if part)}"

    @property
    def verdict(self) -> str:
        """Return the verdict's code where there is one to worry about, else ""."""
        return self.result.verdict if self.result is not None and not self.result.ok else ""


def name(owner: OwnerSeen) -> str:
    """Return an owner in few words: the node and its NIC, or the MAC."""
    if owner.node:
        return f"{owner.node} {owner.nic}".strip()
    if owner.nodes:
        return " or ".join(owner.nodes)
    return f"{owner.mac} ({owner.vendor})" if owner.vendor else owner.mac


def heard(capture: Capture, known: NodeMacs) -> dict[Address, tuple[OwnerSeen, ...]]:
    """Return who answered, by address, in order of their first answer; the silent ones are absent."""
    grouped: dict[Address, dict[str, list[Answer]]] = {}
    for answer in capture.answers:
        grouped.setdefault(answer.ip, {}).setdefault(answer.mac, []).append(answer)
    made: dict[Address, tuple[OwnerSeen, ...]] = {}
    for ip, macs in grouped.items():
        owners = []
        for mac, answers in macs.items():
            owner = known.owner(mac)
            owners.append(
                OwnerSeen(
                    mac=mac,
                    node=owner.node,
                    nic=owner.nic,
                    nodes=owner.nodes,
                    owner_class="foreign" if known.is_foreign(mac) else "unknown",
                    matched_by=owner.matched_by,
                    vendor="" if owner.nodes else vendor(mac),
                    answered=tuple(dict.fromkeys(answer.kind.value for answer in answers)),
                    rtt_us=tuple(round(answer.rtt * 1e6) for answer in answers),
                )
            )
        made[ip] = tuple(owners)
    return made


def to_diagnose(capture: Capture, facts: Facts | None, ips: Sequence[Address]) -> tuple[Address, ...]:
    """Return the swept addresses that a verdict can be passed on: external IPs, and whoever answers in a pool.

    None without knowledge of the services: whether an owner is right cannot be told then.
    """
    if facts is None or facts.services is None:
        return ()
    external, pools = targets.assigned(facts), targets.pools(facts)
    answered = {answer.ip for answer in capture.answers}
    return tuple(
        ip
        for ip in ips
        if ip in external or (ip in answered and any(ip in one for held in pools.values() for one in held))
    )


def spots(
    ips: Sequence[Address],
    capture: Capture,
    facts: Facts | None,
    results: Mapping[Address, Result],
    owners: Mapping[Address, tuple[OwnerSeen, ...]],
) -> tuple[Spot, ...]:
    """Return what each address looks like. results: of those diagnosed; owners: who answered, by address."""
    external, pools = targets.assigned(facts), targets.pools(facts)
    special = _special(capture, facts)
    found = []
    for ip in ips:
        pool = next((name for name, held in pools.items() if any(ip in one for one in held)), "")
        service = ", ".join(one.key for one in external.get(ip, ()))
        seen = owners.get(ip, ())
        result = results.get(ip)
        note = special.get(ip, "")
        state = _state(seen, pool, note, result)
        if state is State.UNCLEAR and result is None:
            note = "unknown owner: a node whose network cards are not known, or a stranger"
        asked = bool(capture.asked.get(ip))
        if state is State.FREE and not asked:
            state, note = State.UNCLEAR, "was not asked: this machine has no address to ask from"
        found.append(Spot(ip, state, seen, service, pool, note, result, asked))
    return tuple(found)


def _special(capture: Capture, facts: Facts | None) -> dict[Address, str]:
    """Return the addresses that are a machine's own, and whose."""
    found: dict[Address, str] = {ip: "this machine" for ip in capture.vantage.own_addresses}
    found.update({ip: "router" for ip in capture.vantage.gateways})
    for node in facts.nodes if facts is not None else ():
        for text in node.internal_ips:
            found[ip_address(text)] = f"node {node.name}"
    return found


def _state(seen: Sequence[OwnerSeen], pool: str, special: str, result: Result | None) -> State:
    several = len({owner.mac for owner in seen}) > 1
    if result is not None:
        return _judged(result, several)
    if several:
        return State.DUPLICATE
    if special:
        return State.NODE
    if not seen:
        return State.FREE
    if not pool or any(owner.nodes or owner.node for owner in seen):
        return State.TAKEN
    # A node that was not heard, and whose network cards nobody could list, may be the one.
    return State.STRANGER if all(owner.owner_class == "foreign" for owner in seen) else State.UNCLEAR


def _judged(result: Result, several: bool) -> State:
    if result.ok:
        return State.RIGHT
    if result.inconclusive:
        return State.UNCLEAR
    if several:
        return State.DUPLICATE
    return State.STRANGER if result.verdict in _STRANGERS else State.WRONG


def exit_status(found: Sequence[Spot]) -> int:
    """Return 1 when a fault was seen, 2 when something that is in use cannot be told, else 0."""
    if any(spot.state.fault for spot in found):
        return 1
    return 2 if any(spot.state is State.UNCLEAR for spot in found) else 0

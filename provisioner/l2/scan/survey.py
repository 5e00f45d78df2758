"""The state of each swept address (free, OK, faulty, foreign, duplicate), as the table and the maps show it.

Verdicts come from the diagnosis; this only decides how an address looks on a map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from provisioner.l2 import targets
from provisioner.l2.facts import Facts
from provisioner.l2.macs import vendor
from provisioner.l2.owners import NodeMacs
from provisioner.l2.probe.capture import Answer, Capture
from provisioner.l2.result import AddressOwner, Result
from provisioner.l2.targets import Address


class AddressState(Enum):
    """How an address looks: (letter on the map, label in the legend, whether it is a fault).

    TAKEN: a host answers and nothing is known to be wrong with that (outside the pools, or the pools are unknown).
    """

    FREE = (".", "free", False)
    RIGHT = ("o", "assigned, OK", False)
    WRONG = ("X", "assigned, faulty", True)
    STRANGER = ("S", "foreign host in a pool", True)
    DUPLICATE = ("D", "duplicate owners", True)
    NODE = ("n", "node, router or this machine", False)
    TAKEN = ("u", "in use", False)
    UNCLEAR = ("?", "inconclusive", False)

    @property
    def letter(self) -> str:
        """Return the letter on the map."""
        return self.value[0]

    @property
    def label(self) -> str:
        """Return the label in the legend."""
        return self.value[1]

    @property
    def fault(self) -> bool:
        """Tell whether an address in this state is a fault."""
        return self.value[2]


# In every legend, whether they occur or not.
ALWAYS = (
    AddressState.FREE,
    AddressState.RIGHT,
    AddressState.WRONG,
    AddressState.STRANGER,
    AddressState.DUPLICATE,
)
_FOREIGN = frozenset({"ADDRESS_CONFLICT", "POOL_ADDRESS_IN_USE"})


@dataclass(frozen=True)
class SweptAddress:
    """One address of a sweep. service, pool: "" for none; note: what else is known; result: None if not diagnosed.

    probed: False for this machine's own addresses, and where there was no source address to probe from.
    """

    ip: Address
    state: AddressState
    owners: tuple[AddressOwner, ...] = ()
    service: str = ""
    pool: str = ""
    note: str = ""
    result: Result | None = None
    probed: bool = True

    @property
    def summary(self) -> str:
        """Return the address in one line, for a hover title and the list below a map."""
        owners = ", ".join(owner_label(owner) for owner in self.owners)
        owners = owners or ("" if self.note or not self.service else "no reply")
        state = f"{self.state.label} ({owners})" if owners else self.state.label
        return f"{self.ip}: {', '.join(part for part in (state, self.service, self.verdict, self.note) if part)}"

    @property
    def verdict(self) -> str:
        """Return the verdict's code, "" if it is OK or there is none."""
        return self.result.verdict if self.result is not None and not self.result.ok else ""


def owner_label(owner: AddressOwner) -> str:
    """Return an owner's short name: the node and its interface, or the MAC."""
    if owner.node:
        return f"{owner.node} {owner.nic}".strip()
    if owner.nodes:
        return " or ".join(owner.nodes)
    return f"{owner.mac} ({owner.vendor})" if owner.vendor else owner.mac


def owners_by_address(capture: Capture, known: NodeMacs) -> dict[Address, tuple[AddressOwner, ...]]:
    """Return the owners of each address in order of their first reply; silent addresses are absent."""
    grouped: dict[Address, dict[str, list[Answer]]] = {}
    for answer in capture.answers:
        grouped.setdefault(answer.ip, {}).setdefault(answer.mac, []).append(answer)
    made: dict[Address, tuple[AddressOwner, ...]] = {}
    for ip, macs in grouped.items():
        owners = []
        for mac, answers in macs.items():
            owner = known.owner(mac)
            owners.append(
                AddressOwner(
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
    """Return the swept addresses to diagnose: external IPs, and pool addresses that answer.

    Empty if the Services are unknown, because whether an owner is the right one is unknown then.
    """
    if facts is None or facts.services is None:
        return ()
    external, pools = targets.services_by_ip(facts), targets.pool_ranges(facts)
    answered = {answer.ip for answer in capture.answers}
    return tuple(
        ip
        for ip in ips
        if ip in external or (ip in answered and any(ip in one for held in pools.values() for one in held))
    )


def classify(
    ips: Sequence[Address],
    capture: Capture,
    facts: Facts | None,
    results: Mapping[Address, Result],
    owners: Mapping[Address, tuple[AddressOwner, ...]],
) -> tuple[SweptAddress, ...]:
    """Return the state of each address. results: of the diagnosed ones; owners: from `owners_by_address`."""
    external, pools = targets.services_by_ip(facts), targets.pool_ranges(facts)
    machines = _machine_addresses(capture, facts)
    found = []
    for ip in ips:
        pool = next((name for name, held in pools.items() if any(ip in one for one in held)), "")
        service = ", ".join(one.key for one in external.get(ip, ()))
        seen = owners.get(ip, ())
        result = results.get(ip)
        note = machines.get(ip, "")
        state = _state(seen, pool, note, result)
        if state is AddressState.UNCLEAR and result is None:
            note = "unknown owner: a node whose interfaces are unknown, or a foreign host"
        probed = bool(capture.asked.get(ip))
        if state is AddressState.FREE and not probed:
            state, note = AddressState.UNCLEAR, "not probed: this machine has no source address for it"
        found.append(SweptAddress(ip, state, seen, service, pool, note, result, probed))
    return tuple(found)


def _machine_addresses(capture: Capture, facts: Facts | None) -> dict[Address, str]:
    """Return the addresses of this machine, the routers and the nodes, and whose each is."""
    found: dict[Address, str] = {ip: "this machine" for ip in capture.vantage.own_addresses}
    found.update({ip: "router" for ip in capture.vantage.gateways})
    for node in facts.nodes if facts is not None else ():
        for text in node.internal_ips:
            found[ip_address(text)] = f"node {node.name}"
    return found


def _state(seen: Sequence[AddressOwner], pool: str, machine: str, result: Result | None) -> AddressState:
    several = len({owner.mac for owner in seen}) > 1
    if result is not None:
        return _diagnosed_state(result, several)
    if several:
        return AddressState.DUPLICATE
    if machine:
        return AddressState.NODE
    if not seen:
        return AddressState.FREE
    if not pool or any(owner.nodes or owner.node for owner in seen):
        return AddressState.TAKEN
    # It may be a node that did not reply and whose interfaces are unknown.
    return AddressState.STRANGER if all(owner.owner_class == "foreign" for owner in seen) else AddressState.UNCLEAR


def _diagnosed_state(result: Result, several: bool) -> AddressState:
    if result.ok:
        return AddressState.RIGHT
    if result.inconclusive:
        return AddressState.UNCLEAR
    if several:
        return AddressState.DUPLICATE
    return AddressState.STRANGER if result.verdict in _FOREIGN else AddressState.WRONG


def exit_status(found: Sequence[SweptAddress]) -> int:
    """Return 1 for any fault, 2 if any address is inconclusive, else 0."""
    if any(address.state.fault for address in found):
        return 1
    return 2 if any(address.state is AddressState.UNCLEAR for address in found) else 0

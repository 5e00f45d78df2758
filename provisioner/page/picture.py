"""The segment as a picture: the machines on it with the addresses that each answers for, and a pool as cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import groupby
from typing import Literal

from provisioner.page.document import Address, Document, Owner, Pool

Kind = Literal["control-plane", "worker", "other", "stranger", "silent"]
RUN = 24  # free addresses in a row from which they become one cell


@dataclass
class Machine:
    """A machine on the segment. own: its own addresses; serves: external IPs and other addresses of pools.

    vendor: of a NIC that is no node's; ways: the interfaces and MACs that answer.
    """

    name: str
    kind: Kind
    vendor: str = ""
    ways: list[str] = field(default_factory=list)
    own: list[Address] = field(default_factory=list)
    serves: list[Address] = field(default_factory=list)


@dataclass(frozen=True)
class Cell:
    """One address of a pool, or a run of free ones. label: the part of the address that differs."""

    label: str
    address: Address | None = None


def machines(document: Document) -> list[Machine]:
    """Return the machines: nodes in their order, then others, foreign hosts, and last addresses without a reply."""
    roles = {row.name: row.roles for row in document.nodes.rows}
    found: dict[str, Machine] = {}
    for name, role in roles.items():
        found[name] = Machine(name, "control-plane" if "control-plane" in role else "worker")
    silent = Machine("No reply", "silent")
    for address in document.segment.addresses:
        if address.state == "free":
            continue
        for owner in address.owners:
            machine = found.setdefault(
                _key(owner), Machine(_name(owner, address), _kind(owner, address), owner.vendor)
            )
            way = " ".join(part for part in (owner.name.removeprefix(owner.node).strip(), owner.mac) if part)
            if way not in machine.ways:
                machine.ways.append(way)
            machine.kind = "stranger" if _strange(owner, address) and machine.kind == "other" else machine.kind
            (machine.own if address.state == "node" or address.note else machine.serves).append(address)
        if not address.owners and address.state in ("node", "taken"):
            _unheard(found, address)
        elif not address.owners:
            silent.serves.append(address)
    order: tuple[Kind, ...] = ("control-plane", "worker", "other", "stranger")
    # sorted() keeps the site's order among nodes.
    ordered = sorted(found.values(), key=lambda machine: max(1, order.index(machine.kind)))
    return [*ordered, *([silent] if silent.serves else [])]


def _unheard(found: dict[str, Machine], address: Address) -> None:
    """Add a machine's own address that nobody answered for: this machine's, or a node's that is off."""
    name = address.note.removeprefix("node ") or address.ip
    found.setdefault(name, Machine(_titled(name), "other")).own.append(address)


def _titled(name: str) -> str:
    return name[:1].upper() + name[1:]


def _key(owner: Owner) -> str:
    return owner.node or owner.name or owner.mac


def _name(owner: Owner, address: Address) -> str:
    if owner.node or owner.name:
        return owner.node or owner.name
    if address.state == "node" and address.note:
        return _titled(address.note)
    return "Foreign host" if address.fault else "Another host"


def _kind(owner: Owner, address: Address) -> Kind:
    if owner.node:
        return "worker"
    return "stranger" if _strange(owner, address) else "other"


def _strange(owner: Owner, address: Address) -> bool:
    return not owner.node and not owner.name and address.fault


def cells(pool: Pool, addresses: Sequence[Address]) -> list[tuple[str, list[Cell]]]:
    """Return a pool's swept addresses as (prefix, cells); long runs of free ones are one cell."""
    own = [address for address in addresses if address.pool == pool.name]
    found = []
    for prefix, group in groupby(own, key=lambda address: _split(address.ip)[0]):
        row: list[Cell] = []
        for free, run in groupby(group, key=lambda address: address.state == "free"):
            held = list(run)
            if free and len(held) > RUN:
                row.append(Cell(f"{_split(held[0].ip)[1]} to {_split(held[-1].ip)[1]} free"))
            else:
                row += [Cell(_split(address.ip)[1], address) for address in held]
        found.append((prefix, row))
    return found


def _split(ip: str) -> tuple[str, str]:
    """Return an address as its first part and its last one.

    >>> _split("192.0.2.200"), _split("2001:db8::c8")
    (('192.0.2.', '200'), ('2001:db8::', 'c8'))
    """
    mark = "." if ip_address(ip).version == 4 else ":"
    head, _, tail = ip.rpartition(mark)
    return f"{head}{mark}", tail

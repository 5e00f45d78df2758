"""What `provisioner report` knows, as plain values: the page and report/v1 are two views of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, cast

from pydantic import TypeAdapter

SCHEMA: Literal["report/v1"] = "report/v1"
T = TypeVar("T")
StateName = Literal["free", "right", "wrong", "stranger", "duplicate", "node", "taken", "unclear"]
FAULTS: tuple[StateName, ...] = ("wrong", "stranger", "duplicate")


@dataclass(frozen=True)
class Source:
    """Where a part comes from: seen now, from the file of an earlier command, left out, or not to be had.

    when: Unix time, 0 for nothing seen. why: of a part that is skipped or missing; remedy: what would give it.
    seconds: how long it took.
    """

    state: Literal["seen", "earlier", "skipped", "missing"]
    when: float = 0.0
    file: str = ""
    why: str = ""
    remedy: str = ""
    seconds: float = 0.0

    @property
    def had(self) -> bool:
        """Tell whether there is anything to show."""
        return self.state in ("seen", "earlier")


@dataclass(frozen=True)
class Node:
    """A host of the site or a node of the cluster, as `status -o wide` shows it; "" for what is unknown."""

    name: str
    status: str
    roles: str = ""
    version: str = ""
    address: str = ""
    age: str = ""
    system: str = ""
    kernel: str = ""
    runtime: str = ""
    pods: str = ""

    @property
    def ready(self) -> bool:
        """Tell whether it is a Ready node that takes pods."""
        return self.status == "Ready"


@dataclass(frozen=True)
class Nodes:
    """The nodes. vip: the API's own address, "" without one; holders: the control planes that have it."""

    source: Source
    rows: tuple[Node, ...] = ()
    vip: str = ""
    holders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Owner:
    """Who answers for an address. name: node and interface, "" if the MAC is not a node's."""

    mac: str
    name: str = ""
    node: str = ""
    vendor: str = ""


@dataclass(frozen=True)
class Address:
    """An address of the segment. note: whose it is, if it is a machine's own; verdict: "" if it was not judged."""

    ip: str
    state: StateName
    owners: tuple[Owner, ...] = ()
    service: str = ""
    pool: str = ""
    note: str = ""
    verdict: str = ""
    evidence: tuple[str, ...] = ()
    remedy: str = ""
    command: str = ""

    @property
    def fault(self) -> bool:
        """Tell whether something is wrong with it."""
        return self.state in FAULTS


@dataclass(frozen=True)
class Segment:
    """Who answers for which address. interface, place: where it was asked from; notes: what was left out."""

    source: Source
    interface: str = ""
    place: str = ""
    addresses: tuple[Address, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Use:
    """An address of a pool and the Services that have it."""

    ip: str
    service: str


@dataclass(frozen=True)
class Pool:
    """A pool of addresses. used: None if the Services are unknown; wanted: whether it is in hosts.toml."""

    name: str
    ranges: tuple[str, ...]
    size: int
    used: tuple[Use, ...] | None = None
    auto_assign: bool = True
    wanted: bool = True


@dataclass(frozen=True)
class Pools:
    """The address pools of the cluster, of hosts.toml if the cluster does not answer."""

    source: Source
    pools: tuple[Pool, ...] = ()


@dataclass(frozen=True)
class Checked:
    """A finding of `verify`. skipped: what was not tried, and why, is in detail."""

    check: str
    ok: bool
    code: str
    subject: str
    detail: str
    remedy: str = ""
    evidence: tuple[str, ...] = ()
    skipped: bool = False

    @property
    def inconclusive(self) -> bool:
        """Tell whether nothing can be concluded from where it was checked."""
        return not self.ok and "INCONCLUSIVE" in self.code


@dataclass(frozen=True)
class Checks:
    """The findings. left_out: checks that were not run, because they change something for a while."""

    source: Source
    findings: tuple[Checked, ...] = ()
    left_out: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Component:
    """A program and its versions. running: in order; wanted: by hosts.toml; newest: the catalogue's that fits."""

    name: str
    running: tuple[str, ...] = ()
    wanted: str = ""
    newest: str = ""
    newer: bool = False
    note: str = ""


@dataclass(frozen=True)
class Versions:
    """What runs, and what this version of provisioner knows that is newer."""

    source: Source
    components: tuple[Component, ...] = ()


@dataclass(frozen=True)
class Certificate:
    """A certificate on a host. begins, ends: Unix time, None if it could not be read."""

    host: str
    name: str
    begins: float | None = None
    ends: float | None = None


@dataclass(frozen=True)
class Unseen:
    """What could not be looked at. where: a host, or a step and a host."""

    where: str
    why: str


@dataclass(frozen=True)
class Certificates:
    """The certificates of the nodes. unseen: hosts that did not answer."""

    source: Source
    found: tuple[Certificate, ...] = ()
    unseen: tuple[Unseen, ...] = ()


@dataclass(frozen=True)
class Difference:
    """A difference between hosts.toml and what is, as drift/v1 has it."""

    step: str
    host: str
    found: str
    wins: str
    apply: str = ""
    by_hand: str = ""
    diff: str = ""


@dataclass(frozen=True)
class Drift:
    """What differs from hosts.toml. unseen: hosts and steps that could not be looked at."""

    source: Source
    differences: tuple[Difference, ...] = ()
    unseen: tuple[Unseen, ...] = ()


@dataclass(frozen=True)
class Lane:
    """The periods, in seconds from zero, in which somebody answered."""

    name: str
    spans: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Failover:
    """A failover that `l2 watch` recorded. zero: Unix time; times are in seconds from it, between first and last.

    silences: periods without an answer; figures: a name and a text each.
    """

    ip: str
    title: str
    verdict: str
    zero: float
    first: float
    last: float
    lanes: tuple[Lane, ...] = ()
    silences: tuple[tuple[float, float], ...] = ()
    figures: tuple[tuple[str, str], ...] = ()
    evidence: tuple[str, ...] = ()
    remedy: str = ""
    service: str = ""
    file: str = ""


@dataclass(frozen=True)
class Event:
    """An event of `l2 guard`. time: Unix time."""

    time: float
    code: str
    severity: str
    subject: str
    text: str


@dataclass(frozen=True)
class HistoryLane:
    """The past of one address: runs of a state (held, silent, conflict, moved, unknown), each with its length."""

    subject: str
    faults: int
    runs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Failovers:
    """What is known of failovers. since, until: the period of the guard's events, Unix time; total: all of them."""

    source: Source
    watched: tuple[Failover, ...] = ()
    lanes: tuple[HistoryLane, ...] = ()
    events: tuple[Event, ...] = ()
    total: int = 0
    since: float = 0.0
    until: float = 0.0
    file: str = ""


@dataclass(frozen=True)
class Document:
    """The report. taken: Unix time; machine: where it was made.

    hosts: of hosts.toml; problem: why the API does not answer, "" if it does.
    """

    cluster: str
    taken: float
    machine: str
    version: str
    kubernetes: str
    endpoint: str
    hosts: int
    nodes: Nodes
    segment: Segment
    pools: Pools
    checks: Checks
    versions: Versions
    certificates: Certificates
    drift: Drift
    failovers: Failovers
    problem: str = ""
    schema: Literal["report/v1"] = SCHEMA

    @property
    def sources(self) -> dict[str, Source]:
        """Return the source of each part, by name, in the page's order."""
        parts = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: part.source for name, part in parts.items() if hasattr(part, "source")}

    @property
    def missing(self) -> dict[str, Source]:
        """Return the parts that are not available."""
        return {name: source for name, source in self.sources.items() if source.state == "missing"}


def to_json(document: Document) -> str:
    """Return report/v1."""
    body = asdict(document)
    return json.dumps({"schema": body.pop("schema"), **body}, indent=2)


def from_json(text: str) -> Document:
    """Return the document of a report/v1. Raises ValueError, naming the first place that is wrong."""
    return _ADAPTER.validate_json(text)


def mapped(value: T, change: Callable[[str], str]) -> T:
    """Return a value of plain values with every text in it changed; names of fields stay.

    >>> mapped(Owner("a", "b"), str.upper)
    Owner(mac='A', name='B', node='', vendor='')
    """
    return cast("T", _mapped(value, change))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_mapped(item, change) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        kept = ("schema", "state")  # words of ours, not anybody's text
        names = [one.name for one in fields(value) if one.name not in kept]
        return replace(value, **{name: _mapped(getattr(value, name), change) for name in names})
    return value


_ADAPTER = TypeAdapter(Document)

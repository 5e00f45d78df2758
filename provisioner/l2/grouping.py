"""Results that share a cause, together: one verdict for the cause, with its addresses under it.

A node that is cut off, a pool without an advertisement or an isolated access point concerns every address at once, and
a thousand blocks of the same text hide the one that differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from provisioner.addresses import Range
from provisioner.l2.result import Result

FEW = 3  # results that are shown one by one, unless they share a culprit


@dataclass(frozen=True)
class Group:
    """Results with one verdict. culprit: what they share, "" if only the verdict; scope: what of, "" if just some."""

    verdict: str
    culprit: str
    scope: str
    results: tuple[Result, ...]

    @property
    def first(self) -> Result:
        """Return the result whose evidence stands for all: the most certain."""
        return min(self.results, key=lambda one: ("certain", "likely", "possible").index(one.confidence))

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the addresses, those in a row as one range; Services without an address by name."""
        return (
            *ranges(one.ip for one in self.results if one.ip),
            *(one.service for one in self.results if not one.ip),
        )


def group(results: Sequence[Result]) -> tuple[Group, ...]:
    """Return the results in groups, in the order of the first of each.

    Two with the same culprit are a group. Without one, and for OK, more than FEW with the same verdict are; so are
    those of more than FEW culprits.
    """
    found: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        warned = " ".join(result.warnings) if result.ok else ""
        found.setdefault((result.verdict, "" if result.ok else result.culprit, warned), []).append(result)
    for verdict in {verdict for verdict, culprit, _ in found if culprit}:
        same = [key for key in found if key[0] == verdict]
        if len(same) > FEW:  # so many culprits are none
            merged = [one for key in same for one in found.pop(key)]
            found[verdict, "", ""] = merged
    made = []
    for (verdict, culprit, _), own in found.items():
        if len(own) > FEW or (culprit and len(own) > 1):
            made.append(Group(verdict, culprit, _scope(own, results, culprit), tuple(own)))
        else:
            made += [Group(verdict, one.culprit, "", (one,)) for one in own]
    return tuple(made)


def causes(results: Sequence[Result]) -> tuple[Group, ...]:
    """Return the groups of results that are not OK."""
    return tuple(one for one in group(results) if one.verdict != "OK")


def _scope(own: Sequence[Result], every: Sequence[Result], culprit: str) -> str:
    """Return what all of a group's addresses are all of: "all addresses of node w1"; "" if they are just some."""
    members = {id(one) for one in own}

    def whole(among: Iterable[Result]) -> bool:
        found = [id(one) for one in among]
        return len(found) > 1 and set(found) == members

    if whole(every):
        return "all addresses" if all(one.ip for one in every) else "all that was checked"
    kind, _, name = culprit.partition(" ")
    if kind == "node" and whole(one for one in every if _of_node(one, name)):
        return f"all addresses of node {name}"
    if whole(one for one in every if one.family == "ipv6"):
        return "all IPv6 addresses"
    if whole(one for one in every if one.family == "ipv4"):
        return "all IPv4 addresses"
    pools = {one.pool for one in own}
    pool = pools.pop() if len(pools) == 1 else ""
    return f"all addresses of pool {pool}" if pool and whole(one for one in every if one.pool == pool) else ""


def _of_node(result: Result, node: str) -> bool:
    return node in (result.predicted_leader, *(owner.node for owner in result.owners))


def ranges(texts: Iterable[str]) -> tuple[str, ...]:
    """Return addresses in order, those in a row as one range.

    >>> ranges(["192.0.2.9", "192.0.2.7", "192.0.2.8", "192.0.2.11"])
    ('192.0.2.7-192.0.2.9', '192.0.2.11')
    """
    ordered = sorted({ip_address(text) for text in texts}, key=lambda ip: (ip.version, int(ip)))
    found: list[Range] = []
    for ip in ordered:
        if found and found[-1].last.version == ip.version and int(ip) == int(found[-1].last) + 1:
            found[-1] = Range(found[-1].first, ip)
        else:
            found.append(Range(ip, ip))
    return tuple(str(one.first) if one.size == 1 else f"{one.first}-{one.last}" for one in found)

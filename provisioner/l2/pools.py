"""Arithmetic on address pools: what they contain and how much is free.

A pool may be an IPv6 /64, so nothing here enumerates addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Literal

from provisioner.addresses import Range
from provisioner.l2.facts import Address, Facts, Pool, Service
from provisioner.l2.facts_values import pool_range
from provisioner.l2.selectors import any_matches

Family = Literal[4, 6]


def ranges(pool: Pool) -> tuple[Range, ...]:
    """Return a pool's ranges, in the order written."""
    return _parsed(pool.addresses)


@lru_cache(maxsize=4096)
def _parsed(addresses: tuple[str, ...]) -> tuple[Range, ...]:
    return tuple(map(pool_range, addresses))


def holds(pool: Pool, ip: Address) -> bool:
    """Return whether an address lies in a pool, even one that the pool avoids (.0, .255)."""
    return any(ip in item for item in ranges(pool))


def pool_of(facts: Facts, ip: Address) -> Pool | None:
    """Return the pool that contains an address, None if no known pool does."""
    return next((pool for pool in facts.pools or () if holds(pool, ip)), None)


def size(pool: Pool, family: Family | None = None) -> int:
    """Return how many addresses a pool can assign; `avoid_buggy_ips` excludes IPv4's .0 and .255."""
    total = 0
    for item in ranges(pool):
        if family in (None, item.first.version):
            total += item.size
            if pool.avoid_buggy_ips and item.first.version == 4:
                total -= item.ending_in(0) + item.ending_in(255)
    return total


def assigned_count(facts: Facts, pool: Pool, family: Family | None = None) -> int | None:
    """Return how many of a pool's addresses Services have (a shared one counts once); None: Services are unknown."""
    if facts.services is None:
        return None
    held = {text for service in facts.services for text in service.ingress_ips}
    return sum(1 for ip in map(ip_address, held) if family in (None, ip.version) and holds(pool, ip))


def free_count(facts: Facts, pool: Pool, family: Family | None = None) -> int | None:
    """Return how many addresses a pool has left to assign; None: Services are unknown."""
    taken = assigned_count(facts, pool, family)
    return None if taken is None else max(0, size(pool, family) - taken)


def admits(pool: Pool, service: Service) -> bool | None:
    """Return whether a pool may serve a Service, by its serviceAllocation; None if unknown labels would decide.

    Namespace and Service selectors must both match if both are given. The labels of namespaces are unknown.
    """
    kept = pool.service_allocation or {}
    spaces, by_label = kept.get("namespaces") or (), kept.get("namespaceSelectors") or ()
    inside: bool | None = True
    if (spaces or by_label) and service.namespace not in spaces:
        inside = any_matches(by_label, None) if by_label else False
    chosen = any_matches(kept.get("serviceSelectors") or (), service.labels)
    if inside is False or chosen is False:
        return False
    return None if inside is None or chosen is None else True


def overlap(known: Sequence[Pool]) -> tuple[str, str, Range] | None:
    """Return two pools that share addresses, and which, None if no two do; MetalLB rejects such a configuration."""
    every = sorted(
        ((item, pool.name) for pool in known for item in ranges(pool)),
        key=lambda one: (one[0].first.version, int(one[0].first)),
    )
    widest: tuple[Range, str] | None = None
    for item, name in every:
        if widest is not None and item.first.version == widest[0].first.version and item.first in widest[0]:
            if name != widest[1]:
                return widest[1], name, Range(item.first, min(item.last, widest[0].last, key=int))
            if int(item.last) <= int(widest[0].last):
                continue
        widest = (item, name)
    return None


def overlapping(pool: Pool, addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Return those of the addresses that lie in a pool."""
    return tuple(ip for ip in addresses if holds(pool, ip))

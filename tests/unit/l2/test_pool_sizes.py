"""How many addresses a pool has, and how many are free."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.l2 import pools
from provisioner.l2.facts import Pool
from tests.unit.l2.election.candidates import facts, service


@pytest.mark.parametrize(
    ("addresses", "buggy", "size"),
    [
        (("192.0.2.200-192.0.2.210",), True, 11),
        (("192.0.2.0/24",), False, 256),
        (("192.0.2.0/24",), True, 254),
        (("192.0.2.0/23",), True, 508),
        (("192.0.2.250-192.0.3.5",), True, 10),
        (("192.0.2.255/32", "192.0.2.0/32"), True, 0),
        (("10.0.0.0/8",), False, 2**24),
        (("2001:db8::/64",), True, 2**64),
    ],
)
def test_a_pools_size(addresses: tuple[str, ...], buggy: bool, size: int) -> None:
    pool = Pool(name="p", addresses=addresses, avoid_buggy_ips=buggy)
    assert pools.size(pool) == size


@given(st.integers(0, 2**16), st.integers(0, 2000))
@settings(deadline=None)
def test_avoided_addresses_are_counted_as_enumeration_would(first: int, more: int) -> None:
    start, end = IPv4Address((10 << 24) + first), IPv4Address((10 << 24) + first + more)
    listed = sum(1 for number in range(int(start), int(end) + 1) if number % 256 not in (0, 255))
    assert pools.size(Pool(name="p", addresses=(f"{start}-{end}",), avoid_buggy_ips=True)) == listed


def test_a_shared_address_counts_once() -> None:
    pool = Pool(name="p", addresses=("192.0.2.200-192.0.2.202", "2001:db8::/126"))
    services = (
        service(name="a", ingress_ips=("192.0.2.200", "2001:db8::1")),
        service(name="b", ingress_ips=("192.0.2.200",)),
        service(name="c", ingress_ips=("192.0.2.99",)),
        service(name="d", ingress_ips=()),
    )
    known = facts(pools=(pool,), services=services)
    assert (pools.assigned_count(known, pool), pools.free_count(known, pool)) == (2, 5)
    assert (pools.free_count(known, pool, 4), pools.free_count(known, pool, 6)) == (2, 3)
    assert pools.free_count(facts(pools=(pool,), services=None), pool) is None
    assert pools.pool_of(known, ip_address("192.0.2.202")) == pool
    assert pools.pool_of(known, ip_address("192.0.2.203")) is None

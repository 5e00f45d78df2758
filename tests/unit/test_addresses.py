"""Ranges and networks: parsing, formatting, membership, overlap."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.addresses import (
    IPAddress,
    Range,
    host_port,
    merge_ranges,
    network_range,
    parse_network,
    parse_range,
    split_host_port,
    subtract_ranges,
)


def addresses(version: int) -> st.SearchStrategy[IPAddress]:
    """Return addresses that are often close to each other."""
    base, bits = (0xC0A83800, 32) if version == 4 else (0xFD00 << 112, 128)
    numbers = st.integers(base, base + 40) | st.integers(0, 2**bits - 1)
    return numbers.map(lambda number: ipaddress.ip_address(number.to_bytes(bits // 8, "big")))


ranges = st.sampled_from([4, 6]).flatmap(
    lambda version: st.tuples(addresses(version), addresses(version)).map(
        lambda ends: Range(min(ends, key=int), max(ends, key=int))
    )
)


@given(ranges)
def test_a_formatted_range_parses_to_itself(held: Range) -> None:
    if held.size > 1:
        assert parse_range(str(held)) == held
    assert parse_range(f"{held.first}-{held.last}") == held
    assert held.first in held
    assert str(held.last) in held


@given(ranges, ranges)
def test_ranges_overlap_if_one_contains_an_end_of_the_other(one: Range, two: Range) -> None:
    shared = [end for end in (one.first, one.last) if end in two] + [
        end for end in (two.first, two.last) if end in one
    ]
    assert one.overlaps(two) == two.overlaps(one) == bool(shared)


def test_merged_ranges_neither_overlap_nor_touch() -> None:
    texts = [
        "192.0.2.8/31",
        "192.0.2.0-192.0.2.5",
        "192.0.2.4-192.0.2.4",
        "192.0.2.6/31",
        "fd00::/127",
        "192.0.2.20/32",
    ]
    merged = merge_ranges(map(parse_range, texts))
    assert [str(one) for one in merged] == ["192.0.2.0-192.0.2.9", "192.0.2.20", "fd00::/127"]


@pytest.mark.parametrize(
    ("whole", "removed", "left"),
    [
        (["192.0.2.0/28"], [], ["192.0.2.0/28"]),
        (["192.0.2.0/28"], ["192.0.2.0/28"], []),
        (["192.0.2.0/28"], ["192.0.2.4-192.0.2.5"], ["192.0.2.0/30", "192.0.2.6-192.0.2.15"]),
        (["192.0.2.0/28"], ["192.0.2.0/29", "192.0.2.12/30"], ["192.0.2.8/30"]),
        (["192.0.2.0/28", "fd00::/127"], ["fd00::/128"], ["192.0.2.0/28", "fd00::1/128"]),
        (["192.0.2.0/28"], ["192.0.2.16/28", "192.0.1.0/24", "fd00::/64"], ["192.0.2.0/28"]),
    ],
)
def test_subtracted_ranges(whole: list[str], removed: list[str], left: list[str]) -> None:
    assert subtract_ranges(map(parse_range, whole), map(parse_range, removed)) == list(map(parse_range, left))


@given(addresses(4), st.integers(0, 32))
def test_a_network_is_the_range_of_all_its_addresses(address: IPAddress, prefix: int) -> None:
    network = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
    held = network_range(network)
    assert held.size == network.num_addresses
    assert parse_network(str(network)) == network
    assert address in held
    if address != network.network_address:
        with pytest.raises(ValueError, match=str(network)):
            parse_network(f"{address}/{prefix}")


@pytest.mark.parametrize("text", ["", "/", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "10.0.0/8", "a/8"])
def test_an_invalid_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a network in CIDR notation; use"):
        parse_network(text)


@given(st.sampled_from(["node1", "192.0.2.1", "fd00::1", "::1"]), st.integers(1, 65535))
def test_a_formatted_host_and_port_parse_to_themselves(host: str, port: int) -> None:
    assert split_host_port(host_port(host, port), 1) == (host, port)
    assert split_host_port(host, port) == (host, port)


@pytest.mark.parametrize(
    "text", ["", ":1", "a:", "a:0", "a:65536", "a:b", "a:1:2", "[::1", "[::1]1", "[a]:1", "a:1 ", "a:１"]
)
def test_an_invalid_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(has no host|has a port|is not of the form)"):
        split_host_port(text, 1)

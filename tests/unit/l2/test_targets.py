"""Arguments on the command line: the addresses they name, and the errors for those that name none."""

from __future__ import annotations

import pytest

from provisioner.errors import ProvisionerError
from provisioner.l2 import targets
from provisioner.l2.facts import Facts, Pool, Service

WEB = Service(namespace="default", name="web", ingress_ips=("192.0.2.200", "2001:db8::200"))
SHARED = Service(namespace="shop", name="api", ingress_ips=("192.0.2.200",))
OTHER = Service(namespace="shop", name="web", ingress_ips=("198.51.100.9",))
WAITS = Service(namespace="shop", name="new")
FACTS = Facts(
    pools=(
        Pool(name="lab", addresses=("192.0.2.200-192.0.2.202", "192.0.2.208/31")),
        Pool(name="six", addresses=("2001:db8::200-2001:db8::201",)),
    ),
    services=(WEB, SHARED, OTHER, WAITS),
)


def texts(found: targets.ScanTargets) -> list[str]:
    return [str(ip) for ip in found.ips]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["192.0.2.7"], ["192.0.2.7"]),
        (["192.0.2.7-192.0.2.9"], ["192.0.2.7", "192.0.2.8", "192.0.2.9"]),
        (["192.0.2.8/30"], ["192.0.2.9", "192.0.2.10"]),  # without network and broadcast address
        (["192.0.2.8/31"], ["192.0.2.8", "192.0.2.9"]),
        (["192.0.2.8/32"], ["192.0.2.8"]),
        (["2001:db8::10/127"], ["2001:db8::10", "2001:db8::11"]),
        (["2001:db8::f"], ["2001:db8::f"]),
        (["pool:lab"], ["192.0.2.200", "192.0.2.201", "192.0.2.202", "192.0.2.208", "192.0.2.209"]),
        (["192.0.2.201", "pool:six", "192.0.2.201"], ["192.0.2.201", "2001:db8::200", "2001:db8::201"]),
    ],
)
def test_what_a_scan_sweeps(words: list[str], expected: list[str]) -> None:
    assert texts(targets.for_scan(words, FACTS)) == expected


def test_without_arguments_every_pool_and_external_ip_is_swept_once() -> None:
    found = texts(targets.for_scan([], FACTS))
    assert found == [
        *("192.0.2.200", "192.0.2.201", "192.0.2.202", "192.0.2.208", "192.0.2.209"),
        *("2001:db8::200", "2001:db8::201"),
        "198.51.100.9",
    ]


def test_of_a_huge_pool_only_addresses_in_use_are_swept_with_a_note() -> None:
    facts = Facts(pools=(Pool(name="six", addresses=("2001:db8::/64",)),), services=(WEB,))
    found = targets.for_scan([], facts)
    assert texts(found) == ["192.0.2.200", "2001:db8::200"]
    assert "2001:db8::/64 of pool six is too large" in found.notes[0]


def test_host_bits_of_a_pools_network_are_ignored() -> None:
    facts = Facts(pools=(Pool(name="lab", addresses=("192.0.2.9/31",)),))
    assert texts(targets.for_scan(["pool:lab"], facts)) == ["192.0.2.8", "192.0.2.9"]


@pytest.mark.parametrize(
    ("words", "facts", "message"),
    [
        (["192.0.2.300"], None, "'192.0.2.300' is not an address, range or network; write 192.0.2.10"),
        (["192.0.2.9-192.0.2.7"], None, "is not an address, range or network"),
        (["192.0.2.1/24"], None, "is not an address, range or network"),
        (["web"], None, "'web' is not an address, range or network"),
        (["2001:db8::/64"], None, "are too many for one scan (at most 65536); scan a part, such as 2001:db8::-2001"),
        (["10.0.0.0/15"], None, "131070 addresses are too many for one scan"),
        (["pool:x"], FACTS, "pool 'x' not found; the pools are lab, six"),
        (["pool:x"], None, "pool 'x' not found; no pools are known"),
        ([], None, "no pools and no external IPs are known here; name the addresses"),
    ],
)
def test_what_a_scan_refuses(words: list[str], facts: Facts | None, message: str) -> None:
    with pytest.raises(ProvisionerError) as caught:
        targets.for_scan(words, facts)
    assert message in str(caught.value)


def test_a_slash_16_is_the_largest_scan() -> None:
    assert len(targets.for_scan(["10.20.0.0/16"], None).ips) == 65534


@pytest.mark.parametrize(
    ("words", "ips", "pending"),
    [
        ([], ["192.0.2.200", "2001:db8::200", "198.51.100.9"], ["shop/new"]),
        (["default/web"], ["192.0.2.200", "2001:db8::200"], []),
        (["api"], ["192.0.2.200"], []),  # an unambiguous name needs no namespace
        (["shop/new"], [], ["shop/new"]),
        (["203.0.113.5", "2001:db8::5"], ["203.0.113.5", "2001:db8::5"], []),
        (["default/web", "shop/api", "192.0.2.200"], ["192.0.2.200", "2001:db8::200"], []),
    ],
)
def test_what_a_check_covers(words: list[str], ips: list[str], pending: list[str]) -> None:
    found = targets.for_check(words, FACTS)
    assert sorted(str(ip) for ip in found.ips) == sorted(ips)
    assert [service.key for service in found.pending] == pending


@pytest.mark.parametrize(
    ("words", "facts", "message"),
    [
        ([], None, "the cluster's services are not known here"),
        ([], Facts(), "the cluster's services are not known here"),  # unknown, not empty
        ([], Facts(services=()), "no services of type LoadBalancer"),
        (
            ["default/wbe"],
            FACTS,
            "'default/wbe' is neither an address nor a service of type LoadBalancer; write namesp",
        ),
        (["default/web"], None, "'default/web' is not an address, and the cluster's services are not known here"),
        (["web"], FACTS, "several services are named web; default/web or shop/web"),
        (["192.0.2.0/24"], FACTS, "192.0.2.0/24 is more than one address; sweep it: provisioner l2 scan 192.0.2.0/24"),
    ],
)
def test_what_a_check_refuses(words: list[str], facts: Facts | None, message: str) -> None:
    with pytest.raises(ProvisionerError) as caught:
        targets.for_check(words, facts)
    assert message in str(caught.value)

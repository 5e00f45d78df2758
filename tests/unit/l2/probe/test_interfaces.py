"""Which interface to send from, by the output of `ip -json address`."""

import json
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_address
from typing import Any

import pytest

from provisioner.errors import Inconclusive
from provisioner.l2.probe.interfaces import Interface, _gateways, _neighbours, choose, detecting, parse


def entry(name: str, *addresses: str, flags: str = "UP LOWER_UP", link: str = "ether") -> dict[str, Any]:
    info = []
    for text in addresses:
        local, prefix = text.split("/")
        info.append({"family": "inet6" if ":" in local else "inet", "local": local, "prefixlen": int(prefix)})
    return {"ifname": name, "address": "02:00:00:00:00:01", "flags": flags.split(), "link_type": link} | {
        "addr_info": info
    }


def here(*entries: dict[str, Any]) -> tuple[Interface, ...]:
    return parse(json.dumps(entries))


def ips(*texts: str) -> list[IPv4Address]:
    return [IPv4Address(text) for text in texts]


LAN = entry("eth1", "192.0.2.1/24", "fe80::1/64")
WIDE = entry("eth2", "192.0.0.9/16")
TWIN = entry("eth3", "192.0.2.3/24")


def test_parse() -> None:
    found = here(
        LAN,
        entry("lo", "127.0.0.1/8", link="loopback"),
        entry("down", flags="BROADCAST"),
        entry("loose", flags="UP NO-CARRIER"),
        entry("tun", flags="UP NOARP"),
        {},
    )
    assert found[0] == Interface(
        "eth1", "02:00:00:00:00:01", True, True, (IPv4Interface("192.0.2.1/24"), IPv6Interface("fe80::1/64"))
    )
    assert [(one.name, one.up, one.ethernet) for one in found[1:]] == [
        ("lo", True, False),
        ("down", False, True),
        ("loose", False, True),
        ("tun", True, False),
    ]
    assert parse("") == ()


@pytest.mark.parametrize(
    ("entries", "targets", "name", "wanted"),
    [
        ([LAN], ["192.0.2.200"], "", "eth1"),
        ([WIDE, LAN], ["192.0.2.200"], "", "eth1"),  # the longest prefix wins, as in routing
        ([WIDE, LAN], ["192.0.2.200", "192.0.3.1"], "", "eth2"),
        ([LAN, TWIN], ["192.0.2.200"], "eth3", "eth3"),
        ([LAN], ["198.51.100.1"], "eth1", "eth1"),  # a pool outside the subnet may still be answered
    ],
)
def test_choose(entries: list[dict[str, Any]], targets: list[str], name: str, wanted: str) -> None:
    assert choose(here(*entries), ips(*targets), name).name == wanted


@pytest.mark.parametrize(
    ("entries", "targets", "name", "message"),
    [
        ([], ["192.0.2.9"], "", "not on the segment of 192.0.2.9 (its segments: none)"),
        ([LAN], ["198.51.100.1"], "", "not on the segment of 198.51.100.1 (its segments: 192.0.2.0/24 on eth1)"),
        ([LAN], ["192.0.2.9", "192.0.3.9"], "", "not on the segment of 192.0.2.9 … 192.0.3.9"),
        ([LAN, TWIN], ["192.0.2.9"], "", "eth1 and eth3 are both on the segment of 192.0.2.9; choose one with"),
        ([entry("eth1", "192.0.2.1/24", flags="")], ["192.0.2.9"], "", "not on the segment"),
        ([entry("eth1", "192.0.2.1/24", flags="")], ["192.0.2.9"], "eth1", "eth1 is down"),
        ([entry("tun0", "192.0.2.1/24", flags="UP NOARP")], ["192.0.2.9"], "tun0", "does not use ARP"),
        ([LAN, WIDE], ["192.0.2.9"], "wlan0", "no interface wlan0 on this machine; choose one of: eth1, eth2"),
    ],
)
def test_choose_refuses(entries: list[dict[str, Any]], targets: list[str], name: str, message: str) -> None:
    with pytest.raises(Inconclusive) as caught:
        choose(here(*entries), ips(*targets), name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("addresses", "target", "wanted"),
    [
        (("192.0.2.1/24", "198.51.100.1/24"), "198.51.100.7", "198.51.100.1"),
        (("192.0.0.1/16", "192.0.2.1/24"), "192.0.2.7", "192.0.2.1"),
        (("192.0.2.1/24",), "203.0.113.7", "192.0.2.1"),
        ((), "192.0.2.7", None),
    ],
)
def test_source_address(addresses: tuple[str, ...], target: str, wanted: str | None) -> None:
    (interface,) = here(entry("eth1", *addresses))
    source = interface.source_for(IPv4Address(target))
    assert (str(source) if source else None) == wanted


@pytest.mark.parametrize(
    ("addresses", "target", "source", "client"),
    [
        (("fd00::1/64", "fe80::1/64"), "fd00::9", "fe80::1", "fd00::1"),
        (("fd00::1/64", "fd01::1/64", "fe80::1/64"), "fd01::9", "fe80::1", "fd01::1"),
        (("fe80::1/64",), "fd00::9", "fe80::1", None),  # link-local addresses reach no service
        (("fe80::1/64", "fd00::1/64"), "fe80::9", "fe80::1", "fe80::1"),
        (("192.0.2.1/24",), "fd00::9", None, None),
        (("fe80::1/64",), "192.0.2.9", None, None),
        (("192.0.2.1/24", "fe80::1/64"), "192.0.2.9", "192.0.2.1", "192.0.2.1"),
    ],
)
def test_addresses_of_both_families(
    addresses: tuple[str, ...], target: str, source: str | None, client: str | None
) -> None:
    (interface,) = here(entry("eth1", *addresses))
    to = ip_address(target)
    assert (str(interface.source_for(to)), str(interface.client_address(to))) == (str(source), str(client))


def test_tentative_and_duplicate_addresses_are_no_source() -> None:
    given = entry("eth1", "192.0.2.1/24", "fe80::1/64", "fd00::1/64")
    given["addr_info"][1]["tentative"] = True
    given["addr_info"][2]["dadfailed"] = True
    (interface,) = here(given)
    assert interface.addresses == (IPv4Interface("192.0.2.1/24"),)


@pytest.mark.parametrize(
    ("flags", "address", "expected"),
    [
        (["UP"], {"tentative": True}, True),
        (["UP"], {"tentative": True, "dadfailed": True}, False),
        (["UP", "NO-CARRIER"], {"tentative": True}, False),
        ([], {"tentative": True}, False),
        (["UP"], {}, False),
    ],
)
def test_duplicate_address_detection_under_way(flags: list[str], address: dict[str, bool], expected: bool) -> None:
    given = entry("eth1", "fe80::1/64")
    given["flags"] = flags
    given["addr_info"][0].update(address)
    assert detecting(json.dumps([given])) is expected


def test_neighbours_and_routers() -> None:
    cache = [{"dst": "192.0.2.9", "lladdr": "02:00:00:00:00:0B", "state": ["STALE"]}, {"dst": "fe80::9"}]
    assert _neighbours(json.dumps(cache)) == {ip_address("192.0.2.9"): "02:00:00:00:00:0b"}
    routes = [
        {"dst": "default", "gateway": "192.0.2.254"},
        {"dst": "192.0.2.0/24"},
        {"dst": "default", "nexthops": [{"gateway": "fe80::fe"}, {"gateway": "fe80::fd"}]},
    ]
    assert [str(one) for one in _gateways(json.dumps(routes))] == ["192.0.2.254", "fe80::fe", "fe80::fd"]
    assert _neighbours("") == {}
    assert _gateways("") == []

"""What a group of routers with several masters means: a failover, two masters, a war, or a number used twice."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from provisioner.l2.probe.router_adverts import RouterAdvert
from provisioner.l2.redundancy import State, groups


def adverts(
    *heard: tuple[float, int], priority: int = 100, vip: str = "192.0.2.100", group: int = 51
) -> list[RouterAdvert]:
    """Return advertisements: (second, last byte of the sender)."""
    return [
        RouterAdvert(
            "VRRP",
            2,
            group,
            ip_address(f"192.0.2.{sender}"),
            f"02:00:00:00:00:{sender:02x}",
            priority,
            (ip_address(vip),),
            1.0,
            when,
        )
        for when, sender in heard
    ]


def alternating(seconds: int) -> list[RouterAdvert]:
    return adverts(
        *((second + offset, sender) for second in range(seconds) for offset, sender in ((0, 11), (0.4, 12)))
    )


@pytest.mark.parametrize(
    ("heard", "state"),
    [
        (adverts((0, 11), (1, 11), (2, 11)), "one master"),
        (adverts((0, 11), (1, 11), (4.6, 12), (5.6, 12)), "one master"),  # a failover
        (adverts((0, 11), (1, 11), (1.1, 12)), "one master"),  # the beginning of one
        (adverts((0, 12), (1, 12), (1.2, 11), (2.2, 11), (3.2, 11)), "one master"),  # a preemption
        (alternating(4), "two masters"),
        (adverts(*((t, 11) for t in (0, 1, 6, 7, 12)), *((t, 12) for t in (4, 5, 10, 11))), "war"),
        (
            [*adverts((0, 11), (3, 11), (6, 11)), *adverts((1, 12), (4, 12), (7, 12), priority=0)],
            "war",
        ),
        ([*adverts((0, 11), (1, 11)), *adverts((0.5, 12), (1.5, 12), vip="192.0.2.200")], "number used twice"),
    ],
)
def test_a_group(heard: list[RouterAdvert], state: State) -> None:
    (group,) = groups(heard)
    assert group.state == state


def test_groups_are_told_apart_by_number_and_ip_version() -> None:
    six = RouterAdvert(
        "VRRP", 3, 51, ip_address("fe80::1"), "02:00:00:00:00:01", 100, (ip_address("fe80::100"),), 1.0, 9.0
    )
    carp = RouterAdvert("CARP", 2, 51, ip_address("192.0.2.1"), "02:00:00:00:00:01", -1, (), 1.0, 9.5)
    found = groups([carp, six, *adverts((0, 11)), *adverts((1, 11), group=52)])
    assert [(one.name, one.state) for one in found] == [
        ("VRRP virtual router 51", "one master"),
        ("VRRP virtual router 52", "one master"),
        ("VRRP virtual router 51", "one master"),
        ("CARP vhid 51", "one master"),
    ]

"""A check apart from frames and verdicts: where to probe from, whom to ask, how two runs are merged."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, ip_address, ip_interface
from pathlib import Path
from types import SimpleNamespace

import pytest

from provisioner.errors import Inconclusive
from provisioner.l2 import check
from provisioner.l2.collect import offline
from provisioner.l2.facts import Facts, Nic, Node, Port, Service
from provisioner.l2.probe import interfaces
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Answer, Capture, Vantage, merge
from provisioner.l2.probe.interfaces import Interface
from provisioner.l2.targets import Targets
from tests import hosts_toml

LAN = Interface("eth0", "02:00:00:00:00:01", True, True, (IPv4Interface("10.0.0.5/24"),))
SEGMENT = Interface(
    "eth1", "02:00:00:00:00:02", True, True, (IPv4Interface("192.0.2.1/24"), ip_interface("2001:db8::1/64"))
)
DOWN = replace(SEGMENT, name="eth2", up=False)
FACTS = Facts(
    nodes=(
        Node(
            name="w1",
            internal_ips=("192.0.2.11", "2001:db8::11"),
            nics=(
                Nic(name="eth0", mac="52:54:00:00:00:01", addresses=("10.0.2.15/24",)),
                Nic(name="eth1", mac="52:54:00:00:00:0B", addresses=("192.0.2.11/24",)),
                Nic(name="eth2", mac="52:54:00:00:00:1b", addresses=("192.0.2.21/24",)),
                Nic(name="tunl0", addresses=("192.0.2.31/32",)),
            ),
        ),
        Node(name="w2", internal_ips=("192.0.2.12",)),
    ),
    services=(
        Service(namespace="a", name="web", ingress_ips=("192.0.2.200",), ports=(Port(port=80), Port(port=443))),
        Service(
            namespace="a",
            name="dns",
            ingress_ips=("192.0.2.200",),
            ports=(Port(port=53, protocol="UDP"), Port(port=53), Port(port=80)),
        ),
    ),
)


@pytest.mark.parametrize(
    ("ips", "facts", "name", "expected"),
    [
        (["192.0.2.200"], None, "", "eth1"),
        (["10.0.0.200"], None, "", "eth0"),
        (["10.0.0.200"], None, "eth1", "eth1"),  # a named interface is used as it is
        (["2001:db8::200"], None, "", "eth1"),
        (["192.0.2.200", "203.0.113.9"], None, "", "eth1"),  # one of them is in no subnet: that becomes a verdict
        (["203.0.113.9"], FACTS, "", "eth1"),  # none is: the nodes' segment is used
    ],
)
def test_the_chosen_interface(ips: list[str], facts: Facts | None, name: str, expected: str) -> None:
    assert check.choose_interface([LAN, SEGMENT, DOWN], [ip_address(ip) for ip in ips], facts, name).name == expected


@pytest.mark.parametrize(
    ("ips", "facts", "name", "message"),
    [
        (["203.0.113.9"], None, "", "this machine is not on the segment of 203.0.113.9"),
        (["192.0.2.200", "10.0.0.200"], None, "", "not on the segment of"),
        (["192.0.2.200"], FACTS, "eth2", "eth2 is down"),
        (["192.0.2.200"], FACTS, "eth9", "no interface eth9 on this machine"),
    ],
)
def test_no_interface_to_probe_from(ips: list[str], facts: Facts | None, name: str, message: str) -> None:
    with pytest.raises(Inconclusive) as caught:
        check.choose_interface([LAN, SEGMENT, DOWN], [ip_address(ip) for ip in ips], facts, name)
    assert message in str(caught.value)


def test_unicasts_go_to_every_nic_of_a_node_on_the_segment() -> None:
    assert check.known_macs(FACTS, SEGMENT) == ("52:54:00:00:00:0b", "52:54:00:00:00:1b")
    assert check.known_macs(FACTS, LAN) == ()
    assert check.known_macs(None, LAN) == ()


def test_the_tcp_ports_of_an_address_are_those_of_all_its_services() -> None:
    assert check.tcp_ports(FACTS) == {ip_address("192.0.2.200"): (80, 443, 53)}
    assert check.tcp_ports(None) == {}


def test_off_the_segment_every_address_gets_the_same_verdict_and_its_service() -> None:
    pending = Service(namespace="a", name="pending")
    wanted = Targets((ip_address("192.0.2.200"), ip_address("2001:db8::9")), (pending,))
    results = check.off_segment(Inconclusive("this machine is elsewhere", "go there"), FACTS, wanted)
    assert [(one.ip, one.family, one.service, one.verdict) for one in results[:2]] == [
        ("192.0.2.200", "ipv4", "a/web, a/dns", "INCONCLUSIVE_PROBE_LOCATION"),
        ("2001:db8::9", "ipv6", "", "INCONCLUSIVE_PROBE_LOCATION"),
    ]
    assert results[0].evidence == ("this machine is elsewhere.",)
    assert results[0].remedy == "go there."
    assert results[2].service == "a/pending"  # which needs no capture


def test_merging_two_runs_loses_nothing() -> None:
    one, two = ip_address("192.0.2.200"), ip_address("192.0.2.201")
    vantage = Vantage("eth1", "02:00:00:00:00:02", neighbours={one: "52:54:00:00:00:0b"})
    first = Capture(
        vantage,
        (one, two),
        (Answer(IPv4Address("192.0.2.200"), "a", Kind.PROBE, 1.0, 0.1, 60),),
        asked={one: frozenset({Kind.PROBE}), two: frozenset({Kind.REQUEST})},
        times={one: {Kind.PROBE: 1}},
        unicast_to={one: ("m1",)},
        echo={one: False},
        started=1.0,
        sent=3,
        received=1,
        dropped=1,
        pps=200,
    )
    second = Capture(
        Vantage("eth1", "02:00:00:00:00:02"),
        (one,),
        (Answer(IPv4Address("192.0.2.200"), "b", Kind.REQUEST, 3.0, 0.1, 60),),
        asked={one: frozenset({Kind.PROBE, Kind.REQUEST})},
        times={one: {Kind.PROBE: 1, Kind.REQUEST: 2}},
        unicast_to={one: (), two: ("m2",)},
        echo={one: True},
        started=2.5,
        sent=4,
        received=2,
        pps=200,
    )
    both = merge(first, second)
    assert both.vantage is vantage  # with the neighbor cache from before any question
    assert both.targets == (one, two)
    assert both.macs(one) == ("a", "b")
    assert both.asked == {one: frozenset({Kind.PROBE, Kind.REQUEST}), two: frozenset({Kind.REQUEST})}
    assert both.times[one] == {Kind.PROBE: 2, Kind.REQUEST: 2}
    assert both.unicast_to == {one: ("m1",), two: ("m2",)}
    assert both.echo == {one: True}
    assert (both.started, both.sent, both.received, both.dropped) == (1.0, 7, 3, 1)


def test_hosts_toml_alone_gives_addresses_and_pools_only(tmp_path: Path) -> None:
    pool = hosts_toml.pool("lab", "192.0.2.200-192.0.2.203", auto_assign=False)
    facts = offline.site_facts(hosts_toml.load(tmp_path, hosts_toml.hosts("m") + pool))
    assert [(node.name, node.internal_ips, node.nics) for node in facts.nodes] == [("m", ("192.0.2.10",), None)]
    assert facts.pools is not None
    assert (facts.pools[0].addresses, facts.pools[0].auto_assign) == (("192.0.2.200-192.0.2.203",), False)
    assert (facts.services, facts.advertisements) == (None, None)  # unknown, not empty


@pytest.mark.parametrize(("metrics", "counted"), [(lambda: None, True), (None, False)])
def test_only_counters_read_before_and_after_a_run_count_for_it(
    monkeypatch: pytest.MonkeyPatch, metrics: Callable[[], None] | None, counted: bool
) -> None:
    heard = Capture(Vantage("eth1", SEGMENT.mac, SEGMENT.addresses), (ip_address("192.0.2.200"),))
    monkeypatch.setattr(interfaces, "vantage", lambda _: heard.vantage)
    monkeypatch.setattr(check, "probe_segment", lambda *_, **__: heard)
    quiet = SimpleNamespace(listen=lambda *_: ())
    monkeypatch.setattr(check, "RouterListener", lambda _: nullcontext(quiet))
    capture, _ = check.run(FACTS, Targets(heard.targets, ()), SEGMENT, metrics=metrics)
    assert capture is not None
    assert capture.counted is counted

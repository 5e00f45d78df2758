"""Whose a MAC is by facts and answers, and whether a kernel or a speaker answers."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from provisioner.l2 import macs, owners
from provisioner.l2.facts import Facts, Nic, Node
from provisioner.l2.owners import Owner
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Answer
from provisioner.l2.result import OwnerClass

A, B, C, D = (f"52:54:00:00:00:0{last}" for last in "abcd")


def answer(ip: str, mac: str) -> Answer:
    return Answer(ip_address(ip), mac, Kind.PROBE, 100.0, 0.0005, 42)


FACTS = Facts(
    nodes=(
        Node(name="w1", internal_ips=("192.0.2.11",), nics=(Nic(name="eth1", mac=A),)),
        Node(name="w2", internal_ips=("192.0.2.12", "2001:db8::5054:ff:fe00:d")),
        Node(name="w3", nics=(Nic(name="eth1", addresses=("fe80::5054:ff:fe00:c/64",)),)),
    )
)


def test_inventory_comes_first_then_arp_then_eui64() -> None:
    known = owners.from_facts(FACTS, [answer("192.0.2.11", B), answer("192.0.2.12", D), answer("192.0.2.99", C)])
    assert known.owner(A) == Owner(A, ("w1",), "eth1", "inventory")
    assert known.owner(B) == Owner(B, ("w1",), "", "arp")
    assert known.owner(C) == Owner(C, ("w3",), "eth1", "eui64")
    assert known.owner(D) == Owner(D, ("w2",), "", "arp")
    assert owners.from_facts(FACTS, []).owner(D) == Owner(D, ("w2",), "", "eui64")


def test_a_routers_answer_does_not_make_it_a_node() -> None:
    known = owners.from_facts(FACTS, [answer("192.0.2.12", B)], [B])
    assert known.owner(B) == Owner(B)


@pytest.mark.parametrize(
    ("heard", "foreign"),
    [
        ([], None),  # w2's MACs are unknown, so this may be one
        ([answer("192.0.2.12", D)], True),
        ([answer("192.0.2.12", B)], False),
        ([answer("192.0.2.12", D), answer("192.0.2.12", C)], None),  # two answers for one address prove neither
    ],
)
def test_a_mac_is_foreign_only_if_every_nodes_macs_are_known(heard: list[Answer], foreign: bool | None) -> None:
    assert owners.from_facts(FACTS, heard).is_foreign(B) is foreign


def test_without_nodes_no_mac_is_foreign() -> None:
    assert owners.from_facts(Facts(), []).is_foreign(B) is None


def test_nodes_that_share_an_address_are_ambiguous() -> None:
    both = Facts(nodes=tuple(Node(name=name, internal_ips=("10.0.2.15",)) for name in ("w1", "w2")))
    assert owners.from_facts(both, [answer("10.0.2.15", B)]).owner(B).nodes == ("w1", "w2")


@pytest.mark.parametrize(
    ("ip", "mac"),
    [
        ("fe80::5054:ff:fe00:11", "52:54:00:00:00:11"),
        ("2001:db8::ba27:ebff:fe12:3456", "b8:27:eb:12:34:56"),
        ("2001:db8::11", ""),
        ("192.0.2.1", ""),
    ],
)
def test_eui64(ip: str, mac: str) -> None:
    assert owners.eui64_mac(ip_address(ip)) == mac


@pytest.mark.parametrize(
    ("mac", "vendor"),
    [
        ("b8:27:eb:00:00:01", "Raspberry Pi Foundation"),
        ("52:54:00:00:00:01", "QEMU or KVM virtual machine"),
        ("02:00:00:00:00:01", ""),  # made up by software
        ("fc:ff:ff:00:00:01", ""),
    ],
)
def test_vendor(mac: str, vendor: str) -> None:
    assert macs.vendor(mac) == vendor


@pytest.mark.parametrize(
    ("lengths", "own", "holds", "speaks", "wanted"),
    [
        pytest.param([60], [42], None, False, "speaker", id="padded although its kernel does not pad"),
        pytest.param([42], [42], None, False, "kernel", id="as long as its kernel's"),
        pytest.param([42], [], None, False, "kernel", id="too short for a speaker"),
        pytest.param([42, 60], [42], None, False, "speaker", id="both"),
        pytest.param([60], [60], None, False, "unknown", id="a physical NIC pads both"),
        pytest.param([60], [], None, False, "unknown", id="no answer from its kernel"),
        pytest.param([60], [60], True, False, "kernel", id="a physical NIC, address configured"),
        pytest.param([60], [60], False, False, "unknown", id="a physical NIC, address not configured"),
        pytest.param([60], [60], True, True, "speaker", id="a physical NIC, address configured, the speaker counts"),
        pytest.param([60], [42], True, False, "speaker", id="frames outweigh the configuration"),
        pytest.param([], [], None, False, "unknown", id="IPv6"),
        pytest.param([], [], None, True, "speaker", id="IPv6, the speaker counts"),
    ],
)
def test_kind(lengths: list[int], own: list[int], holds: bool | None, speaks: bool, wanted: OwnerClass) -> None:
    assert owners.kind(lengths, own, holds=holds, speaks=speaks) == wanted

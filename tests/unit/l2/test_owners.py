"""Whose a MAC is, by the nodes' interfaces and by their answers."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from provisioner.l2.owners import NodeMacs, Owner, from_answers, from_nics
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Answer
from provisioner.ssh import HostNic

A, B, C = "52:54:00:00:00:0a", "52:54:00:00:00:0b", "52:54:00:00:00:0c"


def answer(ip: str, mac: str, kind: Kind = Kind.PROBE) -> Answer:
    return Answer(IPv4Address(ip), mac, kind, 100.0, 0.0005, 60)


def nic(name: str, mac: str, *addresses: str, master: str = "") -> HostNic:
    return HostNic(name, mac, True, addresses, master)


def test_the_inventory_names_node_and_interface() -> None:
    known = NodeMacs(
        from_nics({"w1": [nic("eth1", A.upper(), "192.0.2.11/24")], "w2": [nic("eth1", B, "192.0.2.12/24")]}),
        {C: ("w3",)},
    )
    assert known.owner(A.upper()) == Owner(A, ("w1",), "eth1", "inventory")
    assert known.owner(C) == Owner(C, ("w3",), "", "arp")
    assert str(known.owner(B)) == f"{B} (w2 eth1)"
    assert B in known


def test_foreign_and_shared_macs_are_not_guessed() -> None:
    known = NodeMacs(from_nics({"w1": [nic("eth0", A)], "w2": [nic("eth0", A)]}))
    assert known.owner(A).node == ""
    assert str(known.owner(A)) == f"{A} (shared by w1 and w2)"
    assert str(known.owner(B)) == f"{B} (not a node)"
    assert B not in known


def test_of_a_bridge_and_its_port_the_one_with_addresses_comes_first() -> None:
    own = [nic("eth0", A, master="br0"), nic("br0", A, "192.0.2.11/24"), nic("lo", "00:00:00:00:00:00")]
    inventory = from_nics({"w1": own})
    assert inventory == {A: (("w1", "br0"), ("w1", "eth0"))}


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ([answer("192.0.2.11", A), answer("192.0.2.200", B)], {A: ("w1",)}),
        ([answer("192.0.2.11", A), answer("192.0.2.12", A)], {A: ("w1", "w2")}),
        ([answer("192.0.2.11", A), answer("192.0.2.11", C)], {}),  # a conflict proves neither
        ([answer("192.0.2.11", A, Kind.PROBE), answer("192.0.2.11", A, Kind.REQUEST)], {A: ("w1",)}),
    ],
)
def test_owners_by_the_nodes_own_answers(answers: list[Answer], wanted: dict[str, tuple[str, ...]]) -> None:
    assert from_answers(answers, {"w1": "192.0.2.11", "w2": "192.0.2.12", "w6": "2001:db8::6"}) == wanted

"""Local ports of flows: different ones to one destination, shared by different destinations."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from provisioner.l2.probe.local_ports import _MOST, LocalPorts

HERE, A, B = ip_address("127.0.0.1"), ip_address("192.0.2.1"), ip_address("192.0.2.2")


@pytest.fixture
def ports() -> Iterator[LocalPorts]:
    made = LocalPorts()
    yield made
    made.close()


def test_flows_to_one_destination_have_different_ports(ports: LocalPorts) -> None:
    taken = [ports.take(HERE, A, 80) for _ in range(_MOST)]
    assert len(set(taken)) == _MOST
    assert ports.take(HERE, A, 80) == taken[0]


def test_destinations_share_ports(ports: LocalPorts) -> None:
    first = [ports.take(HERE, A, 80) for _ in range(3)]
    assert [ports.take(HERE, B, 80) for _ in range(3)] == first
    assert [ports.take(HERE, A, 443) for _ in range(3)] == first
    assert ports.take(HERE, A, 80, "UDP") is not None


def test_the_kernel_has_them_until_they_are_closed() -> None:
    ports = LocalPorts()
    number = ports.take(HERE, A, 80)
    assert number is not None
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((str(HERE), number))
    ports.close()
    with socket.socket() as other:
        other.bind((str(HERE), number))

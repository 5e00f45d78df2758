"""Pool addresses in use on the segment: which are probed, and how the kernel's neighbor table is read."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from provisioner.ssh import Host, HostNic
from provisioner.steps.pool_conflicts import MAX_ADDRESSES, pool_addresses_of, pool_conflicts
from provisioner.steps.preflight import STEP
from tests import hosts_toml
from tests.unit.steps.doubles import RecordingHost, fleet_for, site_at

HOSTS = hosts_toml.hosts("master", "worker1", network="192.168.56")


def machine(tmp_path: Path, *addresses: str) -> RecordingHost:
    pool = hosts_toml.pool("lab", *(addresses or ("192.168.56.200-192.168.56.203",)))
    return fleet_for(STEP, site_at(tmp_path, hosts=HOSTS, rest=pool))["master"]


def conflicts(host: RecordingHost, answer: str) -> list[str]:
    host.says["neigh show"] = answer
    ranges = [part for pool in host.site.metallb.pools for part in pool.ranges]
    return [text.split()[0] for text in pool_conflicts(cast(Host, host), ranges)]


TABLE: list[tuple[str, list[str]]] = [
    ("", []),
    ("192.168.56.201 lladdr aa:bb:cc:dd:ee:ff REACHABLE\n", ["192.168.56.201"]),
    ("192.168.56.201 lladdr aa:bb:cc:dd:ee:ff STALE\n", ["192.168.56.201"]),
    ("192.168.56.201 lladdr aa:bb:cc:dd:ee:ff router REACHABLE\n", ["192.168.56.201"]),
    ("192.168.56.201 lladdr aa:bb:cc:dd:ee:ff PERMANENT\n", ["192.168.56.201"]),
    ("192.168.56.201 FAILED\n", []),
    ("192.168.56.201 INCOMPLETE\n", []),
    ("192.168.56.201 lladdr aa:bb:cc:dd:ee:ff FAILED\n", []),
    ("192.168.56.1 lladdr aa:bb:cc:dd:ee:ff REACHABLE\n", []),
    ("192.168.56.20 lladdr aa:bb:cc:dd:ee:ff REACHABLE\n", []),
    ("192.168.56.201 lladdr 52:54:00:00:01:02 REACHABLE\n", []),
    ("192.168.56.201 lladdr 52:54:00:00:01:02 REACHABLE\n".upper().replace("LLADDR", "lladdr"), []),
    (
        "192.168.56.200 FAILED\n"
        "192.168.56.203 lladdr aa:bb:cc:dd:ee:01 DELAY\n"
        "192.168.56.202 lladdr aa:bb:cc:dd:ee:02 REACHABLE\n"
        "192.168.56.11 lladdr 52:54:00:00:01:02 REACHABLE\n",
        ["192.168.56.203", "192.168.56.202"],
    ),
]


@pytest.mark.parametrize(("answer", "expected"), TABLE, ids=[text.strip()[:48] or "nothing" for text, _ in TABLE])
def test_entries_of_the_neighbor_table(tmp_path: Path, answer: str, expected: list[str]) -> None:
    assert conflicts(machine(tmp_path), answer) == expected


def probed(host: RecordingHost) -> list[str]:
    conflicts(host, "")
    (command,) = host.commands
    nic, *addresses = command.rsplit(" scan ", 1)[1].split()
    assert nic == "eth1"
    return addresses


def test_every_address_of_the_segment_is_probed_once(tmp_path: Path) -> None:
    host = machine(tmp_path, "192.168.56.202-192.168.56.203", "192.168.56.240/31", "10.99.0.0/30")
    assert probed(host) == ["192.168.56.202", "192.168.56.203", "192.168.56.240", "192.168.56.241"]


def test_no_more_addresses_than_the_neighbor_table_holds(tmp_path: Path) -> None:
    host = machine(tmp_path, "192.168.64.0/20")
    host.know(nics=(HostNic("eth1", "52:54:00:00:01:01", True, ("192.168.56.10/16",)),))
    assert len(probed(host)) == MAX_ADDRESSES


def test_ipv6_addresses_of_the_segment_are_probed_as_well(tmp_path: Path) -> None:
    host = machine(tmp_path, "192.168.56.200/32", "fd00:56::fe-fd00:56::101", "fd00:57::1/128")
    host.know(nics=(HostNic("eth1", "52:54:00:00:01:01", True, ("192.168.56.10/24", "fd00:56::10/64")),))
    assert probed(host) == ["192.168.56.200", *(f"fd00:56::{last}" for last in ("fe", "ff", "100", "101"))]
    host.commands.clear()
    assert conflicts(host, "fd00:56::100 lladdr aa:bb:cc:dd:ee:ff REACHABLE\n") == ["fd00:56::100"]


def test_only_the_first_addresses_of_a_large_ipv6_pool_are_probed(tmp_path: Path) -> None:
    host = machine(tmp_path, "192.168.56.200/32", "fd00:56::/64")
    host.know(nics=(HostNic("eth1", "52:54:00:00:01:01", True, ("192.168.56.10/24", "fd00:56::10/64")),))
    assert len(probed(host)) == MAX_ADDRESSES + 1


@pytest.mark.parametrize("addresses", [("10.99.0.0/30",), ("fd00::1-fd00::9",)])
def test_a_pool_on_another_segment_is_not_probed(tmp_path: Path, addresses: tuple[str, ...]) -> None:
    host = machine(tmp_path, *addresses)
    assert conflicts(host, "192.168.56.201 lladdr aa:bb:cc:dd:ee:ff REACHABLE\n") == []
    assert host.commands == []


@pytest.mark.parametrize("prefix", [64, 32])
def test_a_large_pool_on_another_segment_costs_nothing(tmp_path: Path, prefix: int) -> None:
    assert probed(machine(tmp_path, f"fd00:1::/{prefix}", "172.16.0.0/12", "192.168.56.200/32")) == ["192.168.56.200"]


def test_a_pool_address_on_a_hosts_own_nic(tmp_path: Path) -> None:
    host = machine(tmp_path)
    addresses = ("192.168.56.10/24", "192.168.56.203/32")
    host.know(nics=(HostNic("eth1", "52:54:00:00:01:01", True, addresses), HostNic("lo", "", True, ("::1/128",))))
    (told,) = pool_addresses_of(cast(Host, host), host.site)
    assert told.startswith("192.168.56.203 of the MetalLB pools is on its NIC eth1")
    host.know(nics=(HostNic("kube-ipvs0", "52:54:00:00:01:09", True, addresses),))
    assert pool_addresses_of(cast(Host, host), host.site) == []


def test_a_host_without_its_address_probes_nothing(tmp_path: Path) -> None:
    host = machine(tmp_path).know(nics=())
    assert conflicts(host, "192.168.56.201 lladdr aa:bb:cc:dd:ee:ff REACHABLE\n") == []

"""Preflight's probe for pool addresses in use, by the real kernel on a real segment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from provisioner.addresses import Range, parse_range
from provisioner.site import Site
from provisioner.ssh import Host, HostNic
from provisioner.ssh.command import CommandResult
from provisioner.steps.pool_conflicts import pool_conflicts

pytestmark = pytest.mark.integration

MASTER, STRANGER = "02:00:00:00:00:10", "02:00:00:00:00:99"


NO_DAD = {True: ["nodad"], False: []}  # an IPv6 address that is still tentative answers nobody
IPV6 = [parse_range("fd00:2::200-fd00:2::20f")]


def ranges(site: Site) -> list[Range]:
    return [part for pool in site.metallb.pools for part in pool.ranges]


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def segment() -> Iterator[tuple[str, str]]:
    """Yield two connected hosts: the master, and a stranger with pool addresses 192.0.2.205 and fd00:2::205."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    names = (f"pool-{os.getpid()}-m", f"pool-{os.getpid()}-s")
    try:
        for name in names:
            run("ip", "netns", "add", name)
        cable = ["ip", "-n", names[0], "link", "add", "eth1", "address", MASTER, "type", "veth"]
        run(*cable, "peer", "name", "eth1", "address", STRANGER, "netns", names[1])
        for name, last in zip(names, ("10", "205"), strict=True):
            for address in (f"192.0.2.{last}/24", f"fd00:2::{last}/64"):
                run("ip", "-n", name, "address", "add", address, "dev", "eth1", *NO_DAD[":" in address])
            run("ip", "-n", name, "link", "set", "eth1", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def master(namespace: str, site: Site) -> Host:
    """Return the master, whose commands run in its network namespace."""
    nic = HostNic("eth1", MASTER, True, ("192.0.2.10/24", "fd00:2::10/64"))
    facts = SimpleNamespace(address_nic=lambda _: nic, nics=(nic,))

    def execute(command: str, **_: Any) -> CommandResult:
        return CommandResult(run("ip", "netns", "exec", namespace, "sh", "-euc", command), "", 0, 0.0)

    host = SimpleNamespace(name="master", spec=site.first, site=site, facts=facts, run=execute)
    host.reachable_facts = lambda: {"master": facts}
    return cast(Host, host)


def test_only_addresses_that_answer_are_reported(segment: tuple[str, str], site: Site) -> None:
    assert pool_conflicts(master(segment[0], site), ranges(site)) == [
        f"192.0.2.205 of the MetalLB pools is in use by {STRANGER}: remove it from metallb.pools or from that machine"
    ]


@pytest.mark.parametrize("state", ["stale", "reachable"])
def test_a_machine_that_is_gone_is_not_reported(segment: tuple[str, str], site: Site, state: str) -> None:
    """The kernel keeps its entry, and trusts it for half a minute; it is flushed first."""
    remembered = ["nud", state, "dev", "eth1"]
    run("ip", "-n", segment[0], "neigh", "replace", "192.0.2.206", "lladdr", "02:00:00:00:00:98", *remembered)
    found = pool_conflicts(master(segment[0], site), ranges(site))
    assert [sentence.split()[0] for sentence in found] == ["192.0.2.205"]


def test_ipv6_is_probed_by_neighbor_solicitation(segment: tuple[str, str], site: Site) -> None:
    found = pool_conflicts(master(segment[0], site), IPV6)
    assert found == [
        f"fd00:2::205 of the MetalLB pools is in use by {STRANGER}: remove it from metallb.pools or from that machine"
    ]

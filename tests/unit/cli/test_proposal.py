"""What `init` proposes for machines: segment, control plane, NFS server, pool and the file."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from provisioner.cli import proposal
from provisioner.cli.named import Named
from provisioner.cli.proposal import Machine
from provisioner.cli.proposed_file import Proposal, key_path, render
from provisioner.errors import ProvisionerError
from provisioner.site import HostSpec, parse_site
from provisioner.ssh import FactQuery, HostNic
from tests.unit.steps.doubles import blank

LAN = IPv4Network("192.168.1.0/24")


def machine(number: int, *nics: tuple[str, str], typed: str = "", **facts: object) -> Machine:
    """Return a machine n1, n2… with these NICs, each a name and an address with its prefix length."""
    spec = HostSpec(name=f"n{number}", address=f"192.168.1.{number}", roles=("worker",))
    known = replace(
        blank(spec, FactQuery()),
        nics=tuple(
            HostNic(name, f"52:54:00:00:{number:02x}:{n:02x}", True, (ip,)) for n, (name, ip) in enumerate(nics)
        ),
        disk_free_mib={"/srv": 20000},
        **facts,  # type: ignore[arg-type]
    )
    return Machine(spec.name, Named(spec.name, typed or spec.name), known)


def two(first: list[tuple[str, str]], second: list[tuple[str, str]]) -> list[Machine]:
    return [machine(1, *first), machine(2, *second)]


@pytest.mark.parametrize(
    ("machines", "expected"),
    [
        pytest.param(two([("eth0", "192.168.1.1/24")], [("eno1", "192.168.1.2/24")]), "192.168.1.0/24", id="one"),
        pytest.param(
            two(
                [("eth0", "10.0.2.15/24"), ("eth1", "192.168.56.1/24")],
                [("eth0", "10.0.2.15/24"), ("eth1", "192.168.56.2/24")],
            ),
            "192.168.56.0/24",
            id="VirtualBox' NAT is none",
        ),
        pytest.param(
            two(
                [("eth0", "172.30.0.9/24"), ("eth1", "192.168.56.1/24")],
                [("eth0", "172.30.0.9/24"), ("eth1", "192.168.56.2/24")],
            ),
            "192.168.56.0/24",
            id="nor another NAT with one address for all",
        ),
        pytest.param(
            two(
                [("docker0", "172.17.0.1/16"), ("eth0", "192.168.1.1/24")],
                [("docker0", "172.17.0.2/16"), ("eth0", "192.168.1.2/24")],
            ),
            "192.168.1.0/24",
            id="nor Docker's",
        ),
        pytest.param(
            two(
                [("eth1", "10.9.0.1/24"), ("eth0", "192.168.1.1/24")],
                [("eth1", "10.9.0.2/24"), ("eth0", "192.168.1.2/24")],
            ),
            "192.168.1.0/24",
            id="of two the one with the default routes",
        ),
        pytest.param(
            [
                machine(1, ("eth1", "10.9.0.1/24"), ("eth0", "192.168.1.1/24"), typed="10.9.0.1"),
                machine(2, ("eth1", "10.9.0.2/24"), ("eth0", "192.168.1.2/24"), typed="10.9.0.2"),
            ],
            "10.9.0.0/24",
            id="before that the one that was named",
        ),
    ],
)
def test_the_segment_that_all_share(machines: list[Machine], expected: str) -> None:
    network, places = proposal.segment(machines)
    assert str(network) == expected
    assert all(place.address in network for place in places.values())


def test_without_a_shared_network_each_hosts_own_are_named() -> None:
    apart = two([("eth0", "192.168.1.1/24"), ("wg0", "10.8.0.1/24")], [("eth0", "192.168.2.2/24")])
    with pytest.raises(ProvisionerError) as error:
        proposal.segment(apart)
    assert error.value.message == (
        "the hosts share no IPv4 network: n1 has 192.168.1.1 (eth0); n2 has 192.168.2.2 (eth0)"
    )


def test_the_first_that_is_large_enough_is_the_control_plane() -> None:
    small, large = machine(1, memory_mib=900), machine(2, memory_mib=4096, cpus=4)
    assert proposal.control_plane([large, small]) == ("n2", "the first (4 CPUs, 4.0 GiB)")
    assert proposal.control_plane([small, large])[0] == "n2"
    name, why = proposal.control_plane([small])
    assert name == "n1"
    assert "no host has what kubeadm asks for" in why


@pytest.mark.parametrize(("free", "expected"), [((20, 80), "n2"), ((70, 80), "n1"), ((80, 20), "n1")])
def test_the_nfs_server_is_where_the_room_is(free: tuple[int, int], expected: str) -> None:
    machines = [
        replace(one, facts=replace(one.facts, disk_free_mib={"/srv": room * 1024}))
        for one, room in zip((machine(1), machine(2)), free, strict=True)
    ]
    assert proposal.nfs_server(machines, "n1", "/srv")[0] == expected


@pytest.mark.parametrize(
    ("network", "used", "expected"),
    [
        ("192.168.1.0/24", [], "192.168.1.200-192.168.1.230"),
        ("192.168.1.0/24", ["192.168.1.230"], "192.168.1.199-192.168.1.229"),
        ("192.168.1.0/24", [f"192.168.1.{n}" for n in range(100, 255)], "192.168.1.69-192.168.1.99"),
        ("192.168.1.0/24", [f"192.168.1.{n}" for n in range(1, 250)], "192.168.1.250-192.168.1.254"),
        ("192.168.1.0/24", [f"192.168.1.{n}" for n in range(1, 252)], ""),
        ("192.168.1.0/29", [], "192.168.1.3-192.168.1.6"),
        ("10.0.0.0/16", [], "10.0.255.200-10.0.255.230"),
    ],
)
def test_a_pool_of_addresses_that_nobody_answers_for(network: str, used: list[str], expected: str) -> None:
    assert proposal.pool(IPv4Network(network), used) == expected


@pytest.mark.parametrize(
    ("network", "used", "pool", "expected"),
    [
        ("192.168.1.0/24", [], "192.168.1.200-192.168.1.230", "192.168.1.231"),
        ("192.168.1.0/24", ["192.168.1.231"], "192.168.1.200-192.168.1.230", "192.168.1.232"),
        ("192.168.1.0/24", [], "192.168.1.224-192.168.1.254", "192.168.1.223"),
        ("192.168.1.0/24", [], "", "192.168.1.254"),
        ("192.168.1.0/29", [], "192.168.1.3-192.168.1.6", "192.168.1.2"),
        ("192.168.1.0/29", ["192.168.1.1", "192.168.1.2"], "192.168.1.3-192.168.1.6", ""),
        ("10.0.0.0/16", [], "10.0.255.200-10.0.255.230", "10.0.255.231"),
    ],
)
def test_the_vip_is_a_free_address_beside_the_pool(network: str, used: list[str], pool: str, expected: str) -> None:
    assert proposal.vip(IPv4Network(network), used, pool) == expected


def test_three_control_planes_are_the_first_three_that_are_large_enough() -> None:
    machines = [machine(number, memory_mib=900 if number == 2 else 4096) for number in range(1, 6)]
    roles, why = proposal.roles(machines, 3)
    assert [name for name, found in roles.items() if found == ("control-plane",)] == ["n1", "n3", "n4"]
    assert why == "n1, n3 and n4: the first with enough memory and processors"
    roles, why = proposal.roles(machines[:3], 3)
    assert set(roles.values()) == {("control-plane", "worker")}, "pods need a place"
    assert why.endswith("though n2 is too small for kubeadm")
    with pytest.raises(ProvisionerError, match="3 control planes of 2 hosts; name more hosts"):
        proposal.roles(machines[:2], 3)


def test_what_an_inventory_says_decides() -> None:
    machines = [machine(number, memory_mib=900) for number in range(1, 4)]
    machines[1] = replace(machines[1], named=replace(machines[1].named, roles=("control-plane",)))
    machines[2] = replace(machines[2], named=replace(machines[2].named, roles=("worker",), nfs=True))
    roles, why = proposal.roles(machines)
    assert roles == {"n1": ("worker",), "n2": ("control-plane",), "n3": ("worker",)}
    assert why == "n2: as the inventory says"
    assert proposal.nfs_server(machines, "n2", "/srv") == ("n3", "the group nfs of the inventory")


def plan(folder: Path, machines: list[Machine], **fields: Any) -> Proposal:
    _, places = proposal.segment(machines)
    roles, _ = proposal.roles(machines, fields.pop("planes", 1))
    why = {"nfs": "because.", "pool": "because.", "vip": "because."}
    given: dict[str, Any] = {"server": "n1", "pool": "192.168.1.200-192.168.1.230", "vip": "", **fields}
    return Proposal(machines, places, roles, why=why, folder=folder, **given)


def with_login(one: Machine, **fields: Any) -> Machine:
    return replace(one, named=replace(one.named, **fields))


def test_the_file_is_a_site(tmp_path: Path) -> None:
    machines = [
        with_login(machine(1, ("eth0", "192.168.1.1/24")), user="admin"),
        with_login(machine(2, ("eno1", "192.168.1.2/24"), typed="nuc.example.org"), user="pi"),
    ]
    text = render(plan(tmp_path, machines, server="n2", ask_sudo=True))
    site = parse_site(text, tmp_path / "hosts.toml")
    assert [(host.name, host.address, host.ssh_address, host.roles) for host in site.hosts] == [
        ("n1", "192.168.1.1", "", ("control-plane",)),
        ("n2", "192.168.1.2", "nuc.example.org", ("worker",)),
    ]
    assert [host.ssh.user for host in site.hosts] == ["admin", "pi"]
    assert (site.nfs_server.name, site.ssh.sudo_password) == ("n2", "prompt")
    assert site.metallb.pools[0].addresses == ("192.168.1.200-192.168.1.230",)
    assert len(text.splitlines()) < 35


def test_one_machine_is_both_and_without_free_addresses_there_is_no_metallb(tmp_path: Path) -> None:
    text = render(plan(tmp_path, [machine(1, ("eth0", "192.168.1.1/24"))], pool=""))
    site = parse_site(text, tmp_path / "hosts.toml")
    assert site.hosts[0].roles == ("control-plane", "worker")
    assert not site.metallb.enabled


def test_logins_that_all_share_are_written_once(tmp_path: Path) -> None:
    key = str(tmp_path / ".vagrant/key")
    machines = [
        with_login(
            machine(number, ("eth0", f"192.168.1.{number}/24")), user="ops", key=key, jump="ops@gate", port=port
        )
        for number, port in ((1, 0), (2, 2222), (3, 0))
    ]
    text = render(plan(tmp_path, machines, planes=3, vip="192.168.1.231"))
    site = parse_site(text, tmp_path / "hosts.toml")
    assert (site.ssh.user, site.ssh.key, site.ssh.jump) == ("ops", ".vagrant/key", "ops@gate")
    assert [host.ssh.port for host in site.hosts] == [0, 2222, 0]
    assert text.count("user") == 1
    assert site.cluster.vip == "192.168.1.231"
    assert len(site.control_planes) == 3


def test_different_jump_hosts_are_for_ssh_config(tmp_path: Path) -> None:
    machines = [
        with_login(machine(number, ("eth0", f"192.168.1.{number}/24")), jump=jump)
        for number, jump in ((1, "gate"), (2, ""))
    ]
    with pytest.raises(ProvisionerError, match="different jump hosts: gate and none; say so in"):
        render(plan(tmp_path, machines))


@pytest.mark.parametrize(
    ("key", "expected"), [("", ""), ("~/.ssh/id", "~/.ssh/id"), ("/keys/id", "/keys/id"), ("{}/a/id", "a/id")]
)
def test_where_a_key_is(tmp_path: Path, key: str, expected: str) -> None:
    assert key_path(key.format(tmp_path), tmp_path) == expected

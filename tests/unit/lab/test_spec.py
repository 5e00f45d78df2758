"""The addresses of a lab, and how it can grow."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import ProvisionerError
from provisioner.lab import spec as specs
from provisioner.lab.spec import LabSpec


def test_addresses() -> None:
    lab = LabSpec(Path("/x"), workers=3)
    assert [(vm.name, vm.address, vm.mac) for vm in lab.vms] == [
        ("master", "192.168.56.10", "52:54:00:56:00:0a"),
        ("worker1", "192.168.56.11", "52:54:00:56:00:0b"),
        ("worker2", "192.168.56.12", "52:54:00:56:00:0c"),
        ("worker3", "192.168.56.13", "52:54:00:56:00:0d"),
    ]
    assert (lab.vm("master").cpus, lab.vm("master").memory) == (2, 4096)
    assert (lab.vm("worker3").cpus, lab.vm("worker3").memory) == (1, 2048)


def test_the_largest_lab_has_unique_addresses_outside_the_pool() -> None:
    lab = LabSpec(Path("/x"), workers=specs.MAX_WORKERS, control_planes=specs.MAX_CONTROL_PLANES)
    own = (specs.OPERATOR, specs.MIRROR, specs.BALANCER)
    addresses = [ip_address(address) for address in (*(vm.address for vm in lab.vms), *own)]
    assert len(set(addresses)) == len(addresses)
    assert all(address in ip_network("192.168.56.0/25") for address in addresses)
    assert len({vm.mac for vm in lab.vms}) == len(lab.vms)
    assert all(len(vm.tap) < 16 for vm in lab.vms), "IFNAMSIZ"


def test_several_control_planes_share_an_endpoint() -> None:
    assert LabSpec(Path("/x")).endpoint == ""
    lab = LabSpec(Path("/x"), control_planes=3, workers=1)
    assert lab.endpoint == "192.168.56.3:6443"
    assert [(vm.name, vm.address, vm.role) for vm in lab.vms] == [
        ("master", "192.168.56.10", "control-plane"),
        ("master2", "192.168.56.22", "control-plane"),
        ("master3", "192.168.56.23", "control-plane"),
        ("worker1", "192.168.56.11", "worker"),
    ]


def test_two_labs_share_neither_namespaces_nor_sockets() -> None:
    one, other = LabSpec(Path("/x")), LabSpec(Path("/y"), name="second")
    assert {one.namespace, one.operator}.isdisjoint({other.namespace, other.operator})
    assert one.run != other.run
    assert (one.namespace, one.operator) == ("provlab", "provlab-op")


@pytest.mark.parametrize("name", ["", "Lab", "a-op", "9lab", "../x", "a" * 13])
def test_an_invalid_name_is_rejected(name: str) -> None:
    with pytest.raises(ProvisionerError, match="namespace"):
        LabSpec(Path("/x"), name=name)


@pytest.mark.parametrize("workers", [-1, specs.MAX_WORKERS + 1])
def test_an_invalid_number_of_workers_is_rejected(workers: int) -> None:
    with pytest.raises(ProvisionerError, match="workers"):
        LabSpec(Path("/x"), workers=workers)


def test_machines_take_the_systems_in_turn_and_keep_theirs_while_the_lab_grows() -> None:
    assert {vm.os for vm in LabSpec(Path("/x")).vms} == {"debian12"}
    assert [vm.os for vm in LabSpec(Path("/x"), os="debian13").vms] == ["debian13"] * 3
    mixed = LabSpec(Path("/x"), os="debian12,debian13", workers=1)
    assert [vm.os for vm in mixed.vms] == ["debian12", "debian13"]
    before = {vm.name: vm for vm in mixed.vms}
    grown = {vm.name: vm for vm in replace(mixed, workers=4, control_planes=3).vms}
    assert grown | before == grown
    assert [grown[name].os for name in ("master2", "master3", "worker2")] == ["debian13", "debian12", "debian12"]


@pytest.mark.parametrize("wrong", [{"os": "ubuntu"}, {"os": "debian12,"}, {"disk": 100}, {"extras": "router"}])
def test_an_unknown_system_and_a_tiny_disk_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProvisionerError, match=r"machines with|too small|has no router"):
        LabSpec(Path("/x"), **wrong)


@pytest.mark.parametrize("other", [{"os": "debian13"}, {"disk": 4096}, {"extras": "dual-stack"}])
def test_machines_keep_their_system_and_disk(other: dict[str, Any]) -> None:
    with pytest.raises(ProvisionerError, match="destroy") as refusal:
        specs.merged(LabSpec(Path("/x"), **other), LabSpec(Path("/x")))
    option = {"extras": "with"}.get(next(iter(other)), next(iter(other)))
    assert f"--{option}" in str(refusal.value)
    assert specs.merged(LabSpec(Path("/x")), LabSpec(Path("/x"), **other)) == LabSpec(Path("/x"), **other)


def test_extra_addresses_are_unique_and_outside_the_pool() -> None:
    lab = LabSpec(Path("/x"), workers=9, control_planes=5, extras="dual-stack,second-nic")
    assert (lab.vms[0].address6, lab.vms[0].second) == ("fd00:56::10", "192.168.56.110")
    every = [address for vm in lab.vms for address in (vm.address, vm.address6, vm.second)]
    assert len(set(every)) == len(every)
    assert all(ip_address(vm.second) in ip_network("192.168.56.0/25") for vm in lab.vms)
    ports = [port for vm in lab.vms for port in vm.ports.values()]
    assert len({mac for _, mac in ports}) == len({name for name, _ in ports}) == 2 * len(lab.vms)
    assert all(len(name) < 16 for name, _ in ports), "IFNAMSIZ"
    assert (LabSpec(Path("/x")).vms[0].address6, LabSpec(Path("/x")).vms[0].second) == ("", "")


@pytest.mark.parametrize("number", [0, specs.MAX_CONTROL_PLANES + 1])
def test_an_invalid_number_of_control_planes_is_rejected(number: int) -> None:
    with pytest.raises(ProvisionerError, match="control-planes"):
        LabSpec(Path("/x"), control_planes=number)


def test_the_error_for_an_unknown_machine_lists_the_machines() -> None:
    with pytest.raises(ProvisionerError, match="master, worker1"):
        LabSpec(Path("/x"), workers=1).vm("worker7")


def test_a_saved_spec_is_loaded(tmp_path: Path) -> None:
    lab = LabSpec(
        tmp_path.resolve(),
        name="second",
        workers=4,
        worker_memory=3072,
        timeout_scale=3.0,
        nodes="vms",
        also=("1.36",),
    )
    specs.save(lab)
    assert specs.load(tmp_path) == lab


def test_a_directory_without_a_lab_or_with_a_damaged_one(tmp_path: Path) -> None:
    assert specs.load(tmp_path) is None
    (tmp_path / "lab.json").write_text('{"name": "provlab", "machines": 3}')
    with pytest.raises(ProvisionerError, match="damaged"):
        specs.load(tmp_path)


def test_a_lab_can_grow_but_neither_shrink_nor_change_name_or_version() -> None:
    two = LabSpec(Path("/x"), workers=2)
    assert specs.merged(two, None) == two
    assert specs.merged(replace(two, workers=3, worker_memory=999), two) == replace(two, workers=3)
    with pytest.raises(ProvisionerError, match="destroy"):
        specs.merged(replace(two, workers=1), two)
    with pytest.raises(ProvisionerError, match="provlab"):
        specs.merged(replace(two, name="other"), two)
    with pytest.raises(ProvisionerError, match=r"created for Kubernetes 1\.37.*destroy"):
        specs.merged(replace(two, kubernetes="1.20"), replace(two, kubernetes="1.37"))
    with pytest.raises(ProvisionerError, match="of the default version"):
        specs.merged(replace(two, kubernetes="1.20"), two)
    assert specs.merged(replace(two, kubernetes=""), replace(two, kubernetes="1.37")).kubernetes == "1.37"


def test_a_lab_with_an_endpoint_takes_more_control_planes_and_one_without_does_not() -> None:
    one, three = LabSpec(Path("/x")), LabSpec(Path("/x"), control_planes=3)
    assert specs.merged(replace(three, control_planes=5), three).control_planes == 5
    for wanted, existing in ((three, one), (one, three), (replace(three, control_planes=2), three)):
        with pytest.raises(ProvisionerError, match=r"control plane.*endpoint"):
            specs.merged(wanted, existing)


def test_a_lab_with_a_vip_grows_from_one_control_plane() -> None:
    one = LabSpec(Path("/x"), extras="vip")
    assert specs.merged(replace(one, control_planes=3), one).control_planes == 3
    with pytest.raises(ProvisionerError, match=r"control plane.*endpoint"):
        specs.merged(replace(one, control_planes=1), replace(one, control_planes=3))


def test_a_lab_keeps_the_kind_of_its_machines(tmp_path: Path) -> None:
    existing = LabSpec(tmp_path, nodes="containers")
    assert specs.merged(LabSpec(tmp_path), existing).nodes == "containers"
    with pytest.raises(ProvisionerError, match="containers"):
        specs.merged(LabSpec(tmp_path, nodes="vms"), existing)


def test_a_lab_that_names_no_kind_has_vms(tmp_path: Path) -> None:
    """One of before there were others; a new lab is saved with the kind that was chosen for it."""
    specs.save(LabSpec(tmp_path))
    loaded = specs.load(tmp_path)
    assert loaded is not None
    assert loaded.nodes == "vms"

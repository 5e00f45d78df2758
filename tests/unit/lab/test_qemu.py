"""QEMU's command line, and the processes that belong to a lab."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.lab import accel, background, qemu
from provisioner.lab.image import Image
from provisioner.lab.qemu import Machine
from provisioner.lab.spec import NAT_MAC, LabSpec

ID = "f3f8bda0-ca64-4ffd-a0c1-3777865dc8dd"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    lab = LabSpec(tmp_path, "labunit")
    return Machine(lab, lab.vm("worker2"), Image(tmp_path / "image"), "tcg", uplink=False)


def after(argv: list[str], option: str) -> list[str]:
    return [argv[place + 1] for place, word in enumerate(argv) if word == option]


def test_two_nics_as_with_vagrant(machine: Machine) -> None:
    argv = qemu.command(machine, ID, [7], paused=False)
    nat, segment = after(argv, "-netdev")
    assert nat.startswith("user,")
    assert segment == "tap,id=segment0,fd=7"
    first, second = (device for device in after(argv, "-device") if "net-pci" in device)
    assert f"mac={NAT_MAC}" in first
    assert "mac=52:54:00:56:00:0c" in second
    places = [int(device.rpartition("addr=")[2], 16) for device in (first, second)]
    assert places == sorted(places), "eth0 is the NAT interface by its bus address"


def test_a_second_nic_on_the_segment(tmp_path: Path) -> None:
    lab = LabSpec(tmp_path, "labunit", extras="second-nic")
    argv = qemu.command(Machine(lab, lab.vm("worker2"), Image(tmp_path), "tcg", uplink=False), ID, [7, 8], False)
    assert after(argv, "-netdev")[1:] == ["tap,id=segment0,fd=7", "tap,id=segment1,fd=8"]
    devices = [device for device in after(argv, "-device") if "net-pci" in device]
    assert "netdev=segment1,mac=52:54:00:56:01:0c" in devices[2]
    assert [device.rpartition("addr=")[2] for device in devices] == ["0x10", "0x11", "0x12"]


@pytest.mark.parametrize(("gib", "mib"), [(2, 512), (8, 682), (24, 2048), (64, 2048)])
def test_the_translation_cache_is_a_share_of_the_memory(monkeypatch: pytest.MonkeyPatch, gib: int, mib: int) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": gib * 2**30 // 4096}
    monkeypatch.setattr(os, "sysconf", lambda name: sizes[name])
    assert accel.arguments("tcg")[1] == f"tcg,thread=multi,tb-size={mib}"


def test_size_accelerator_and_uuid(machine: Machine) -> None:
    argv = qemu.command(machine, ID, [7], paused=False)
    assert after(argv, "-smp") == ["1"]
    assert after(argv, "-m") == ["2048"]
    assert after(argv, "-accel")[0].startswith("tcg,thread=multi,tb-size=")
    assert after(argv, "-uuid") == [ID]
    assert f"systemd.machine_id={ID.replace('-', '')}" in after(argv, "-append")[0]
    assert "-S" not in argv
    assert "-S" in qemu.command(machine, ID, [7], paused=True)


def test_only_emulated_machines_get_parameters_for_emulation(machine: Machine) -> None:
    emulated = qemu.command(machine, ID, [7], paused=False)
    assert {"norandmaps", "tsc=reliable"} <= set(after(emulated, "-append")[0].split())
    real = qemu.command(replace(machine, accelerator="kvm"), ID, [7], paused=False)
    assert not {"norandmaps", "tsc=reliable"} & set(after(real, "-append")[0].split())
    assert after(real, "-cpu") == ["host"]


def test_every_disk_supports_snapshots(machine: Machine) -> None:
    for drive in after(qemu.command(machine, ID, [7], paused=False), "-drive"):
        assert "format=qcow2" in drive


def test_the_uuid_is_random_and_permanent(tmp_path: Path) -> None:
    one, other = tmp_path / "a", tmp_path / "b"
    one.mkdir()
    other.mkdir()
    assert qemu.machine_uuid(one) == qemu.machine_uuid(one)
    assert qemu.machine_uuid(one) != qemu.machine_uuid(other)


def test_a_reused_pid_is_not_the_vm(tmp_path: Path) -> None:
    lab = LabSpec(tmp_path, "labunit")
    files = lab.files(lab.vm("master"))
    files.mkdir(parents=True)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (files / "vm.pid").write_text(str(stranger.pid))
        assert qemu.pid(lab, lab.vm("master")) is None
        qemu.power_off(lab, lab.vm("master"))
        assert stranger.poll() is None, "power_off must not kill it"
    finally:
        stranger.kill()
        stranger.wait()


def test_a_vm_process_is_found_by_its_uuid_and_killed_by_power_off(tmp_path: Path) -> None:
    lab = LabSpec(tmp_path, "labunit")
    vm = lab.vm("master")
    lab.files(vm).mkdir(parents=True)
    argv = [sys.executable, "-c", "import time; time.sleep(60)", qemu.machine_uuid(lab.files(vm))]
    background.start(lab.files(vm), "vm", argv, tmp_path)
    number = qemu.pid(lab, vm)
    assert number is not None
    qemu.power_off(lab, vm)
    assert qemu.pid(lab, vm) is None
    assert background.arguments(number) == ()


def test_the_ancestry_goes_up_to_the_first_process() -> None:
    found = background.ancestry()
    assert {1, os.getpid(), os.getppid()} <= found


def test_a_background_program_is_found_again_and_stopped(tmp_path: Path) -> None:
    marks = ["-c", "import time; time.sleep(60)"]
    background.start(tmp_path, "mirror", [sys.executable, *marks], tmp_path)
    assert background.pid(tmp_path, "mirror", marks) is not None
    assert background.pid(tmp_path, "mirror", ["something else"]) is None
    background.stop(tmp_path, "mirror", marks)
    assert background.pid(tmp_path, "mirror", marks) is None
    assert not (tmp_path / "mirror.pid").exists()

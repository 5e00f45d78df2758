"""KVM is used only if a kernel boots with it, and tried only once."""

import os
from pathlib import Path

import pytest

from provisioner.lab import accel
from provisioner.lab.image import Image


@pytest.fixture
def fake_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a fake QEMU; tests write its script, and it counts its starts in `starts`."""
    program = tmp_path / "qemu"
    monkeypatch.setattr(accel, "QEMU", str(program))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache/provisioner/lab").mkdir(parents=True)
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(accel, "_DEVICE", device)
    return program


def behave(program: Path, script: str) -> None:
    version = '[ "$1" = --version ] && { echo "QEMU emulator version 1"; exit; }'
    program.write_text(f'#!/bin/sh\n{version}\necho x >> "{program.parent}/starts"\n{script}\n')
    program.chmod(0o755)


def test_output_of_the_boot_stub_is_not_enough(fake_qemu: Path) -> None:
    behave(fake_qemu, 'echo "Probing EDD (edd=off to disable)... ok"; exec sleep 30')
    assert accel.trial(Image(Path("/none")), "kvm", seconds=0.5) == "no kernel output within 0 s"


def test_kernel_output_within_the_time_limit(fake_qemu: Path) -> None:
    behave(fake_qemu, 'echo "Probing EDD"; echo "[    0.000000] Linux version 6.1.0-56"; exec sleep 30')
    assert accel.trial(Image(Path("/none")), "kvm", seconds=10) == ""


def test_the_output_of_an_aborting_qemu_is_quoted(fake_qemu: Path) -> None:
    behave(fake_qemu, "echo 'kvm_buf_set_msrs: Assertion failed' >&2; exit 134")
    assert "Assertion failed" in accel.trial(Image(Path("/none")), "kvm", seconds=10)


@pytest.mark.parametrize(("script", "answer"), [("exit 1", "tcg"), ("echo Linux version 6.1", "kvm")])
def test_the_result_is_cached(fake_qemu: Path, script: str, answer: str) -> None:
    behave(fake_qemu, script)
    shown: list[str] = []
    for _ in range(2):
        assert accel.choose(Image(Path("/none")), shown.append) == answer
    assert (fake_qemu.parent / "starts").read_text() == "x\n"
    assert any("trying /dev/kvm once" in line for line in shown)


def test_another_qemu_is_tried_again(fake_qemu: Path) -> None:
    behave(fake_qemu, "exit 1")
    accel.choose(Image(Path("/none")), lambda _: None)
    behave(fake_qemu, "echo Linux version 6.1")
    fake_qemu.write_text(fake_qemu.read_text().replace("version 1", "version 2"))
    assert accel.choose(Image(Path("/none")), lambda _: None) == "kvm"


@pytest.mark.skipif(os.geteuid() == 0, reason="root can open every device")
def test_a_device_without_permission_is_not_tried(fake_qemu: Path) -> None:
    behave(fake_qemu, "echo Linux version 6.1")
    (fake_qemu.parent / "kvm").chmod(0)
    assert accel.choose(Image(Path("/none")), lambda _: None) == "tcg"


def test_without_a_device_machines_are_emulated(fake_qemu: Path) -> None:
    (fake_qemu.parent / "kvm").unlink()
    assert accel.choose(Image(Path("/none")), lambda _: None) == "tcg"

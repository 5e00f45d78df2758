"""KVM is believed only when a kernel speaks under it, and asked only once."""

import os
from pathlib import Path

import pytest

from provisioner.lab import accel
from provisioner.lab.image import Image


@pytest.fixture
def fake_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A QEMU stand-in whose behaviour a test writes; it counts its starts in `starts`."""
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


def test_boot_stub_alone_is_no_kernel(fake_qemu: Path) -> None:
    behave(fake_qemu, 'echo "Probing EDD (edd=off to disable)... ok"; exec sleep 30')
    assert accel.trial(Image(Path("/none")), "kvm", seconds=0.5) == "no kernel output within 0 s"


def test_kernel_output_in_time(fake_qemu: Path) -> None:
    behave(fake_qemu, 'echo "Probing EDD"; echo "[    0.000000] Linux version 6.1.0-56"; exec sleep 30')
    assert accel.trial(Image(Path("/none")), "kvm", seconds=10) == ""


def test_aborting_qemu_is_quoted(fake_qemu: Path) -> None:
    behave(fake_qemu, "echo 'kvm_buf_set_msrs: Assertion failed' >&2; exit 134")
    assert "Assertion failed" in accel.trial(Image(Path("/none")), "kvm", seconds=10)


@pytest.mark.parametrize(("script", "answer"), [("exit 1", "tcg"), ("echo Linux version 6.1", "kvm")])
def test_answer_is_remembered(fake_qemu: Path, script: str, answer: str) -> None:
    behave(fake_qemu, script)
    said: list[str] = []
    for _ in range(2):
        assert accel.choose(Image(Path("/none")), said.append) == answer
    assert (fake_qemu.parent / "starts").read_text() == "x\n"
    assert any("trying it once" in line for line in said)


def test_answer_is_forgotten_with_another_qemu(fake_qemu: Path) -> None:
    behave(fake_qemu, "exit 1")
    accel.choose(Image(Path("/none")), lambda _: None)
    behave(fake_qemu, "echo Linux version 6.1")
    fake_qemu.write_text(fake_qemu.read_text().replace("version 1", "version 2"))
    assert accel.choose(Image(Path("/none")), lambda _: None) == "kvm"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every device")
def test_a_device_out_of_reach_is_not_tried(fake_qemu: Path) -> None:
    behave(fake_qemu, "echo Linux version 6.1")
    (fake_qemu.parent / "kvm").chmod(0)
    assert accel.choose(Image(Path("/none")), lambda _: None) == "tcg"


def test_no_device(fake_qemu: Path) -> None:
    (fake_qemu.parent / "kvm").unlink()
    assert accel.choose(Image(Path("/none")), lambda _: None) == "tcg"

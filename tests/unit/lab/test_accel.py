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


def tried(shown: list[str]) -> str:
    return accel.why_not_kvm(lambda: Image(Path("/none")), shown.append)


@pytest.mark.parametrize(
    ("script", "why"), [("echo no such MSR; exit 1", "QEMU exited: no such MSR"), ("echo Linux version 6.1", "")]
)
def test_the_result_and_its_reason_are_cached(fake_qemu: Path, script: str, why: str) -> None:
    behave(fake_qemu, script)
    shown: list[str] = []
    for _ in range(2):
        assert tried(shown) == why
    assert (fake_qemu.parent / "starts").read_text() == "x\n"
    assert [line for line in shown if "trying" in line] == [f"kvm: trying {fake_qemu.parent}/kvm once, for up to 20 s"]


def test_a_result_that_was_cached_without_a_reason(fake_qemu: Path) -> None:
    behave(fake_qemu, "exit 1")
    tried([])
    for cached in fake_qemu.parent.glob("cache/provisioner/lab/accelerator-*"):
        cached.write_text("tcg\n")
    assert tried([]) == "no kernel booted with it"


def test_another_qemu_is_tried_again(fake_qemu: Path) -> None:
    behave(fake_qemu, "exit 1")
    assert tried([])
    behave(fake_qemu, "echo Linux version 6.1")
    fake_qemu.write_text(fake_qemu.read_text().replace("version 1", "version 2"))
    assert tried([]) == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root can open every device")
def test_a_device_without_permission_is_not_tried(fake_qemu: Path) -> None:
    behave(fake_qemu, "echo Linux version 6.1")
    (fake_qemu.parent / "kvm").chmod(0)
    assert tried([]).endswith("cannot be opened")


def test_without_a_device_nothing_is_tried(fake_qemu: Path) -> None:
    (fake_qemu.parent / "kvm").unlink()
    assert tried([]) == f"there is no {fake_qemu.parent}/kvm"
    assert not (fake_qemu.parent / "starts").exists()

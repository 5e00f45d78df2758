"""What a lab remembers of its images."""

import json
from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.lab import settings
from provisioner.lab.image import Image
from provisioner.lab.spec import LabSpec


def image(directory: Path, number: int) -> Image:
    directory.mkdir(parents=True)
    made = Image(directory)
    made.disk.write_bytes(bytes([number]) * 2048)
    return made


def test_each_system_keeps_the_image_under_its_disks(tmp_path: Path) -> None:
    lab = LabSpec(tmp_path / "lab", os="debian12,debian13", nodes="containers")
    lab.directory.mkdir()
    built = {"debian12": image(tmp_path / "12", 1), "debian13": image(tmp_path / "13", 2)}
    decided = settings.decide(lab, built, None, False, print)
    assert settings.settings_of(lab) == decided
    assert [decided.image(vm).directory.name for vm in lab.vms] == ["12", "13", "12"]
    (lab.directory / "vms/master").mkdir(parents=True)
    (lab.directory / "vms/master/disk.qcow2").touch()
    newer = {"debian12": image(tmp_path / "newer", 3), "debian13": built["debian13"]}
    assert settings.decide(lab, newer, None, False, print).images["debian12"] == tmp_path / "12"
    built["debian13"].disk.write_bytes(bytes(2048))
    with pytest.raises(ProvisionerError, match="13, is gone"):
        settings.decide(lab, newer, None, False, print)


def test_a_lab_from_before_systems_is_read(tmp_path: Path) -> None:
    lab = LabSpec(tmp_path)
    stored = {"accelerator": "tcg", "image": "/cache/i", "fingerprint": "ab", "uplink": False, "mirror": None}
    (tmp_path / "settings.json").write_text(json.dumps(stored))
    assert settings.settings_of(lab).image(lab.vms[0]).directory == Path("/cache/i")

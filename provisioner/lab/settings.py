"""What `up` decided and later commands need: accelerator, image, uplink, mirror."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError
from provisioner.lab import accel
from provisioner.lab.image import Image, Progress
from provisioner.lab.recipe import SYSTEM
from provisioner.lab.spec import LabSpec, MirrorInfo, VmSpec


@dataclass(frozen=True)
class Settings:
    """The decisions for one lab.

    `images` has, by system, the directory of the disks' backing image; `fingerprints` identify their builds. `uplink`:
    VMs can reach networks outside the lab. `accelerator` is None if machines are containers.
    """

    accelerator: accel.Accelerator | None
    images: dict[str, Path]
    fingerprints: dict[str, str]
    uplink: bool
    mirror: MirrorInfo | None

    def image(self, vm: VmSpec) -> Image:
        """Return the image that backs a machine's disk."""
        return Image(self.images[vm.os])

    @property
    def cgroup_v1(self) -> bool:
        """Whether the machines boot with cgroup v1: a kubelet below 1.25 reads no metrics of a v2 node."""
        return self.mirror is not None and tuple(map(int, self.mirror.kubernetes.split(".")[:2])) < (1, 25)

    @property
    def timeout_scale(self) -> float:
        """The factor for timeouts on this accelerator."""
        return accel.TIMEOUT_SCALE[self.accelerator] if self.accelerator else 1.0


def decide(
    spec: LabSpec, built: dict[str, Image], mirror: MirrorInfo | None, uplink: bool, progress: Progress
) -> Settings:
    """Choose the accelerator, keep the backing images of existing disks, and save the settings.

    built: the images of the current recipe, by system.
    """
    images = dict(built)
    if any(spec.directory.glob("vms/*/disk.qcow2")):
        before = settings_of(spec)
        for system, directory in before.images.items():
            images[system] = Image(directory)
            if not images[system].disk.exists() or images[system].fingerprint != before.fingerprints[system]:
                raise ProvisionerError(
                    f"the backing image of the lab's disks, in {directory}, is gone",
                    "start over: provisioner lab destroy, then provisioner lab up",
                )
    accelerator: accel.Accelerator | None = None
    if spec.nodes == "vms":
        why = accel.why_not_kvm(lambda: next(iter(built.values())), progress)
        accelerator = "tcg" if why else "kvm"
        if why:
            progress(f"vms: emulated and slow, since KVM does not work here ({why}); --nodes containers are not")
    settings = Settings(
        accelerator,
        {system: image.directory for system, image in images.items()},
        {system: image.fingerprint for system, image in images.items()},
        uplink,
        mirror,
    )
    stored = {
        "accelerator": settings.accelerator,
        "images": {system: str(directory) for system, directory in settings.images.items()},
        "fingerprints": settings.fingerprints,
        "uplink": uplink,
        "mirror": vars(mirror) if mirror else None,
    }
    write_text(spec.directory / "settings.json", json.dumps(stored, indent=2, default=str) + "\n")
    return settings


def settings_of(spec: LabSpec) -> Settings:
    """Read what the last `up` saved."""
    try:
        stored: dict[str, Any] = json.loads((spec.directory / "settings.json").read_text())
        mirror = stored["mirror"]
        if mirror:
            mirror = MirrorInfo(**(mirror | {"directory": Path(mirror["directory"]), "key": Path(mirror["key"])}))
        if "image" in stored:  # of an older lab, which has one system
            stored |= {"images": {SYSTEM: stored["image"]}, "fingerprints": {SYSTEM: stored["fingerprint"]}}
        images = {system: Path(directory) for system, directory in stored["images"].items()}
        return Settings(stored["accelerator"], images, stored["fingerprints"], stored["uplink"], mirror)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProvisionerError("the lab has never been up completely", "provisioner lab up") from error


def write_text(path: Path, text: str) -> None:
    """Write a file atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    scratch = path.with_name(path.name + ".new")
    scratch.write_bytes(content)
    scratch.rename(path)

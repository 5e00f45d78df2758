"""What `up` decided about a lab and later commands need: accelerator, image, way out, mirror."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError
from provisioner.lab import accel
from provisioner.lab.image import Image, Say
from provisioner.lab.spec import LabSpec, MirrorInfo


@dataclass(frozen=True)
class Settings:
    """One lab's decisions. `image` is the folder that its disks lie over, `fingerprint` which build of it.

    `uplink` means that VMs reach the outside.
    """

    accelerator: accel.Accelerator
    image: Path
    fingerprint: str
    uplink: bool
    mirror: MirrorInfo | None

    @property
    def cgroup_v1(self) -> bool:
        """Whether the machines boot with cgroup v1: a kubelet below 1.25 reads no figures of a v2 node."""
        return self.mirror is not None and tuple(map(int, self.mirror.kubernetes.split(".")[:2])) < (1, 25)

    @property
    def timeout_scale(self) -> float:
        """What timeouts are multiplied by on this accelerator."""
        return accel.TIMEOUT_SCALE[self.accelerator]


def decide(spec: LabSpec, built: Image, mirror: MirrorInfo | None, uplink: bool, say: Say) -> Settings:
    """Choose the accelerator, keep the image that existing disks lie over, and remember it all."""
    base = built
    if any(spec.directory.glob("vms/*/disk.qcow2")):
        before = settings_of(spec)
        base = Image(before.image)
        if not base.disk.exists() or base.fingerprint != before.fingerprint:
            raise ProvisionerError(
                f"the image in {before.image} that the lab's disks lie over is gone",
                "start anew: provisioner lab destroy, then provisioner lab up",
            )
    settings = Settings(accel.choose(built, say), base.directory, base.fingerprint, uplink, mirror)
    stored = {
        "accelerator": settings.accelerator,
        "image": str(settings.image),
        "fingerprint": settings.fingerprint,
        "uplink": uplink,
        "mirror": vars(mirror) if mirror else None,
    }
    write_text(spec.directory / "settings.json", json.dumps(stored, indent=2, default=str) + "\n")
    return settings


def settings_of(spec: LabSpec) -> Settings:
    """Read what the last `up` decided."""
    try:
        stored: dict[str, Any] = json.loads((spec.directory / "settings.json").read_text())
        mirror = stored["mirror"]
        if mirror:
            mirror = MirrorInfo(**(mirror | {"directory": Path(mirror["directory"]), "key": Path(mirror["key"])}))
        return Settings(stored["accelerator"], Path(stored["image"]), stored["fingerprint"], stored["uplink"], mirror)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProvisionerError("the lab has never been up completely", "provisioner lab up") from error


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is there as a whole or not at all."""
    scratch = path.with_name(path.name + ".new")
    scratch.write_text(text)
    scratch.rename(path)

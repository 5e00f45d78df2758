"""What `up` decided and later commands need: accelerator, image, uplink, mirror."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError
from provisioner.lab import accel
from provisioner.lab.image import Image, Progress
from provisioner.lab.spec import LabSpec, MirrorInfo


@dataclass(frozen=True)
class Settings:
    """The decisions for one lab.

    `image` is the directory of the disks' backing image, `fingerprint` identifies its build. `uplink`: VMs can reach
    networks outside the lab. `accelerator` is None if machines are containers.
    """

    accelerator: accel.Accelerator | None
    image: Path
    fingerprint: str
    uplink: bool
    mirror: MirrorInfo | None

    @property
    def cgroup_v1(self) -> bool:
        """Whether the machines boot with cgroup v1: a kubelet below 1.25 reads no metrics of a v2 node."""
        return self.mirror is not None and tuple(map(int, self.mirror.kubernetes.split(".")[:2])) < (1, 25)

    @property
    def timeout_scale(self) -> float:
        """The factor for timeouts on this accelerator."""
        return accel.TIMEOUT_SCALE[self.accelerator] if self.accelerator else 1.0


def decide(spec: LabSpec, built: Image, mirror: MirrorInfo | None, uplink: bool, progress: Progress) -> Settings:
    """Choose the accelerator, keep the backing image of existing disks, and save the settings."""
    base = built
    if any(spec.directory.glob("vms/*/disk.qcow2")):
        before = settings_of(spec)
        base = Image(before.image)
        if not base.disk.exists() or base.fingerprint != before.fingerprint:
            raise ProvisionerError(
                f"the backing image of the lab's disks, in {before.image}, is gone",
                "start over: provisioner lab destroy, then provisioner lab up",
            )
    accelerator = None if spec.nodes == "containers" else accel.choose(built, progress)
    settings = Settings(accelerator, base.directory, base.fingerprint, uplink, mirror)
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
    """Read what the last `up` saved."""
    try:
        stored: dict[str, Any] = json.loads((spec.directory / "settings.json").read_text())
        mirror = stored["mirror"]
        if mirror:
            mirror = MirrorInfo(**(mirror | {"directory": Path(mirror["directory"]), "key": Path(mirror["key"])}))
        return Settings(stored["accelerator"], Path(stored["image"]), stored["fingerprint"], stored["uplink"], mirror)
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

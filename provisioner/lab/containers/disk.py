"""A node's disk: a copy of the lab's image, an ext4 file of limited size, mounted through a loop device.

A file system of the node's own, not a folder of the host's: there is no host file system below it to reach, it can
be full without the host being full, container runtimes and NFS servers find an ordinary disk, a snapshot is a copy.
"""

import re
from pathlib import Path

from provisioner.lab.image import Image, copy, copy_of

_SNAPSHOT = re.compile(r"snapshot-(.+)\.ext4")


def make(image: Image, disk: Path, mebibytes: int) -> None:
    """Make the disk as a copy of the image with a file system of `mebibytes`, unless it exists."""
    if not disk.exists():
        disk.parent.mkdir(parents=True, exist_ok=True)
        copy_of(image, disk, mebibytes)


def save(disk: Path, name: str) -> None:
    """Keep a copy of the disk under `name`, replacing one of that name; nothing may write to it meanwhile."""
    copy(disk, _snapshot(disk, name))


def load(disk: Path, name: str) -> None:
    """Put the copy `name` in the disk's place; the node must be off."""
    copy(_snapshot(disk, name), disk)


def forget(disk: Path, name: str) -> None:
    """Delete the copy `name`, if there is one."""
    _snapshot(disk, name).unlink(missing_ok=True)


def names(disk: Path) -> tuple[str, ...]:
    """List the copies of the disk, oldest first."""
    found = sorted(disk.parent.glob("snapshot-*.ext4"), key=lambda path: path.stat().st_mtime_ns)
    matches = (_SNAPSHOT.fullmatch(path.name) for path in found)
    return tuple(match[1] for match in matches if match)


def _snapshot(disk: Path, name: str) -> Path:
    return disk.parent / f"snapshot-{name}.ext4"

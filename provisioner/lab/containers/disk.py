"""A node's disk: a copy of the lab's image, an ext4 file of limited size, mounted through a loop device.

A file system of the node's own, not a folder of the host's: there is no host file system below it to reach, it can
be full without the host being full, container runtimes and NFS servers find an ordinary disk, a snapshot is a copy.
"""

import re
import subprocess
from pathlib import Path

from provisioner.errors import ProvisionerError

_SNAPSHOT = re.compile(r"snapshot-(.+)\.ext4")


def make(image: Path, disk: Path) -> None:
    """Make the disk as a copy of the image, unless it exists."""
    if not disk.exists():
        disk.parent.mkdir(parents=True, exist_ok=True)
        _copy(image, disk)


def save(disk: Path, name: str) -> None:
    """Keep a copy of the disk under `name`, replacing one of that name; nothing may write to it meanwhile."""
    _copy(disk, _snapshot(disk, name))


def load(disk: Path, name: str) -> None:
    """Put the copy `name` in the disk's place; the node must be off."""
    _copy(_snapshot(disk, name), disk)


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


def _copy(source: Path, target: Path) -> None:
    scratch = target.with_name(target.name + ".new")
    copied = subprocess.run(
        ["cp", "--sparse=always", "--reflink=auto", str(source), str(scratch)],
        capture_output=True,
        text=True,
        check=False,
    )
    if copied.returncode != 0:
        scratch.unlink(missing_ok=True)
        raise ProvisionerError(f"{target.parent.name}: no disk: {copied.stderr.strip()}", "free space on this disk")
    scratch.chmod(0o600)
    scratch.rename(target)

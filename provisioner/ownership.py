"""Local files that root made on behalf of a person, through sudo, belong to that person."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Create a folder and its parents, which belong to the person who called sudo, if one did."""
    missing = []
    for each in (folder, *folder.parents):
        if each.exists():
            break
        missing.append(each)
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    for each in reversed(missing):
        give_back(each)


def give_back(path: Path) -> None:
    """Give a file to the person who called sudo (sudo(8), SUDO_UID and SUDO_GID); do nothing without sudo.

    Not in a folder of root or of somebody else, where the file is not the person's.
    """
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() != 0 or not uid.isdigit() or not gid.isdigit():
        return
    with suppress(OSError):  # a file system without owners
        if path.parent.stat().st_uid == int(uid):
            os.chown(path, int(uid), int(gid), follow_symlinks=False)

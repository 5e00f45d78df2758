"""The devices of a node: those of any container, FUSE and tun; no disk of the host, its own kernel log read-only.

The limit is a rule of the node's cgroup: a device file that root in a node makes, or finds in a devtmpfs that it
mounts, cannot be opened, nor can a file system on it be mounted.
"""

import os
import stat
from pathlib import Path

# name: (major, minor), Documentation/admin-guide/devices.txt of Linux.
NODES = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "kmsg": (1, 11),
    "tty": (5, 0), "fuse": (10, 229), "net/tun": (10, 200),
}  # fmt: skip
_READ_ONLY = frozenset({"kmsg"})  # the kubelet watches it for the OOM killer; nothing may write into the host's log
# In the words of devices.deny (cgroup-v1/devices.rst). What is named here is denied and all else allowed, since runc
# allows a privileged container everything, which the kernel refuses below a cgroup that is denied everything. Making
# a device file is harmless where it cannot be opened, and image layers and runc do it.
DENIED = (
    "b *:* rw",
    "c 1:1 rw", "c 1:2 rw", "c 1:4 rw", "c 1:11 w",  # mem, kmem, port, kmsg
    "c 4:* rw", "c 5:1 rw",  # the host's terminals and console
    "c 10:144 rw", "c 10:223 rw", "c 10:234 rw", "c 10:236 rw", "c 10:237 rw",  # nvram, uinput, btrfs, dm, loop
)  # fmt: skip
_LINKS = {
    "ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2", "core": "/proc/kcore",
}  # fmt: skip


def limit(group: Path) -> None:
    """Deny a cgroup of the devices hierarchy (v1) what reaches the host's disks, memory, kernel log and consoles."""
    for rule in DENIED:
        (group / "devices.deny").write_text(rule)


def make(directory: Path) -> None:
    """Fill an empty /dev with the node's device files and the usual links."""
    for name, (major, minor) in NODES.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        path.chmod(0o600 if name in _READ_ONLY else 0o666)
    for name, target in _LINKS.items():
        (directory / name).symlink_to(target)
    for name in ("pts", "shm", "mqueue"):
        (directory / name).mkdir()

"""Bodies of FUSE requests and answers: structs of include/uapi/linux/fuse.h."""

import os
import struct

from provisioner.lab.nfs import operations as op
from provisioner.lab.nfs.attributes import Attributes
from provisioner.lab.nfs.xdr import Time

_ATTRIBUTES = struct.Struct("<6Q10I")


def name_of(body: bytes) -> bytes:
    """Return the name at the start of a body."""
    return body.split(b"\0", 1)[0]


def owner_of(number: int, *, flock: bool) -> bytes:
    """Return the owner of locks that the kernel knows by a number; fcntl(2) and flock(2) have their own."""
    return (b"flock" if flock else b"posix") + number.to_bytes(8, "big")


def share_of(flags: int) -> int:
    """Return the access that the flags of open(2) ask for."""
    return {os.O_RDONLY: op.READ, os.O_WRONLY: op.WRITE, os.O_RDWR: op.READ | op.WRITE}[flags & os.O_ACCMODE]


def time_of(valid: int, given: int, now: int, time: Time) -> Time | str | None:
    """Return a time to set, "now" for the server's, None for none; given and now: the bits of `valid` that say so."""
    if valid & now:
        return "now"
    return time if valid & given else None


def attributes_answer(found: Attributes) -> bytes:
    """Return the answer with attributes, which the kernel is not to keep: others may change the file at any time."""
    return struct.pack("<QII", 0, 0, 0) + encoded(found)


def encoded(found: Attributes) -> bytes:
    """Encode a struct fuse_attr."""
    return _ATTRIBUTES.pack(
        found.fileid, found.size, found.used // 512, *(
            time.seconds & 0xFFFFFFFFFFFFFFFF for time in (found.accessed, found.modified, found.changed)
        ), found.accessed.nanoseconds, found.modified.nanoseconds, found.changed.nanoseconds, found.kind | found.mode,
        found.links, found.uid, found.gid, os.makedev(*found.device), 1 << 20, 0,
    )  # fmt: skip

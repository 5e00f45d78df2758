"""File attributes on the wire: RFC 8881, section 5, of which a POSIX file system needs some thirty."""

import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from provisioner.lab.nfs import xdr
from provisioner.lab.nfs.xdr import Reader, Time

_TYPE, _CHANGE, _SIZE, _LEASE_TIME = 1, 3, 4, 10
_FILEID, _FILES_AVAIL, _FILES_FREE, _FILES_TOTAL, _MAXNAME, _MAXREAD, _MAXWRITE = 20, 21, 22, 23, 29, 30, 31
_MODE, _NUMLINKS, _OWNER, _OWNER_GROUP, _RAWDEV = 33, 35, 36, 37, 41
_SPACE_AVAIL, _SPACE_FREE, _SPACE_TOTAL, _SPACE_USED = 42, 43, 44, 45
_TIME_ACCESS, _TIME_ACCESS_SET, _TIME_METADATA, _TIME_MODIFY, _TIME_MODIFY_SET = 47, 48, 52, 53, 54
OF_FILE = (
    _TYPE, _CHANGE, _SIZE, _FILEID, _MODE, _NUMLINKS, _OWNER, _OWNER_GROUP, _RAWDEV, _SPACE_USED, _TIME_ACCESS,
    _TIME_METADATA, _TIME_MODIFY,
)  # fmt: skip
OF_ENTRY = (_TYPE, _FILEID)
OF_FILE_SYSTEM = (
    _FILES_AVAIL, _FILES_FREE, _FILES_TOTAL, _MAXNAME, _SPACE_AVAIL, _SPACE_FREE, _SPACE_TOTAL,
)  # fmt: skip
OF_SERVER = (_LEASE_TIME, _MAXREAD, _MAXWRITE)
_KINDS = {
    1: stat.S_IFREG, 2: stat.S_IFDIR, 3: stat.S_IFBLK, 4: stat.S_IFCHR, 5: stat.S_IFLNK, 6: stat.S_IFSOCK,
    7: stat.S_IFIFO,
}  # fmt: skip
NOBODY = 65534
_UNKNOWN = Time(0, 0)


@dataclass
class Attributes:
    """What the server told of a file; of what it did not tell, zeros. `kind` is a file type of stat(2)."""

    kind: int = 0
    change: int = 0
    size: int = 0
    fileid: int = 0
    mode: int = 0
    links: int = 1
    uid: int = NOBODY
    gid: int = NOBODY
    device: tuple[int, int] = (0, 0)
    used: int = 0
    accessed: Time = _UNKNOWN
    changed: Time = _UNKNOWN
    modified: Time = _UNKNOWN
    counts: dict[int, int] = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return self.kind == stat.S_IFDIR

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.kind == stat.S_IFREG


@dataclass(frozen=True)
class FileSystem:
    """What statfs(2) tells: bytes and files."""

    total: int
    free: int
    available: int
    files: int
    files_free: int
    longest_name: int


@dataclass(frozen=True)
class Server:
    """What a client has to know of a server: the lease in seconds, the largest reads and writes in bytes."""

    lease: int
    largest_read: int
    largest_write: int


def _number(reader: Reader) -> int:
    """Decode an owner: servers without a directory of users send numbers as text (RFC 8881, section 5.9)."""
    text = reader.opaque().decode("utf-8", "replace").partition("@")[0]
    if text == "root":
        return 0
    return int(text) if text.isascii() and text.isdigit() else NOBODY


_DECODERS: dict[int, tuple[str, Callable[[Reader], Any]]] = {
    _TYPE: ("kind", lambda reader: _KINDS.get(reader.u32(), 0)),
    _CHANGE: ("change", Reader.u64),
    _SIZE: ("size", Reader.u64),
    _FILEID: ("fileid", Reader.u64),
    _MODE: ("mode", Reader.u32),
    _NUMLINKS: ("links", Reader.u32),
    _OWNER: ("uid", _number),
    _OWNER_GROUP: ("gid", _number),
    _RAWDEV: ("device", lambda reader: (reader.u32(), reader.u32())),
    _SPACE_USED: ("used", Reader.u64),
    _TIME_ACCESS: ("accessed", Reader.time),
    _TIME_METADATA: ("changed", Reader.time),
    _TIME_MODIFY: ("modified", Reader.time),
}
_COUNTS: dict[int, Callable[[Reader], int]] = {
    _LEASE_TIME: Reader.u32, _FILES_AVAIL: Reader.u64, _FILES_FREE: Reader.u64, _FILES_TOTAL: Reader.u64,
    _MAXNAME: Reader.u32, _MAXREAD: Reader.u64, _MAXWRITE: Reader.u64, _SPACE_AVAIL: Reader.u64,
    _SPACE_FREE: Reader.u64, _SPACE_TOTAL: Reader.u64,
}  # fmt: skip


def decode(reader: Reader) -> Attributes:
    """Decode a fattr4; ValueError if the server sends an attribute that nobody asked for."""
    numbers, values = reader.bitmap(), Reader(reader.opaque())
    found = Attributes()
    for number in numbers:
        if number in _COUNTS:
            found.counts[number] = _COUNTS[number](values)
        elif number in _DECODERS:
            name, read = _DECODERS[number]
            setattr(found, name, read(values))
        else:
            raise ValueError(f"the server sent the attribute {number}, which was not asked for")
    return found


def file_system(found: Attributes) -> FileSystem:
    """Return what OF_FILE_SYSTEM asked for."""
    counts = found.counts
    return FileSystem(
        counts.get(_SPACE_TOTAL, 0), counts.get(_SPACE_FREE, 0), counts.get(_SPACE_AVAIL, 0),
        counts.get(_FILES_TOTAL, 0), counts.get(_FILES_FREE, 0), counts.get(_MAXNAME, 255),
    )  # fmt: skip


def server(found: Attributes) -> Server:
    """Return what OF_SERVER asked for."""
    counts = found.counts
    return Server(counts.get(_LEASE_TIME, 60), counts.get(_MAXREAD, 1 << 16), counts.get(_MAXWRITE, 1 << 16))


@dataclass(frozen=True)
class Wanted:
    """Attributes to set; None leaves one as it is. Times: "now" is the server's time."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    accessed: Time | str | None = None
    modified: Time | str | None = None


def encode(wanted: Wanted) -> bytes:
    """Encode a fattr4 of the attributes to set."""
    values: dict[int, bytes] = {}
    if wanted.size is not None:
        values[_SIZE] = xdr.u64(wanted.size)
    if wanted.mode is not None:
        values[_MODE] = xdr.u32(wanted.mode & 0o7777)
    if wanted.uid is not None:
        values[_OWNER] = xdr.opaque(str(wanted.uid).encode())
    if wanted.gid is not None:
        values[_OWNER_GROUP] = xdr.opaque(str(wanted.gid).encode())
    for number, time in ((_TIME_ACCESS_SET, wanted.accessed), (_TIME_MODIFY_SET, wanted.modified)):
        if isinstance(time, Time):
            values[number] = xdr.u32(1) + xdr.u64(time.seconds & 0xFFFFFFFFFFFFFFFF) + xdr.u32(time.nanoseconds)
        elif time is not None:
            values[number] = xdr.u32(0)
    return xdr.bitmap(values) + xdr.opaque(b"".join(values[number] for number in sorted(values)))

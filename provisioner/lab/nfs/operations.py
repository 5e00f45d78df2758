"""The operations of a COMPOUND, RFC 8881, section 18: how each is encoded, and its results decoded."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from provisioner.lab.nfs import attributes, xdr
from provisioner.lab.nfs.attributes import Attributes, Wanted
from provisioner.lab.nfs.rpc import Procedure
from provisioner.lab.nfs.xdr import Reader

COMPOUND = Procedure(program=100003, version=4, number=1)
# Statuses that mean something to the session and to open files, RFC 8881, section 15.1.
OK, NOENT, ACCESS, DELAY, DENIED, EXPIRED, GRACE = 0, 2, 13, 10008, 10010, 10011, 10013
STALE_CLIENTID, STALE_STATEID, OLD_STATEID, BAD_STATEID, NO_GRACE = 10022, 10023, 10024, 10025, 10033
MINOR_VERS_MISMATCH, RECLAIM_BAD, RECLAIM_CONFLICT, OPENMODE, ADMIN_REVOKED = 10021, 10034, 10035, 10038, 10047
BADSESSION, BADSLOT, COMPLETE_ALREADY, CONN_NOT_BOUND = 10052, 10053, 10054, 10055
SEQ_MISORDERED, RETRY_UNCACHED_REP, CLIENTID_BUSY, SEQ_FALSE_RETRY, DEADSESSION = 10063, 10068, 10074, 10076, 10078
SESSION_LOST = frozenset({
    STALE_CLIENTID, BADSESSION, BADSLOT, CONN_NOT_BOUND, SEQ_MISORDERED, RETRY_UNCACHED_REP, SEQ_FALSE_RETRY,
    DEADSESSION,
})  # fmt: skip
STATE_LOST = frozenset({EXPIRED, STALE_STATEID, OLD_STATEID, BAD_STATEID, ADMIN_REVOKED})
_ERRNO = {
    63: errno.ENAMETOOLONG, 66: errno.ENOTEMPTY, 69: errno.EDQUOT, 70: errno.ESTALE, 10001: errno.ESTALE,
    10003: errno.EINVAL, 10004: errno.EOPNOTSUPP, 10005: errno.EINVAL, 10007: errno.EINVAL, DENIED: errno.EAGAIN,
    10012: errno.EAGAIN, 10014: errno.ESTALE, 10015: errno.EACCES, 10016: errno.EPERM, 10028: errno.EINVAL,
    10029: errno.ELOOP, 10032: errno.EINVAL, OPENMODE: errno.EBADF, 10039: errno.EINVAL, 10040: errno.EINVAL,
    10041: errno.EINVAL, 10042: errno.EINVAL, 10043: errno.ENOLCK, 10045: errno.EDEADLK, 10046: errno.EBUSY,
}  # fmt: skip
READ, WRITE = 1, 2  # share_access
_NO_DELEGATION = 0x400
UNSTABLE, FILE_SYNC = 0, 2
READ_LOCK, WRITE_LOCK = 1, 2


class StateId(NamedTuple):
    """What an open file or a lock is to the server, stateid4."""

    sequence: int
    other: bytes

    def encode(self) -> bytes:
        """Encode it."""
        return xdr.u32(self.sequence) + self.other


ANONYMOUS = StateId(0, bytes(12))


class NfsError(OSError):
    """An operation failed on the server; `status` is an nfsstat4, errno its nearest relative of Linux."""

    def __init__(self, status: int, operation: str) -> None:
        super().__init__(number(status), f"{operation}: NFS status {status}")
        self.status = status


def number(status: int) -> int:
    """Return the errno of an nfsstat4."""
    return _ERRNO.get(status, status if status < 10000 else errno.EIO)


@dataclass(frozen=True)
class Op:
    """An operation: its encoding with its number, and what decodes its results where its status is OK."""

    name: str
    data: bytes
    decode: Callable[[Reader], Any] = lambda reader: None
    # SETATTR has results whatever its status is; LOCKT tells who is in the way.
    decode_error: Callable[[Reader, int], Any] = lambda reader, status: None


def compound(minor: int, operations: list[Op]) -> bytes:
    """Encode a COMPOUND4args."""
    return b"".join([
        xdr.opaque(b""), xdr.u32(minor), xdr.u32(len(operations)), *(op.data for op in operations),
    ])  # fmt: skip


def results(reader: Reader, operations: list[Op]) -> tuple[list[Any], int]:
    """Decode a COMPOUND4res: the results of the operations that were done, and the status of the last one.

    The last result of a compound that failed is what `decode_error` made of it.
    """
    status = reader.u32()
    reader.opaque()
    count = reader.u32()
    found: list[Any] = []
    for op in operations[:count]:
        reader.u32()
        own = reader.u32()
        found.append(op.decode(reader) if own == OK else op.decode_error(reader, own))
    return found, status


def _op(number: int, name: str, data: bytes = b"", decode: Callable[[Reader], Any] = lambda reader: None) -> Op:
    return Op(name, xdr.u32(number) + data, decode)


def put_root() -> Op:
    return _op(24, "PUTROOTFH")


def put(handle: bytes) -> Op:
    return _op(22, "PUTFH", xdr.opaque(handle))


def get_handle() -> Op:
    return _op(10, "GETFH", decode=Reader.opaque)


def save() -> Op:
    return _op(32, "SAVEFH")


def lookup(name: bytes) -> Op:
    return _op(15, "LOOKUP", xdr.opaque(name))


def getattr_(wanted: tuple[int, ...] = attributes.OF_FILE) -> Op:
    return _op(9, "GETATTR", xdr.bitmap(wanted), attributes.decode)


def setattr_(state: StateId, wanted: Wanted) -> Op:
    data = xdr.u32(34) + state.encode() + attributes.encode(wanted)
    return Op("SETATTR", data, Reader.bitmap, lambda reader, status: reader.bitmap())


def access(mask: int) -> Op:
    """Ask for rights; the result is those that the caller has."""
    return _op(3, "ACCESS", xdr.u32(mask), lambda reader: (reader.u32(), reader.u32())[1])


def readlink() -> Op:
    return _op(27, "READLINK", decode=Reader.opaque)


def create(kind: int, name: bytes, wanted: Wanted, *, target: bytes = b"", device: tuple[int, int] = (0, 0)) -> Op:
    """Create something that is no regular file; kind: an nfs_ftype4."""
    more = xdr.opaque(target) if kind == 5 else b""
    if kind in (3, 4):
        more = xdr.u32(device[0]) + xdr.u32(device[1])
    data = xdr.u32(kind) + more + xdr.opaque(name) + attributes.encode(wanted)
    return _op(6, "CREATE", data, lambda reader: (_change(reader), reader.bitmap())[0])


def remove(name: bytes) -> Op:
    return _op(28, "REMOVE", xdr.opaque(name), _change)


def rename(old: bytes, new: bytes) -> Op:
    return _op(29, "RENAME", xdr.opaque(old) + xdr.opaque(new), lambda reader: (_change(reader), _change(reader))[0])


def link(name: bytes) -> Op:
    return _op(11, "LINK", xdr.opaque(name), _change)


class Entry(NamedTuple):
    """A directory entry."""

    cookie: int
    name: bytes
    attributes: Attributes


class Listing(NamedTuple):
    """A part of a directory."""

    verifier: bytes
    entries: list[Entry]
    complete: bool


def readdir(cookie: int, verifier: bytes, size: int) -> Op:
    data = xdr.u64(cookie) + verifier + xdr.u32(size) + xdr.u32(size) + xdr.bitmap(attributes.OF_ENTRY)
    return _op(26, "READDIR", data, _listing)


def _listing(reader: Reader) -> Listing:
    verifier = reader.fixed(8)
    entries = []
    while reader.boolean():
        entries.append(Entry(reader.u64(), reader.opaque(), attributes.decode(reader)))
    return Listing(verifier, entries, reader.boolean())


def _change(reader: Reader) -> int:
    reader.boolean(), reader.u64()
    return reader.u64()


def _state(reader: Reader) -> StateId:
    return StateId(reader.u32(), reader.fixed(12))


class Open(NamedTuple):
    """How a file is opened: owner is one open file of this client's, share_access is READ, WRITE or both."""

    client: int
    owner: bytes
    share: int

    def encode(self) -> bytes:
        """Encode the part of the arguments that all claims have."""
        return (
            xdr.u32(0) + xdr.u32(self.share | _NO_DELEGATION) + xdr.u32(0) + xdr.u64(self.client)
            + xdr.opaque(self.owner)
        )  # fmt: skip


def open_new(how: Open, name: bytes, wanted: Wanted, *, exclusive: bool) -> Op:
    """Open a file by its name in the current directory, creating it unless it exists; exclusive: it must not."""
    data = how.encode() + xdr.u32(1) + xdr.u32(int(exclusive)) + attributes.encode(wanted) + xdr.u32(0)
    return _op(18, "OPEN", data + xdr.opaque(name), _opened)


def open_handle(how: Open) -> Op:
    """Open the current file handle."""
    return _op(18, "OPEN", how.encode() + xdr.u32(0) + xdr.u32(4), _opened)


def open_again(how: Open) -> Op:
    """Tell a server that has restarted that the current file handle was open."""
    return _op(18, "OPEN", how.encode() + xdr.u32(0) + xdr.u32(1) + xdr.u32(0), _opened)


def _opened(reader: Reader) -> StateId:
    state = _state(reader)
    _change(reader)
    reader.u32(), reader.bitmap()
    kind = reader.u32()
    if kind == 3:  # OPEN_DELEGATE_NONE_EXT: why there is none
        if reader.u32() in (1, 2):
            reader.boolean()
    elif kind != 0:
        raise ValueError(f"the server delegated a file (type {kind}), which was not asked for")
    return state


def close(state: StateId) -> Op:
    return _op(4, "CLOSE", xdr.u32(0) + state.encode(), _state)


def read(state: StateId, offset: int, count: int) -> Op:
    data = state.encode() + xdr.u64(offset) + xdr.u32(count)
    return _op(25, "READ", data, lambda reader: (reader.boolean(), reader.opaque())[1])


@dataclass(frozen=True)
class Written:
    """What became of a write; data that are not committed are safe once a COMMIT returns the same verifier."""

    count: int
    committed: bool
    verifier: bytes


def write(state: StateId, offset: int, stable: int, data: bytes | memoryview) -> Op:
    head = state.encode() + xdr.u64(offset) + xdr.u32(stable)
    return _op(38, "WRITE", head + xdr.opaque(bytes(data)), _written)


def _written(reader: Reader) -> Written:
    return Written(reader.u32(), reader.u32() != UNSTABLE, reader.fixed(8))


def commit() -> Op:
    return _op(5, "COMMIT", xdr.u64(0) + xdr.u32(0), lambda reader: reader.fixed(8))


class Range(NamedTuple):
    """A lock: READ_LOCK or WRITE_LOCK, offset and length; all ones are the end of the file."""

    kind: int
    offset: int
    length: int


class Owner(NamedTuple):
    """Who locks: the client and what distinguishes its processes."""

    client: int
    name: bytes

    def encode(self) -> bytes:
        """Encode it."""
        return xdr.u64(self.client) + xdr.opaque(self.name)


def lock(wanted: Range, opened: StateId, owner: Owner, state: StateId | None, *, reclaim: bool = False) -> Op:
    """Lock a range; state: of the owner's earlier locks on this file, None without any."""
    head = xdr.u32(wanted.kind) + xdr.boolean(reclaim) + xdr.u64(wanted.offset) + xdr.u64(wanted.length)
    if state is None:
        who = xdr.boolean(True) + xdr.u32(0) + opened.encode() + xdr.u32(0) + owner.encode()
    else:
        who = xdr.boolean(False) + state.encode() + xdr.u32(0)
    return _op(12, "LOCK", head + who, _state)


def test_lock(wanted: Range, owner: Owner) -> Op:
    """Ask who is in the way of a lock; the result is None or a Range."""
    data = xdr.u32(13) + xdr.u32(wanted.kind) + xdr.u64(wanted.offset) + xdr.u64(wanted.length) + owner.encode()
    return Op("LOCKT", data, decode_error=_denied)


def _denied(reader: Reader, status: int) -> Range | None:
    if status != DENIED:
        return None
    offset, length = reader.u64(), reader.u64()
    return Range(reader.u32(), offset, length)


def unlock(wanted: Range, state: StateId) -> Op:
    data = xdr.u32(wanted.kind) + xdr.u32(0) + state.encode() + xdr.u64(wanted.offset) + xdr.u64(wanted.length)
    return _op(14, "LOCKU", data, _state)


def exchange_id(verifier: bytes, owner: bytes) -> Op:
    """Introduce a client; the result is its number, the next sequence number and whether the server knew it."""
    data = verifier + xdr.opaque(owner) + xdr.u32(0) + xdr.u32(0) + xdr.u32(0)
    return _op(42, "EXCHANGE_ID", data, lambda reader: (reader.u64(), reader.u32(), bool(reader.u32() >> 31)))


def create_session(client: int, sequence: int, largest: int, slots: int) -> Op:
    """Make a session; the result is its id, the largest request and response, and the number of slots."""
    fore = [0, largest, largest, 1 << 16, 16, slots, 0]
    back = [0, 4096, 4096, 0, 2, 1, 0]
    data = xdr.u64(client) + xdr.u32(sequence) + xdr.u32(0) + b"".join(map(xdr.u32, [*fore, *back]))
    return _op(43, "CREATE_SESSION", data + xdr.u32(0x40000000) + xdr.u32(1) + xdr.u32(0), _session)


def _session(reader: Reader) -> tuple[bytes, int, int, int]:
    session, _, _, _ = reader.fixed(16), reader.u32(), reader.u32(), reader.u32()
    request, response, _, _, slots = (reader.u32() for _ in range(5))
    return session, request, response, slots


def sequence(session: bytes, number: int, slot: int, highest: int, *, cache: bool) -> Op:
    data = session + xdr.u32(number) + xdr.u32(slot) + xdr.u32(highest) + xdr.boolean(cache)
    return _op(53, "SEQUENCE", data, lambda reader: (reader.fixed(16), [reader.u32() for _ in range(5)])[1])


def reclaim_complete() -> Op:
    return _op(58, "RECLAIM_COMPLETE", xdr.boolean(False))


def destroy_session(session: bytes) -> Op:
    return _op(44, "DESTROY_SESSION", session)


def destroy_client(client: int) -> Op:
    return _op(57, "DESTROY_CLIENTID", xdr.u64(client))

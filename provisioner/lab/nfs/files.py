"""Open files: their state on the server, data not yet safe, locks; all survives its restart."""

import asyncio
import errno
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from provisioner.lab.nfs import operations as op
from provisioner.lab.nfs.attributes import Attributes, Wanted
from provisioner.lab.nfs.operations import ANONYMOUS, NfsError, Op, Owner, Range, StateId
from provisioner.lab.nfs.rpc import Credential
from provisioner.lab.nfs.session import Session

_UNSAFE_BYTES = 32 << 20  # commit when so much is on the server, but not on its disk
TO_THE_END = 0xFFFFFFFFFFFFFFFF


@dataclass
class Held:
    """The locks of one owner on a file, and the open file that they were taken through."""

    state: StateId
    ranges: list[Range]
    file: "OpenFile"


@dataclass
class Inode:
    """A file or directory that the kernel knows, by its NFS file handle.

    unsafe: data that the server may still lose, as (offset, data), and verifier: of its boot (RFC 8881, 18.3).
    hidden: directory, name and user of a file that was unlinked while it was open.
    """

    number: int
    handle: bytes
    lookups: int = 0
    opens: int = 0
    hidden: tuple[bytes, bytes, Credential] | None = None
    unsafe: list[tuple[int, bytes]] = field(default_factory=list)
    unsafe_bytes: int = 0
    verifier: bytes = b""
    locks: dict[bytes, Held] = field(default_factory=dict)
    committing: asyncio.Lock = field(default_factory=asyncio.Lock)
    locking: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class OpenFile:
    """A file as one open(2) has it. stale: the server does not know `state`."""

    inode: Inode
    who: Credential
    share: int
    owner: bytes
    state: StateId = ANONYMOUS
    stale: bool = False
    lost_lock: bool = False

    @property
    def put(self) -> Op:
        """The operation that makes this the current file."""
        return op.put(self.inode.handle)


class Files:
    """The open files of a mount."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._owners = itertools.count(1)
        self._open: dict[bytes, OpenFile] = {}
        session.reclaim = self._reclaim

    def _how(self, file: OpenFile) -> op.Open:
        return op.Open(self._session.client, file.owner, file.share)

    def _new(self, inode: Inode, who: Credential, share: int) -> OpenFile:
        return OpenFile(inode, who, share, next(self._owners).to_bytes(8, "big"))

    async def open(self, inode: Inode, who: Credential, share: int) -> OpenFile:
        """Open a file by its handle."""
        file = self._new(inode, who, share)
        found = await self._session.compound(who, lambda: [file.put, op.open_handle(self._how(file))], cache=True)
        return self._opened(file, found[-1])

    async def create(
        self, directory: Inode, name: bytes, who: Credential, share: int, wanted: Wanted, *, exclusive: bool
    ) -> tuple[OpenFile, bytes, Attributes]:
        """Open a file by its name, creating it; the caller sets its inode, by the handle that is returned."""
        file = self._new(directory, who, share)
        found = await self._session.compound(
            who,
            lambda: [
                file.put, op.open_new(self._how(file), name, wanted, exclusive=exclusive),
                op.get_handle(), op.getattr_(),
            ],
            cache=True,
        )  # fmt: skip
        return self._opened(file, found[1]), found[2], found[3]

    def _opened(self, file: OpenFile, state: StateId) -> OpenFile:
        file.state = state
        self._open[file.owner] = file
        return file

    async def close(self, file: OpenFile) -> None:
        """Write what is unsafe through, then close."""
        try:
            await self.commit(file)
        finally:
            for owner, held in list(file.inode.locks.items()):
                if held.file is file:
                    await self.unlock_all(file, owner)
            self._open.pop(file.owner, None)
            await self.with_state(file, lambda: [file.put, op.close(file.state)], once=True, reopen=False)

    async def read(self, file: OpenFile, offset: int, count: int) -> bytes:
        """Read; fewer bytes than asked for only at the end of the file."""
        parts: list[bytes] = []
        while count > 0:
            size = min(count, self._session.largest)
            found = await self.with_state(file, partial(_reading, file, offset, size))
            if not found[-1]:
                break
            parts.append(found[-1])
            offset, count = offset + len(parts[-1]), count - len(parts[-1])
        return b"".join(parts)

    async def write(self, file: OpenFile, offset: int, data: bytes, *, stable: bool = False) -> None:
        """Write all of `data`; it is safe after `commit`, or at once where `stable`."""
        at = 0
        while at < len(data):
            part = data[at : at + self._session.largest]
            written = await self._write(file, offset + at, part, stable)
            if not written.committed:
                await self._remember(file, offset + at, part[: written.count], written.verifier)
            at += written.count
        if file.inode.unsafe_bytes > _UNSAFE_BYTES:
            await self.commit(file)

    async def _write(self, file: OpenFile, offset: int, data: bytes, stable: bool) -> op.Written:
        how = op.FILE_SYNC if stable else op.UNSTABLE
        found = await self.with_state(file, lambda: [file.put, op.write(file.state, offset, how, data)])
        written: op.Written = found[-1]
        if written.count == 0 and data:
            raise OSError(errno.EIO, "the server wrote nothing")
        return written

    async def _remember(self, file: OpenFile, offset: int, data: bytes, verifier: bytes) -> None:
        inode = file.inode
        if inode.unsafe and inode.verifier != verifier:
            await self._write_again(file)  # by a server that has restarted since
        inode.verifier = verifier
        inode.unsafe.append((offset, data))
        inode.unsafe_bytes += len(data)

    async def commit(self, file: OpenFile) -> None:
        """Return when all that was written to the file is on the server's disk."""
        inode = file.inode
        async with inode.committing:
            if not inode.unsafe:
                return
            count, verifier = len(inode.unsafe), inode.verifier
            found = await self._session.compound(file.who, lambda: [file.put, op.commit()])
            if found[-1] != verifier or inode.verifier != verifier:
                await self._write_again(file)
            else:
                inode.unsafe_bytes -= sum(len(data) for _, data in inode.unsafe[:count])
                del inode.unsafe[:count]

    async def _write_again(self, file: OpenFile) -> None:
        """Write what a restarted server may have lost, in its order, onto the disk."""
        inode = file.inode
        writes, inode.unsafe, inode.unsafe_bytes = inode.unsafe, [], 0
        for at, (offset, data) in enumerate(writes):
            try:
                done = 0
                while done < len(data):
                    done += (await self._write(file, offset + done, data[done:], stable=True)).count
            except BaseException:
                inode.unsafe[:0] = writes[at:]
                inode.unsafe_bytes += sum(len(rest) for _, rest in writes[at:])
                raise

    async def lock(self, file: OpenFile, owner: bytes, wanted: Range) -> None:
        """Lock a range; NfsError with the status DENIED if somebody else has it."""
        locks = file.inode.locks
        async with file.inode.locking:

            def build() -> list[Op]:
                held = locks.get(owner)
                who = Owner(self._session.client, owner)
                return [file.put, op.lock(wanted, file.state, who, held.state if held else None)]

            found = await self.with_state(file, build, once=True)
            held = locks.get(owner) or Held(found[-1], [], file)
            locks[owner] = Held(found[-1], [*_without(held.ranges, wanted), wanted], held.file)

    async def unlock(self, file: OpenFile, owner: bytes, wanted: Range) -> None:
        """Unlock a range, whether or not it is locked."""
        locks = file.inode.locks
        async with file.inode.locking:
            if owner not in locks:
                return
            found = await self.with_state(file, lambda: [file.put, op.unlock(wanted, locks[owner].state)], once=True)
            if owner in locks:
                locks[owner] = Held(found[-1], _without(locks[owner].ranges, wanted), locks[owner].file)

    async def unlock_all(self, file: OpenFile, owner: bytes) -> None:
        """Give up all locks of an owner, as close(2) does."""
        held = file.inode.locks.get(owner)
        if held is not None:
            if held.ranges and not file.lost_lock:
                await self.unlock(file, owner, Range(op.WRITE_LOCK, 0, TO_THE_END))
            file.inode.locks.pop(owner, None)

    async def who_locks(self, file: OpenFile, owner: bytes, wanted: Range) -> Range | None:
        """Return a lock of somebody else that is in the way, None without any."""
        found, status, name = await self._session.attempt(
            file.who, lambda: [file.put, op.test_lock(wanted, Owner(self._session.client, owner))]
        )
        if status not in (op.OK, op.DENIED):
            raise NfsError(status, name)
        denied: Range | None = found[-1]
        return denied

    async def with_state(
        self, file: OpenFile, build: Callable[[], list[Op]], *, once: bool = False, reopen: bool = True
    ) -> list[Any]:
        """Send a compound that names the file's state.

        once: it must not be done twice. reopen: or else do without, where the server has lost the state.
        """
        while True:
            if file.lost_lock:
                raise OSError(errno.EIO, "a lock on the file was lost")
            if file.stale and reopen:
                await self._reopen(file)
            seen = file.state
            found, status, name = await self._session.attempt(file.who, build, cache=once)
            if status == op.OK:
                return found
            if status not in op.STATE_LOST:
                raise NfsError(status, name)
            if not reopen:
                return []
            if file.state == seen:
                file.stale = True

    async def _reopen(self, file: OpenFile) -> None:
        """Open a file whose state the server has lost, outside its grace period."""
        found = await self._session.compound(file.who, lambda: [file.put, op.open_handle(self._how(file))], cache=True)
        file.state, file.stale = found[-1], False
        for owner, held in list(file.inode.locks.items()):
            if held.file is file:  # somebody else may have had these meanwhile
                del file.inode.locks[owner]
                file.lost_lock = file.lost_lock or bool(held.ranges)

    async def _reclaim(self) -> None:
        """Tell a server that has restarted what was open and locked (RFC 8881, section 8.4.2)."""
        for file in list(self._open.values()):
            found, status = await self._session.reclaiming(file.who, partial(self._opening_again, file))
            file.stale = status != op.OK
            if file.stale:
                continue
            file.state = found[-1]
            for owner, held in list(file.inode.locks.items()):
                if held.file is file:
                    await self._reclaim_locks(file, owner, held.ranges)

    def _opening_again(self, file: OpenFile) -> list[Op]:
        return [file.put, op.open_again(self._how(file))]

    async def _reclaim_locks(self, file: OpenFile, owner: bytes, ranges: list[Range]) -> None:
        state: StateId | None = None
        for wanted in ranges:
            again = op.lock(wanted, file.state, Owner(self._session.client, owner), state, reclaim=True)
            found, status = await self._session.reclaiming(file.who, partial(list, [file.put, again]))
            if status != op.OK:
                file.lost_lock = True
                return
            state = found[-1]
        if state is None:
            del file.inode.locks[owner]
        else:
            file.inode.locks[owner] = Held(state, ranges, file)


def _reading(file: OpenFile, offset: int, size: int) -> list[Op]:
    return [file.put, op.read(file.state, offset, size)]


def _without(ranges: list[Range], gone: Range) -> list[Range]:
    """Return what remains of locked ranges where one is unlocked or locked anew."""
    start, end = gone.offset, _end(gone)
    kept = []
    for one in ranges:
        if _end(one) <= start or one.offset >= end:
            kept.append(one)
            continue
        if one.offset < start:
            kept.append(Range(one.kind, one.offset, start - one.offset))
        if _end(one) > end:
            kept.append(Range(one.kind, end, TO_THE_END if one.length == TO_THE_END else _end(one) - end))
    return kept


def _end(one: Range) -> int:
    return 1 << 64 if one.length == TO_THE_END else one.offset + one.length

"""The requests of FUSE, answered by an NFS server: the server decides who may do what, and nothing is cached here."""

import asyncio
import errno
import itertools
import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from provisioner.lab.nfs import attributes, rpc
from provisioner.lab.nfs import operations as op
from provisioner.lab.nfs.answers import attributes_answer, encoded, name_of, owner_of, share_of, time_of
from provisioner.lab.nfs.attributes import Attributes, Wanted
from provisioner.lab.nfs.device import Request
from provisioner.lab.nfs.files import TO_THE_END, Files, Inode, OpenFile
from provisioner.lab.nfs.operations import ANONYMOUS, NfsError, Op, Range
from provisioner.lab.nfs.rpc import Credential
from provisioner.lab.nfs.session import Session
from provisioner.lab.nfs.xdr import Time

_ROOT = 1
_ENTRY = struct.Struct("<4QII")
_SETATTR = struct.Struct("<II6Q8I")
_LOCK = struct.Struct("<QQQQIIII")
_MODE, _UID, _GID, _SIZE, _ATIME, _MTIME, _FH, _ATIME_NOW, _MTIME_NOW = (1 << bit for bit in range(9))
_FUSE_LK_FLOCK, _RELEASE_FLOCK, _END_OF_FILE = 1, 2, 0x7FFFFFFFFFFFFFFF
_TYPES = {"mkdir": 2, stat.S_IFBLK: 3, stat.S_IFCHR: 4, "symlink": 5, stat.S_IFSOCK: 6, stat.S_IFIFO: 7}
_LOCK_POLL_SECONDS = (0.02, 0.1, 0.25)
_LISTING_BYTES = 1 << 16


class _Dirent(NamedTuple):
    fileid: int
    kind: int
    name: bytes


class FileSystem:
    """A mounted directory of an NFS server. root: its file handle and attributes."""

    def __init__(self, session: Session, root: tuple[bytes, Attributes]) -> None:
        self._session = session
        self._files = Files(session)
        self._numbers = itertools.count(_ROOT)
        self._handles = itertools.count(1)
        self._by_number: dict[int, Inode] = {}
        self._by_handle: dict[bytes, Inode] = {}
        self._open: dict[int, OpenFile] = {}
        self._listings: dict[int, list[_Dirent]] = {}
        self._inode(root[0]).lookups = 1
        self._root_attributes = attributes_answer(root[1])
        self.invalidate: Callable[[int], None] = lambda number: None
        self._requests = {
            1: self._lookup, 3: self._getattr, 4: self._setattr, 5: self._readlink, 6: self._symlink, 8: self._mknod,
            9: self._mkdir, 10: self._unlink, 11: self._rmdir, 12: self._rename, 13: self._link, 14: self._open_file,
            15: self._read, 16: self._write, 17: self._statfs, 18: self._release, 20: self._fsync, 25: self._flush,
            27: self._opendir, 28: self._readdir, 29: self._releasedir, 30: self._fsyncdir, 31: self._getlk,
            32: self._setlk, 33: self._setlkw, 34: self._access, 35: self._create,
        }  # fmt: skip

    async def answer(self, request: Request) -> bytes:
        """Return the body of the answer to a request; OSError with its errno. ENOSYS is not asked for again."""
        handler = self._requests.get(request.opcode)
        if handler is None:
            raise OSError(errno.ENOSYS, f"request {request.opcode}")
        return await handler(request)

    def forget(self, number: int, count: int) -> None:
        """Forget an inode that the kernel has dropped `count` of its lookups of."""
        inode = self._by_number.get(number)
        if inode is not None:
            inode.lookups -= count
            self._drop(inode)

    def _drop(self, inode: Inode) -> None:
        if inode.lookups <= 0 and inode.opens == 0 and inode.number != _ROOT:
            self._by_number.pop(inode.number, None)
            self._by_handle.pop(inode.handle, None)

    def _inode(self, handle: bytes) -> Inode:
        if handle not in self._by_handle:
            inode = Inode(next(self._numbers), handle)
            self._by_handle[handle] = self._by_number[inode.number] = inode
        return self._by_handle[handle]

    def _of(self, request: Request) -> Inode:
        return self._numbered(request.node)

    def _put(self, request: Request) -> Op:
        return op.put(self._of(request).handle)

    def _numbered(self, number: int) -> Inode:
        if number not in self._by_number:
            raise OSError(errno.ESTALE, f"inode {number} is unknown")
        return self._by_number[number]

    async def _ask(self, who: Credential, *ops: Op) -> list[Any]:
        return await self._session.compound(who, lambda: list(ops))

    async def _once(self, who: Credential, *ops: Op) -> list[Any]:
        """Send what must not be done twice."""
        return await self._session.compound(who, lambda: list(ops), cache=True)

    def _entry(self, handle: bytes, found: Attributes) -> bytes:
        inode = self._inode(handle)
        inode.lookups += 1
        return _ENTRY.pack(inode.number, 0, 0, 0, 0, 0) + encoded(found)

    async def _lookup(self, request: Request) -> bytes:
        found = await self._ask(
            request.who, self._put(request), op.lookup(name_of(request.body)), op.get_handle(), op.getattr_()
        )
        return self._entry(found[-2], found[-1])

    async def _getattr(self, request: Request) -> bytes:
        if request.node == _ROOT and self._session.trouble:
            return self._root_attributes  # umount(8) looks at the mount point: it must not wait for a dead server
        found = await self._ask(request.who, self._put(request), op.getattr_())
        answer = attributes_answer(found[-1])
        if request.node == _ROOT:
            self._root_attributes = answer
        return answer

    async def _setattr(self, request: Request) -> bytes:
        fields = _SETATTR.unpack_from(request.body)
        valid, _, handle, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _ = fields
        wanted = Wanted(
            mode=mode if valid & _MODE else None,
            uid=uid if valid & _UID else None,
            gid=gid if valid & _GID else None,
            size=size if valid & _SIZE else None,
            accessed=time_of(valid, _ATIME, _ATIME_NOW, Time(atime, atime_ns)),
            modified=time_of(valid, _MTIME, _MTIME_NOW, Time(mtime, mtime_ns)),
        )
        inode = self._of(request)
        file = self._open.get(handle) if valid & _FH else None
        if wanted.size is not None and inode.unsafe:
            # Or a write that is repeated after a restart could undo the truncation.
            await self._files.commit(next(one for one in self._open.values() if one.inode is inode))
        if file is not None and wanted.size is not None:
            opened = file
            found = await self._files.with_state(
                opened, lambda: [opened.put, op.setattr_(opened.state, wanted), op.getattr_()], once=True
            )
        else:
            found = await self._once(request.who, op.put(inode.handle), op.setattr_(ANONYMOUS, wanted), op.getattr_())
        return attributes_answer(found[-1])

    async def _readlink(self, request: Request) -> bytes:
        found = await self._ask(request.who, self._put(request), op.readlink())
        return bytes(found[-1])

    async def _new(self, request: Request, operation: Op) -> bytes:
        found = await self._once(request.who, self._put(request), operation, op.get_handle(), op.getattr_())
        return self._entry(found[-2], found[-1])

    async def _symlink(self, request: Request) -> bytes:
        name, target = request.body.split(b"\0")[:2]
        return await self._new(request, op.create(_TYPES["symlink"], name, Wanted(mode=0o777), target=target))

    async def _mkdir(self, request: Request) -> bytes:
        (mode,) = struct.unpack_from("<I", request.body)
        return await self._new(request, op.create(_TYPES["mkdir"], name_of(request.body[8:]), Wanted(mode=mode)))

    async def _mknod(self, request: Request) -> bytes:
        mode, device = struct.unpack_from("<II", request.body)
        name = name_of(request.body[16:])
        if stat.S_ISREG(mode):
            file, handle, found = await self._files.create(
                self._of(request), name, request.who, op.WRITE, Wanted(mode=mode), exclusive=True
            )
            file.inode = self._inode(handle)
            await self._files.close(file)
            return self._entry(handle, found)
        numbers = os.major(device), os.minor(device)
        return await self._new(request, op.create(_TYPES[stat.S_IFMT(mode)], name, Wanted(mode=mode), device=numbers))

    async def _unlink(self, request: Request) -> bytes:
        directory, name = self._of(request), name_of(request.body)
        if not await self._hide_if_open(request.who, directory, name):
            await self._once(request.who, op.put(directory.handle), op.remove(name))
        return b""

    async def _hide_if_open(self, who: Credential, directory: Inode, name: bytes) -> bool:
        """Give a file that is open here another name instead of removing it, until it is closed."""
        if not self._open:
            return False
        try:
            handle = (await self._ask(who, op.put(directory.handle), op.lookup(name), op.get_handle()))[-1]
        except NfsError:
            return False
        inode = self._by_handle.get(handle)
        if inode is None or inode.opens == 0 or inode.hidden:
            return False
        hidden = b".nfs%016x%08x" % (inode.number, int.from_bytes(os.urandom(4), "big"))
        await self._once(who, op.put(directory.handle), op.save(), op.put(directory.handle), op.rename(name, hidden))
        inode.hidden = directory.handle, hidden, who
        return True

    async def _rmdir(self, request: Request) -> bytes:
        await self._once(request.who, self._put(request), op.remove(name_of(request.body)))
        return b""

    async def _rename(self, request: Request) -> bytes:
        (number,) = struct.unpack_from("<Q", request.body)
        old, new = request.body[8:].split(b"\0")[:2]
        source, target = self._of(request), self._numbered(number)
        await self._hide_target(request.who, source, old, target, new)
        await self._once(request.who, op.put(source.handle), op.save(), op.put(target.handle), op.rename(old, new))
        return b""

    async def _hide_target(self, who: Credential, source: Inode, old: bytes, target: Inode, new: bytes) -> None:
        """Keep a file that is open here and that a rename replaces; not where both names are the same file."""
        with suppress(NfsError):
            first = (await self._ask(who, op.put(source.handle), op.lookup(old), op.get_handle()))[-1]
            second = (await self._ask(who, op.put(target.handle), op.lookup(new), op.get_handle()))[-1]
            if first != second:
                await self._hide_if_open(who, target, new)

    async def _link(self, request: Request) -> bytes:
        (number,) = struct.unpack_from("<Q", request.body)
        handle = self._numbered(number).handle
        found = await self._once(
            request.who, op.put(handle), op.save(), self._put(request), op.link(name_of(request.body[8:])),
            op.put(handle), op.getattr_(),
        )  # fmt: skip
        return self._entry(handle, found[-1])

    async def _open_file(self, request: Request) -> bytes:
        (flags,) = struct.unpack_from("<I", request.body)
        inode = self._of(request)
        file = await self._files.open(inode, request.who, share_of(flags))
        return self._handle(file)

    def _handle(self, file: OpenFile) -> bytes:
        """Return the answer to an open. Without FOPEN_KEEP_CACHE: each open sees what others closed before."""
        file.inode.opens += 1
        number = next(self._handles)
        self._open[number] = file
        return struct.pack("<QII", number, 0, 0)

    async def _create(self, request: Request) -> bytes:
        flags, mode = struct.unpack_from("<II", request.body)
        file, handle, found = await self._files.create(
            self._of(request), name_of(request.body[16:]), request.who, share_of(flags),
            Wanted(mode=mode, size=0 if flags & os.O_TRUNC else None), exclusive=bool(flags & os.O_EXCL),
        )  # fmt: skip
        file.inode = self._inode(handle)
        return self._entry(handle, found) + self._handle(file)

    async def _read(self, request: Request) -> bytes:
        number, offset, size = struct.unpack_from("<QQI", request.body)
        return await self._files.read(self._open[number], offset, size)

    async def _write(self, request: Request) -> bytes:
        number, offset, size, _, _, flags = struct.unpack_from("<QQIIQI", request.body)
        file, data = self._open[number], request.body[40 : 40 + size]
        if flags & os.O_APPEND:
            # Others may have written behind what the kernel takes for the end (open(2), O_APPEND and NFS).
            found = await self._ask(file.who, file.put, op.getattr_())
            if found[-1].size != offset:
                offset = found[-1].size
                self.invalidate(file.inode.number)
        await self._files.write(file, offset, data, stable=bool(flags & os.O_DSYNC))
        return struct.pack("<II", size, 0)

    async def _statfs(self, request: Request) -> bytes:
        if self._session.trouble:
            return bytes(80)  # for umount(8), too
        found = await self._ask(request.who, self._put(request), op.getattr_(attributes.OF_FILE_SYSTEM))
        now, block = attributes.file_system(found[-1]), 4096
        return struct.pack(
            "<5Q4I24x", now.total // block, now.free // block, now.available // block, now.files, now.files_free,
            block, now.longest_name, block, 0,
        )  # fmt: skip

    async def _flush(self, request: Request) -> bytes:
        number, _, _, owner = struct.unpack_from("<QIIQ", request.body)
        file = self._open[number]
        await self._files.commit(file)
        await self._files.unlock_all(file, owner_of(owner, flock=False))
        return b""

    async def _fsync(self, request: Request) -> bytes:
        (number,) = struct.unpack_from("<Q", request.body)
        await self._files.commit(self._open[number])
        return b""

    async def _release(self, request: Request) -> bytes:
        number, _, flags, owner = struct.unpack_from("<QIIQ", request.body)
        file = self._open.pop(number)
        inode = file.inode
        try:
            if flags & _RELEASE_FLOCK:
                await self._files.unlock_all(file, owner_of(owner, flock=True))
            await self._files.close(file)
        finally:
            inode.opens -= 1
            if inode.opens == 0 and inode.hidden:
                (directory, name, who), inode.hidden = inode.hidden, None
                await self._once(who, op.put(directory), op.remove(name))
            self._drop(inode)
        return b""

    async def _opendir(self, _: Request) -> bytes:
        number = next(self._handles)
        self._listings[number] = []
        return struct.pack("<QII", number, 0, 0)

    async def _readdir(self, request: Request) -> bytes:
        number, offset, size = struct.unpack_from("<QQI", request.body)
        if offset == 0:
            self._listings[number] = await self._list(request)
        out = b""
        for at, entry in enumerate(self._listings[number][offset:], offset + 1):
            one = struct.pack("<QQII", entry.fileid, at, len(entry.name), entry.kind >> 12) + entry.name
            one += bytes(-len(one) % 8)
            if len(out) + len(one) > size:
                break
            out += one
        return out

    async def _list(self, request: Request) -> list[_Dirent]:
        directory = self._of(request)
        found = [_Dirent(directory.number, stat.S_IFDIR, name) for name in (b".", b"..")]
        cookie, verifier = 0, bytes(8)
        while True:
            part = (
                await self._ask(request.who, op.put(directory.handle), op.readdir(cookie, verifier, _LISTING_BYTES))
            )[-1]
            found += [_Dirent(one.attributes.fileid, one.attributes.kind, one.name) for one in part.entries]
            if part.complete or not part.entries:
                return found
            cookie, verifier = part.entries[-1].cookie, part.verifier

    async def _releasedir(self, request: Request) -> bytes:
        (number,) = struct.unpack_from("<Q", request.body)
        self._listings.pop(number, None)
        return b""

    async def _fsyncdir(self, _: Request) -> bytes:
        return b""  # an NFS server changes directories on its disk before it answers (RFC 8881, section 18)

    async def _access(self, request: Request) -> bytes:
        (mask,) = struct.unpack_from("<I", request.body)
        handle = self._of(request).handle
        found = (await self._ask(request.who, op.put(handle), op.access(0x3F), op.getattr_()))[1:]
        rights, directory = found[0], found[1].is_directory
        wanted = 0
        if mask & os.R_OK:
            wanted |= 0x1
        if mask & os.W_OK:
            wanted |= 0x4 | 0x8
        if mask & os.X_OK:
            wanted |= 0x2 if directory else 0x20
        if rights & wanted != wanted:
            raise OSError(errno.EACCES, "the server denies access")
        return b""

    async def _getlk(self, request: Request) -> bytes:
        file, owner, wanted, _ = self._lock_request(request)
        denied = await self._files.who_locks(file, owner, wanted)
        if denied is None:
            return struct.pack("<QQII", 0, 0, 2, 0)  # F_UNLCK
        end = _END_OF_FILE if denied.length == TO_THE_END else denied.offset + denied.length - 1
        return struct.pack("<QQII", denied.offset, end, 0 if denied.kind & 1 else 1, 0)

    async def _setlk(self, request: Request) -> bytes:
        file, owner, wanted, kind = self._lock_request(request)
        if kind == 2:
            await self._files.unlock(file, owner, wanted)
        else:
            await self._files.lock(file, owner, wanted)
        return b""

    async def _setlkw(self, request: Request) -> bytes:
        tries = 0
        while True:
            try:
                return await self._setlk(request)
            except NfsError as error:
                if error.status != op.DENIED:
                    raise
            await asyncio.sleep(_LOCK_POLL_SECONDS[min(tries, len(_LOCK_POLL_SECONDS) - 1)])
            tries += 1

    def _lock_request(self, request: Request) -> tuple[OpenFile, bytes, Range, int]:
        number, owner, start, end, kind, _, flags, _ = _LOCK.unpack_from(request.body)
        length = TO_THE_END if end >= _END_OF_FILE else end - start + 1
        wanted = Range(op.READ_LOCK if kind == 0 else op.WRITE_LOCK, start, length)
        return self._open[number], owner_of(owner, flock=bool(flags & _FUSE_LK_FLOCK)), wanted, kind


async def mount_root(session: Session, path: str) -> tuple[bytes, Attributes]:
    """Return the file handle and attributes of an exported directory; NfsError if there is none for this client."""
    steps = [op.lookup(part.encode()) for part in path.split("/") if part]
    found = await session.compound(rpc.ROOT, lambda: [op.put_root(), *steps, op.get_handle(), op.getattr_()])
    if not found[-1].is_directory:
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return found[-2], found[-1]

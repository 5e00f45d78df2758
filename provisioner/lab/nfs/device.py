"""/dev/fuse: mount a file system, read and answer the kernel's requests (include/uapi/linux/fuse.h, 7.31)."""

import asyncio
import ctypes
import errno
import os
import signal
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from provisioner.lab.nfs.rpc import Credential

_HEADER = struct.Struct("<IIQQIIII")
_ANSWER = struct.Struct("<IiQ")
_INIT_IN, _INIT_OUT = struct.Struct("<IIII"), struct.Struct("<IIIIHHIIHHI28x")
_MAJOR, _MINOR = 7, 31
FORGET, INIT, INTERRUPT, DESTROY, BATCH_FORGET = 2, 26, 36, 38, 42
# FUSE_ASYNC_READ, POSIX_LOCKS, BIG_WRITES, FLOCK_LOCKS, AUTO_INVAL_DATA, PARALLEL_DIROPS, HANDLE_KILLPRIV, MAX_PAGES
_FLAGS = 1 << 0 | 1 << 1 | 1 << 5 | 1 << 10 | 1 << 12 | 1 << 18 | 1 << 19 | 1 << 22
_LARGEST = 1 << 20
_PAGE = 4096
_BUFFER = _LARGEST + (1 << 14)
_KILL_POLL_SECONDS = 0.5
_libc = ctypes.CDLL(None, use_errno=True)


class Request(NamedTuple):
    """What the kernel wants: opcode and body of the request, on an inode, for a process."""

    opcode: int
    unique: int
    node: int
    uid: int
    gid: int
    pid: int
    body: bytes

    @property
    def who(self) -> Credential:
        """The process's user and groups; a file system is told only one group, so the others are looked up."""
        groups: tuple[int, ...] = ()
        with suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("Groups:"):
                    groups = tuple(map(int, line.split()[1:]))
        return Credential(self.uid, self.gid, groups)


Handler = Callable[[Request], Awaitable[bytes]]
Forget = Callable[[int, int], None]


def mount(source: str, target: str, kind: str, flags: int) -> int:
    """Mount a file system of type fuse.`kind` and return the descriptor that it talks through."""
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,max_read={_LARGEST}"
    words = (source.encode(), target.encode(), f"fuse.{kind}".encode(), ctypes.c_ulong(flags), options.encode())
    if _libc.mount(*words) != 0:
        code = ctypes.get_errno()
        os.close(fd)
        raise OSError(code, os.strerror(code), target)
    return fd


class Device:
    """The kernel's end of a mounted file system."""

    def __init__(self, fd: int, handler: Handler, forget: Forget, log: Callable[[str], None]) -> None:
        self._fd = fd
        self._handler = handler
        self._forget = forget
        self._log = log
        self._buffer = bytearray(_BUFFER)
        self._tasks: dict[int, tuple[asyncio.Task[None], int]] = {}  # with the process that waits
        self._watchers: set[asyncio.Task[None]] = set()
        self._unmounted = asyncio.Event()

    async def serve(self) -> None:
        """Answer requests until the file system is unmounted."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._fd, self._read)
        try:
            await self._unmounted.wait()
        finally:
            loop.remove_reader(self._fd)
            os.close(self._fd)

    def invalidate(self, node: int) -> None:
        """Have the kernel forget what it cached of a file, in a thread: it may wait for answers to requests."""
        asyncio.get_running_loop().run_in_executor(None, self._invalidate, node)

    def _invalidate(self, node: int) -> None:
        self._send(_ANSWER.pack(_ANSWER.size + 24, 2, 0) + struct.pack("<Qqq", node, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                size = os.readv(self._fd, [self._buffer])
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):  # ENOENT: the request was withdrawn
                    continue
                if error.errno != errno.ENODEV:
                    self._log(f"/dev/fuse: {error}")
                self._unmounted.set()
                return
            _, opcode, unique, node, uid, gid, pid, _ = _HEADER.unpack_from(self._buffer)
            body = bytes(memoryview(self._buffer)[_HEADER.size : size])
            self._dispatch(Request(opcode, unique, node, uid, gid, pid, body))

    def _dispatch(self, request: Request) -> None:
        if request.opcode == INIT:
            self._answer(request.unique, _init(request.body))
        elif request.opcode == FORGET:
            self._forget(request.node, *struct.unpack("<Q", request.body))
        elif request.opcode == BATCH_FORGET:
            for node, count in struct.iter_unpack("<QQ", request.body[8:]):
                self._forget(node, count)
        elif request.opcode == INTERRUPT:
            self._interrupt(*struct.unpack("<Q", request.body[:8]))
        else:
            task = asyncio.get_running_loop().create_task(self._handle(request))
            self._tasks[request.unique] = task, request.pid

    async def _handle(self, request: Request) -> None:
        try:
            answer, error = await self._handler(request), 0
        except asyncio.CancelledError:
            answer, error = b"", errno.EINTR
        except OSError as failure:
            answer, error = b"", failure.errno or errno.EIO
        except Exception as failure:  # a mistake of ours must not leave a process waiting for ever
            self._log(f"request {request.opcode}: {failure!r}")
            answer, error = b"", errno.EIO
        self._tasks.pop(request.unique, None)
        self._answer(request.unique, answer, error)

    def _answer(self, unique: int, body: bytes, error: int = 0) -> None:
        self._send(_ANSWER.pack(_ANSWER.size + len(body), -error, unique) + body)

    def _send(self, data: bytes) -> None:
        try:
            os.write(self._fd, data)
        except OSError as error:
            # The kernel does not want it any more: the request was withdrawn, the inode is unknown, or unmounted.
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EBADF):
                self._log(f"/dev/fuse: {error}")

    def _interrupt(self, unique: int) -> None:
        """Give a request up if the process is being killed; other signals wait, as on a hard mount (nfs(5))."""
        if unique in self._tasks:
            watcher = asyncio.get_running_loop().create_task(_cancel_when_killed(*self._tasks[unique]))
            self._watchers.add(watcher)
            watcher.add_done_callback(self._watchers.discard)


async def _cancel_when_killed(task: "asyncio.Task[None]", pid: int) -> None:
    while not task.done():
        if pid == 0 or _killed(pid):
            task.cancel()
            return
        await asyncio.wait([task], timeout=_KILL_POLL_SECONDS)


def _killed(pid: int) -> bool:
    """Tell whether a thread has a SIGKILL that it cannot act on yet, proc(5)."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    pending = int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)
    return bool(pending >> (signal.SIGKILL - 1) & 1)


def _init(body: bytes) -> bytes:
    major, minor, readahead, flags = _INIT_IN.unpack_from(body)
    del minor
    if major != _MAJOR:
        raise OSError(errno.EPROTO, f"the kernel speaks FUSE {major}, and this program {_MAJOR}")
    return _INIT_OUT.pack(
        _MAJOR, _MINOR, readahead, flags & _FLAGS, 32, 24, _LARGEST, 1, _LARGEST // _PAGE, 0, 0
    )  # fmt: skip

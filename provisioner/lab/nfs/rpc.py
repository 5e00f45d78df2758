"""ONC RPC (RFC 5531) over TCP: calls that outlive the connection, as a hard mount's do."""

import asyncio
import errno
import itertools
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from provisioner.lab.nfs import xdr

_CALL, _REPLY, _ACCEPTED, _SUCCESS = 0, 1, 0, 0
_AUTH_NONE, _AUTH_SYS = 0, 1
_LAST_FRAGMENT = 0x80000000
MAX_GROUPS = 16  # AUTH_SYS has no room for more
_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0)
_CONNECT_SECONDS = 10.0
# A server that lost power sends nothing: give a connection up after so many milliseconds without an answer of TCP's.
_UNANSWERED_MS = 10_000


class Credential(NamedTuple):
    """Who asks: numbers of the user, the group and further groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


ROOT = Credential(0, 0)


class Refused(OSError):
    """The server does not serve this client, or not like this."""


class Procedure(NamedTuple):
    """What is called."""

    program: int
    version: int
    number: int


def message(xid: int, procedure: Procedure, who: Credential, arguments: bytes) -> bytes:
    """Return a call as one record."""
    groups = who.groups[:MAX_GROUPS]
    credential = b"".join([
        xdr.u32(0), xdr.opaque(socket.gethostname().encode()[:255]), xdr.u32(who.uid), xdr.u32(who.gid),
        xdr.u32(len(groups)), *map(xdr.u32, groups),
    ])  # fmt: skip
    body = b"".join([
        struct.pack(">6I", xid, _CALL, 2, *procedure),
        xdr.u32(_AUTH_SYS), xdr.opaque(credential), xdr.u32(_AUTH_NONE), xdr.opaque(b""), arguments,
    ])  # fmt: skip
    return xdr.u32(_LAST_FRAGMENT | len(body)) + body


def result(reply: xdr.Reader) -> xdr.Reader:
    """Return the reader of a reply, after its transaction id, at the procedure's results; Refused without any."""
    if reply.u32() != _REPLY:
        raise Refused(errno.EPROTO, "the server sent a call instead of a reply")
    if reply.u32() != _ACCEPTED:
        raise Refused(errno.EACCES, "the server rejects the credentials of this client")
    reply.u32(), reply.opaque()  # the verifier
    status = reply.u32()
    if status != _SUCCESS:
        raise Refused(errno.EPROTO, f"the server did not accept the call (RFC 5531, accept_stat {status})")
    return reply


class Transport:
    """A connection to a server that is made again as often as it breaks, with the calls that had no answer."""

    def __init__(self, address: str, port: int, *, privileged: bool, log: Callable[[str], None]) -> None:
        self._server = (address, port)
        self._privileged = privileged
        self._log = log
        self._xids = itertools.count(int.from_bytes(os.urandom(4), "big"))
        self._pending: dict[int, tuple[bytes, asyncio.Future[xdr.Reader]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self.trouble = ""  # why there is no connection now
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def call(self, procedure: Procedure, who: Credential, arguments: bytes) -> xdr.Reader:
        """Return the results of a procedure, however long that takes; Refused if the server will not have it."""
        xid = next(self._xids) & 0xFFFFFFFF
        data = message(xid, procedure, who, arguments)
        future: asyncio.Future[xdr.Reader] = asyncio.get_running_loop().create_future()
        self._pending[xid] = data, future
        try:
            if self._writer is not None:
                self._writer.write(data)
            return result(await future)
        finally:
            self._pending.pop(xid, None)

    async def close(self) -> None:
        """Close the connection for good."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        attempts = 0
        while True:
            try:
                reader = await asyncio.wait_for(self._connect(), _CONNECT_SECONDS)
                if self.trouble:
                    self._log(f"server {self._server[0]} answers again")
                attempts, self.trouble = 0, ""
                await self._serve(reader)
            except (OSError, asyncio.IncompleteReadError, struct.error) as error:
                if not self.trouble:
                    self._log(f"server {self._server[0]} does not answer: {error}; trying on")
                self.trouble = str(error) or type(error).__name__
            finally:
                if self._writer is not None:
                    self._writer.transport.abort()
                    self._writer = None
            await asyncio.sleep(_RETRY_SECONDS[min(attempts, len(_RETRY_SECONDS) - 1)])
            attempts += 1

    async def _connect(self) -> asyncio.StreamReader:
        link = socket.socket(socket.AF_INET6 if ":" in self._server[0] else socket.AF_INET)
        try:
            link.setblocking(False)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for option, value in (
                (socket.TCP_KEEPIDLE, 5),
                (socket.TCP_KEEPINTVL, 2),
                (socket.TCP_USER_TIMEOUT, _UNANSWERED_MS),
            ):
                link.setsockopt(socket.IPPROTO_TCP, option, value)
            if self._privileged:
                _bind_privileged(link)
            await asyncio.get_running_loop().sock_connect(link, self._server)
            reader, self._writer = await asyncio.open_connection(sock=link, limit=4 << 20)
        except BaseException:
            link.close()
            raise
        return reader

    async def _serve(self, reader: asyncio.StreamReader) -> None:
        assert self._writer is not None
        for data, _ in list(self._pending.values()):
            self._writer.write(data)
        while True:
            reply = xdr.Reader(await _record(reader))
            _, future = self._pending.get(reply.u32(), (b"", None))
            if future is not None and not future.done():
                future.set_result(reply)


async def _record(reader: asyncio.StreamReader) -> bytes:
    """Read one record, RFC 5531, section 11."""
    parts = []
    while True:
        (mark,) = struct.unpack(">I", await reader.readexactly(4))
        parts.append(await reader.readexactly(mark & ~_LAST_FRAGMENT))
        if mark & _LAST_FRAGMENT:
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _bind_privileged(link: socket.socket) -> None:
    """Take a port that only root may: exports are `secure` unless they say otherwise, exports(5)."""
    start = int.from_bytes(os.urandom(2), "big")
    for number in range(359):
        try:
            link.bind(("", 665 + (start + number) % 359))  # the kernel's sunrpc.min_resvport and max_resvport
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return
    raise OSError(errno.EADDRINUSE, "all privileged ports are in use")

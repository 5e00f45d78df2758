"""A session of NFS 4.1 or 4.2 (RFC 8881): each compound once, in a slot, and a new session when the server lost it."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from provisioner.lab.nfs import attributes, operations, rpc
from provisioner.lab.nfs.operations import NfsError, Op
from provisioner.lab.nfs.rpc import Credential, Transport

LARGEST = (1 << 20) + (1 << 14)  # a read or write of 1 MiB with its headers
_SLOTS = 32
_DELAY_SECONDS = (0.02, 0.1, 0.5, 1.0)


@dataclass
class _Established:
    """A session of the server's. largest: of a read or write, in bytes. highest: the number of the last slot."""

    client: int
    id: bytes
    largest: int
    highest: int
    free: asyncio.Queue[int]
    sequences: dict[int, int] = field(default_factory=dict)


class Session:
    """What sends compounds. `reclaim` is awaited when the server has lost all state, and tells it anew."""

    def __init__(self, transport: Transport, minor: int, log: Callable[[str], None]) -> None:
        self._transport = transport
        self._minor = minor
        self._log = log
        self._verifier = os.urandom(8)
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{os.urandom(6).hex()}".encode()
        self._established: _Established | None = None
        self._valid = asyncio.Event()
        self._renewing = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self.reclaim: Callable[[], Awaitable[None]] | None = None
        self.lease = 60
        self.largest = 1 << 16  # read or write, in bytes

    @property
    def client(self) -> int:
        """The number that the server knows this client by."""
        assert self._established is not None
        return self._established.client

    @property
    def trouble(self) -> str:
        """Why there is no connection to the server now, "" if there is one."""
        return self._transport.trouble

    async def begin(self) -> None:
        """Make the first session; NfsError or rpc.Refused if the server will not."""
        await self._renew(None)
        assert self._established is not None
        found = await self.compound(
            rpc.ROOT, lambda: [operations.put_root(), operations.getattr_(attributes.OF_SERVER)]
        )
        server = attributes.server(found[-1])
        self.lease = server.lease
        self.largest = min(self._established.largest, server.largest_read, server.largest_write, 1 << 20)

    async def compound(self, who: Credential, build: Callable[[], list[Op]], *, cache: bool = False) -> list[Any]:
        """Return the results of the operations that `build` makes, which is asked again after a loss of state.

        cache: have the server keep the answer, for a request that must not be done twice. Raises NfsError.
        """
        found, status, name = await self.attempt(who, build, cache=cache)
        if status != operations.OK:
            raise NfsError(status, name)
        return found

    async def attempt(
        self, who: Credential, build: Callable[[], list[Op]], *, cache: bool = False
    ) -> tuple[list[Any], int, str]:
        """Return results, status and the name of the last operation, without raising for a status."""
        delays = 0
        while True:
            await self._valid.wait()
            established = self._established
            assert established is not None
            found, status, name = await self._in_slot(established, who, build(), cache=cache)
            if status in operations.SESSION_LOST:
                await self._renew(established)
            elif status in (operations.DELAY, operations.GRACE):
                await asyncio.sleep(_DELAY_SECONDS[min(delays, len(_DELAY_SECONDS) - 1)])
                delays += 1
            else:
                return found, status, name

    async def reclaiming(self, who: Credential, build: Callable[[], list[Op]]) -> tuple[list[Any], int]:
        """Send a compound from within `reclaim`, when others still wait; NfsError if the session is lost again."""
        while True:
            assert self._established is not None
            found, status, name = await self._in_slot(self._established, who, build(), cache=False)
            if status in operations.SESSION_LOST:
                raise NfsError(status, name)
            if status != operations.DELAY:
                return found, status
            await asyncio.sleep(_DELAY_SECONDS[1])

    async def keep(self, lease: float) -> None:
        """Renew the lease, in seconds, again and again."""
        while True:
            await asyncio.sleep(lease / 3)
            await self.compound(rpc.ROOT, list)

    async def end(self) -> None:
        """Tell the server that this client is gone, if it listens."""
        established = self._established
        if established is None or self.trouble:
            return
        with suppress(OSError):
            for op in (operations.destroy_session(established.id), operations.destroy_client(established.client)):
                await asyncio.wait_for(self._send(rpc.ROOT, [op]), 2)

    async def _in_slot(
        self, established: _Established, who: Credential, ops: list[Op], *, cache: bool
    ) -> tuple[list[Any], int, str]:
        """Send a compound in the next free slot. The slot stays busy until the answer, also if the caller leaves."""
        slot = await established.free.get()
        task = asyncio.get_running_loop().create_task(self._exchange(established, slot, who, ops, cache))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _exchange(
        self, established: _Established, slot: int, who: Credential, ops: list[Op], cache: bool
    ) -> tuple[list[Any], int, str]:
        number = established.sequences.get(slot, 0) + 1
        head = operations.sequence(established.id, number, slot, established.highest, cache=cache)
        try:
            found, status = await self._send(who, [head, *ops])
            if len(found) > 1 or status == operations.OK:  # else SEQUENCE itself failed, and the slot is as before
                established.sequences[slot] = number
            name = [head, *ops][len(found) - 1].name
            return found[1:], status, name
        finally:
            established.free.put_nowait(slot)

    async def _send(self, who: Credential, ops: list[Op]) -> tuple[list[Any], int]:
        reply = await self._transport.call(operations.COMPOUND, who, operations.compound(self._minor, ops))
        return operations.results(reply, ops)

    async def _renew(self, lost: _Established | None) -> None:
        """Make a session in place of one that was lost; tell the server its state anew if it has lost that, too."""
        async with self._renewing:
            if self._established is not lost:
                return  # another one has done it
            self._valid.clear()
            while True:
                knew = await self._establish()
                try:
                    if lost is not None and not knew:
                        self._log("the server has lost this client's state; opening its files again")
                        if self.reclaim is not None:
                            await self.reclaim()
                    _, status = await self.reclaiming(rpc.ROOT, lambda: [operations.reclaim_complete()])
                    if status not in (operations.OK, operations.COMPLETE_ALREADY):
                        raise NfsError(status, "RECLAIM_COMPLETE")
                    break
                except NfsError as error:
                    if error.status not in operations.SESSION_LOST:
                        raise
            self._valid.set()

    async def _establish(self) -> bool:
        """Make a session; return whether the server knew this client already, and so its open files and locks."""
        while True:
            (client, sequence, knew), _ = await self._first(operations.exchange_id(self._verifier, self._owner))
            op = operations.create_session(client, sequence, LARGEST, _SLOTS)
            found, status = await self._first(op, tolerate=(operations.STALE_CLIENTID, operations.CLIENTID_BUSY))
            if status == operations.OK:
                break
            await asyncio.sleep(_DELAY_SECONDS[1])
        session, request, response, slots = found
        free: asyncio.Queue[int] = asyncio.Queue()
        for slot in range(min(slots, _SLOTS)):
            free.put_nowait(slot)
        self._established = _Established(client, session, min(request, response) - (1 << 13), free.qsize() - 1, free)
        return bool(knew)

    async def _first(self, op: Op, tolerate: tuple[int, ...] = ()) -> tuple[Any, int]:
        """Send an operation that needs no session yet."""
        while True:
            found, status = await self._send(rpc.ROOT, [op])
            if status == operations.OK or status in tolerate:
                return (found[0] if found else None), status
            if status != operations.DELAY:
                raise NfsError(status, op.name)
            await asyncio.sleep(_DELAY_SECONDS[1])

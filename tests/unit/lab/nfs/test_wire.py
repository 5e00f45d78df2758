"""XDR, RPC and attributes against bytes that were written down from the RFCs' own grammar."""

import asyncio
import errno
import struct

import pytest

from provisioner.lab.nfs import attributes, operations, rpc, xdr
from provisioner.lab.nfs.attributes import Wanted
from provisioner.lab.nfs.operations import NfsError, StateId
from provisioner.lab.nfs.rpc import Credential, Refused, Transport
from provisioner.lab.nfs.xdr import Reader, Time


def test_values() -> None:
    assert xdr.opaque(b"abcde") == b"\0\0\0\5abcde\0\0\0"
    assert xdr.bitmap([1, 33, 53]) == struct.pack(">III", 2, 1 << 1, 1 << 1 | 1 << 21)
    reader = Reader(xdr.opaque(b"abcde") + xdr.bitmap([1, 33]) + xdr.u64(1 << 40) + struct.pack(">qI", -1, 5))
    assert (reader.opaque(), reader.bitmap(), reader.u64(), reader.time()) == (b"abcde", [1, 33], 1 << 40, Time(-1, 5))
    with pytest.raises(struct.error):
        reader.u32()
    with pytest.raises(struct.error):
        Reader(xdr.u32(100) + b"short").opaque()


def test_a_call_carries_user_and_groups() -> None:
    record = rpc.message(7, operations.COMPOUND, Credential(1000, 2000, tuple(range(20))), b"args")
    reader = Reader(record)
    assert reader.u32() == 0x80000000 | len(record) - 4
    assert [reader.u32() for _ in range(6)] == [7, 0, 2, 100003, 4, 1]
    assert reader.u32() == 1
    credential = Reader(reader.opaque())
    credential.u32(), credential.opaque()
    assert (credential.u32(), credential.u32()) == (1000, 2000)
    assert [credential.u32() for _ in range(credential.u32())] == list(range(16)), "AUTH_SYS has room for 16"


def test_attributes_as_a_server_sends_them() -> None:
    values = b"".join([
        xdr.u32(1), xdr.u64(9), xdr.u64(42), xdr.u32(0o640), xdr.u32(2), xdr.opaque(b"1000"), xdr.opaque(b"nogroup@x"),
        struct.pack(">qI", 1_700_000_000, 5),
    ])  # fmt: skip
    found = attributes.decode(Reader(xdr.bitmap([1, 3, 4, 33, 35, 36, 37, 53]) + xdr.opaque(values)))
    assert (found.is_file, found.change, found.size, found.mode, found.links) == (True, 9, 42, 0o640, 2)
    assert (found.uid, found.gid, found.modified) == (1000, 65534, Time(1_700_000_000, 5))


def test_attributes_to_set_are_in_the_order_of_their_numbers() -> None:
    encoded = attributes.encode(Wanted(mode=0o100644, uid=7, size=3, modified="now"))
    reader = Reader(encoded)
    assert reader.bitmap() == [4, 33, 36, 54]
    assert reader.opaque() == xdr.u64(3) + xdr.u32(0o644) + xdr.opaque(b"7") + xdr.u32(0)


def test_a_compound_that_fails_halfway() -> None:
    reply = Reader(xdr.u32(2) + xdr.opaque(b"") + xdr.u32(2) + xdr.u32(22) + xdr.u32(0) + xdr.u32(15) + xdr.u32(2))
    found, status = operations.results(
        reply, [operations.put(b"h"), operations.lookup(b"gone"), operations.get_handle()]
    )
    assert (len(found), status) == (2, operations.NOENT)


@pytest.mark.parametrize(
    ("status", "number"),
    [(1, errno.EPERM), (66, errno.ENOTEMPTY), (70, errno.ESTALE), (10004, errno.EOPNOTSUPP), (10006, errno.EIO)],
)
def test_statuses_become_error_numbers(status: int, number: int) -> None:
    assert NfsError(status, "REMOVE").errno == number


def test_who_is_in_the_way_of_a_lock() -> None:
    op = operations.test_lock(operations.Range(operations.WRITE_LOCK, 0, 10), operations.Owner(1, b"me"))
    denied = xdr.u64(5) + xdr.u64(20) + xdr.u32(operations.READ_LOCK) + xdr.u64(2) + xdr.opaque(b"other")
    assert op.decode_error(Reader(denied), operations.DENIED) == (operations.READ_LOCK, 5, 20)


def test_a_state_id_is_16_bytes() -> None:
    assert StateId(1, bytes(12)).encode() == b"\0\0\0\1" + bytes(12)


def test_a_call_outlives_its_connection() -> None:
    """A server that drops the connection gets the same call again, on a new one."""
    calls: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (mark,) = struct.unpack(">I", await reader.readexactly(4))
        calls.append(await reader.readexactly(mark & 0x7FFFFFFF))
        if len(calls) > 1:
            body = calls[-1][:4] + struct.pack(">5I", 1, 0, 0, 0, 0) + xdr.u32(99)
            writer.write(xdr.u32(0x80000000 | len(body)) + body)
            await writer.drain()
        writer.close()

    async def run() -> int:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        said: list[str] = []
        transport = Transport("127.0.0.1", server.sockets[0].getsockname()[1], privileged=False, log=said.append)
        found = await transport.call(operations.COMPOUND, rpc.ROOT, b"")
        await transport.close()
        server.close()
        assert len(said) >= 1
        return found.u32()

    assert asyncio.run(run()) == 99
    assert calls[0] == calls[1]


def test_a_server_that_rejects_the_credentials() -> None:
    with pytest.raises(Refused, match="rejects the credentials"):
        rpc.result(Reader(struct.pack(">3I", 1, 1, 1)))

"""XDR (RFC 4506): the few types that RPC and NFS are made of."""

import struct
from collections.abc import Iterable
from typing import NamedTuple


def u32(value: int) -> bytes:
    """Encode an unsigned integer."""
    return struct.pack(">I", value)


def u64(value: int) -> bytes:
    """Encode an unsigned hyper integer."""
    return struct.pack(">Q", value)


def boolean(value: bool) -> bytes:
    """Encode a boolean."""
    return u32(int(value))


def opaque(value: bytes) -> bytes:
    """Encode bytes of variable length, which are also strings."""
    return u32(len(value)) + value + bytes(-len(value) % 4)


def bitmap(numbers: Iterable[int]) -> bytes:
    """Encode a set of attribute numbers, bitmap4 of RFC 8881."""
    words: list[int] = []
    for number in numbers:
        words += [0] * (number // 32 + 1 - len(words))
        words[number // 32] |= 1 << number % 32
    return u32(len(words)) + b"".join(map(u32, words))


class Time(NamedTuple):
    """A point in time, nfstime4 of RFC 8881: seconds since 1970 and nanoseconds."""

    seconds: int
    nanoseconds: int


class Reader:
    """Decode one value after the other; struct.error where the data end too early."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    def u32(self) -> int:
        """Decode an unsigned integer."""
        (value,) = struct.unpack_from(">I", self._data, self._at)
        self._at += 4
        return int(value)

    def u64(self) -> int:
        """Decode an unsigned hyper integer."""
        (value,) = struct.unpack_from(">Q", self._data, self._at)
        self._at += 8
        return int(value)

    def boolean(self) -> bool:
        """Decode a boolean."""
        return self.u32() != 0

    def fixed(self, length: int) -> bytes:
        """Decode bytes of fixed length."""
        value = bytes(self._data[self._at : self._at + length])
        if len(value) != length:
            raise struct.error(f"{length} bytes expected, {len(value)} left")
        self._at += length + -length % 4
        return value

    def opaque(self) -> bytes:
        """Decode bytes of variable length."""
        return self.fixed(self.u32())

    def bitmap(self) -> list[int]:
        """Decode a set of attribute numbers, in ascending order."""
        words = [self.u32() for _ in range(self.u32())]
        return [32 * at + bit for at, word in enumerate(words) for bit in range(32) if word >> bit & 1]

    def time(self) -> Time:
        """Decode a point in time."""
        (seconds,) = struct.unpack_from(">q", self._data, self._at)
        self._at += 8
        return Time(int(seconds), self.u32())

"""DHCP (RFC 2131) as others send it: which address a server hands out, and to whom. Parsed only, never sent.

A client without an address is told by broadcast if it asked for that; else the offer goes to its MAC, where a switch
shows it to nobody. The client's own request, which names the address and the server, is always broadcast.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

_MAGIC = b"\x63\x82\x53\x63"
_FIXED = 236  # bytes before the magic cookie
_KINDS: dict[int, Literal["offer", "request", "ack"]] = {2: "offer", 3: "request", 5: "ack"}
_REQUESTED, _TYPE, _SERVER = 50, 53, 54  # RFC 2132, 9.1, 9.6, 9.7
_PAD, _END = 0, 255


@dataclass(frozen=True)
class Lease:
    """An address that a DHCP server offers or confirms, or that a client accepts. server: None if not named."""

    kind: Literal["offer", "request", "ack"]
    ip: IPv4Address
    client: str
    server: IPv4Address | None


def parse(frame: bytes) -> Lease | None:
    """Return the lease in a frame, None for anything else. Never raises."""
    try:
        return _parse(frame)
    except (IndexError, struct.error):  # cut short
        return None


def _parse(frame: bytes) -> Lease | None:
    if frame[12:14] != b"\x08\x00" or frame[14] >> 4 != 4 or frame[23] != 17:
        return None
    start = 14 + (frame[14] & 0x0F) * 4
    source, target = struct.unpack_from("!HH", frame, start)
    message = frame[start + 8 :]
    if {source, target} != {67, 68} or message[_FIXED : _FIXED + 4] != _MAGIC or message[1:3] != b"\x01\x06":
        return None
    options = _options(message[_FIXED + 4 :])
    kind = _KINDS.get((options.get(_TYPE) or b"\0")[0])
    if kind is None:
        return None
    named = options.get(_REQUESTED, b"") if kind == "request" else message[16:20]
    server = options.get(_SERVER, b"")
    if len(named) != 4 or named == b"\0" * 4:
        return None
    return Lease(
        kind,
        IPv4Address(named),
        message[28:34].hex(":"),
        IPv4Address(server) if len(server) == 4 else None,
    )


def _options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    place = 0
    while place < len(data) and data[place] != _END:
        if data[place] == _PAD:
            place += 1
            continue
        length = data[place + 1]
        found.setdefault(data[place], data[place + 2 : place + 2 + length])
        place += 2 + length
    return found

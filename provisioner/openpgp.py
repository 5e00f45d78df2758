"""Fingerprints of OpenPGP keys, for those that sign package repositories."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

_PUBLIC_KEY = 6  # packet tag (RFC 9580, section 5); subkeys and signatures belong to the primary key before them
_BEGIN = "-----BEGIN PGP PUBLIC KEY BLOCK-----"


def fingerprints(text: str) -> tuple[str, ...]:
    """Return the fingerprints of all primary keys in ASCII armor, in upper-case hex; raise ValueError.

    apt trusts every key of a file, so that all of them count. Source: RFC 9580, sections 5.5.4, 6.2.
    """
    blocks = [part.partition("-----END PGP PUBLIC KEY BLOCK-----")[0] for part in text.split(_BEGIN)[1:]]
    found = tuple(
        _fingerprint(body) for block in blocks for tag, body in _packets(_unarmor(block)) if tag == _PUBLIC_KEY
    )
    if not found:
        raise ValueError("it has no OpenPGP public key")
    return found


def _unarmor(block: str) -> bytes:
    """Return the bytes between an armor's headers, which an empty line ends, and its checksum, which begins with =."""
    _, _, body = block.replace("\r\n", "\n").partition("\n\n")
    lines = [line.strip() for line in body.splitlines()]
    return base64.b64decode("".join(line for line in lines if not line.startswith("=")), validate=True)


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and body of each packet, in the old or new format (RFC 9580, section 4.2)."""
    position = 0
    while position < len(data):
        header = data[position]
        position += 1
        if not header & 0x80:
            raise ValueError("it is not a sequence of OpenPGP packets")
        if header & 0x40:
            tag = header & 0x3F
            first = data[position] if position < len(data) else 0
            if 224 <= first < 255:
                raise ValueError("it has a packet of unknown length")
            size = 1 if first < 192 else 2 if first < 255 else 4
            raw = data[position : position + size] if size < 4 else data[position + 1 : position + 5]
            length = first if size == 1 else ((first - 192) << 8) + raw[1] + 192 if size == 2 else int.from_bytes(raw)
            position += size + (size == 4)
        else:
            tag = (header >> 2) & 0x0F
            if header & 3 == 3:
                raise ValueError("it has a packet of unknown length")
            size = 1 << (header & 3)
            length = int.from_bytes(data[position : position + size])
            position += size
        if position + length > len(data):
            raise ValueError("it is truncated")
        yield tag, data[position : position + length]
        position += length


def _fingerprint(body: bytes) -> str:
    if body[:1] == b"\x04":
        return hashlib.sha1(b"\x99" + len(body).to_bytes(2) + body).hexdigest().upper()
    if body[:1] == b"\x06":
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4) + body).hexdigest().upper()
    raise ValueError("it has a key of an unknown version")

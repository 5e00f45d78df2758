"""Fingerprints of OpenPGP keys, compared with GnuPG's, and files that are none."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

from provisioner.openpgp import fingerprints
from tests.unit.signing_key import FINGERPRINT, KEY


def test_a_key() -> None:
    assert fingerprints(KEY) == (FINGERPRINT,)
    assert fingerprints(f"a comment\n{KEY.replace(chr(10), chr(13) + chr(10))}\n") == (FINGERPRINT,)
    assert fingerprints(KEY + KEY) == (FINGERPRINT, FINGERPRINT), "apt trusts every key of a file"


@pytest.mark.parametrize(
    "file", sorted(Path("/usr/share/keyrings").glob("debian-archive-*stable.*")), ids=lambda file: file.name
)
def test_debians_keys_as_gpg_shows_them(file: Path) -> None:
    if not shutil.which("gpg"):
        pytest.skip("gpg is not installed")
    data = file.read_bytes()
    armored = data.decode() if data.startswith(b"-----") else armor(data)
    words = ["gpg", "--show-keys", "--with-colons", str(file)]
    lines = [
        line.split(":") for line in subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    ]
    primary = [lines[index + 1][9] for index, line in enumerate(lines) if line[0] == "pub"]
    assert list(fingerprints(armored)) == primary


def armor(data: bytes) -> str:
    """Return ASCII armor (RFC 9580, section 6.2), without the optional checksum."""
    body = base64.encodebytes(data).decode()
    return f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{body}-----END PGP PUBLIC KEY BLOCK-----\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>404</html>",
        "-----BEGIN PGP PUBLIC KEY BLOCK-----",
        KEY.replace("PUBLIC KEY", "MESSAGE"),
        armor(b""),
        armor(b"no packets"),
        armor(base64.b64decode("".join(KEY.split("\n\n")[1].split("=")[0].split()) + "==")[:40]),
        armor(b"\x98\x01\x03"),
        armor(b"\xc6\xe0"),
        armor(b"\x99"),
        armor(b"\xc6"),
        KEY.replace("\n\n", "\n\n!"),
    ],
)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        fingerprints(text)

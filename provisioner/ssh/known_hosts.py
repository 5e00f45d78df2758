"""known_hosts: which host keys are known for a name, revoked, or certified by a trusted authority.

The format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": names, patterns, hashed names, @cert-authority, @revoked.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from provisioner import ownership

_lock = threading.Lock()  # several threads accept host keys


@dataclass(frozen=True)
class Entry:
    """One line of known_hosts. marker: "", "@cert-authority" or "@revoked"; key: the public key, decoded."""

    number: int
    marker: str
    names: str
    type: str
    key: bytes

    def matches(self, name: str) -> bool:
        """Return whether the line is about a name, "host" or "[host]:port"."""
        if self.names.startswith("|1|"):
            _, _, salt, digest = self.names.split("|")
            wanted = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
            return hmac.compare_digest(wanted, base64.b64decode(digest))
        found = False
        for pattern in self.names.lower().split(","):
            literal = pattern.removeprefix("!").replace("[", "[[]")  # no sets in these patterns (ssh_config(5))
            if fnmatchcase(name, literal):
                if pattern.startswith("!"):
                    return False
                found = True
        return found


@dataclass(frozen=True)
class Known:
    """What known_hosts says about one name."""

    keys: tuple[Entry, ...]
    revoked: tuple[Entry, ...]
    authorities: tuple[Entry, ...]


def parse(text: str) -> list[Entry]:
    """Return the entries; lines that OpenSSH would not understand either are skipped, as it does."""
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        if len(words) < 3 or marker not in ("", "@cert-authority", "@revoked"):
            continue
        try:
            entry = Entry(number, marker, words[0], words[1], base64.b64decode(words[2], validate=True))
            entry.matches("")  # a damaged hash
        except ValueError:
            continue
        entries.append(entry)
    return entries


def read(file: Path, name: str) -> Known:
    """Return what a file says about a name; an authority or a revocation for the host counts for all its ports."""
    with _lock:  # another thread may be writing it
        text = file.read_text(errors="replace") if file.exists() else ""
    name = name.lower()
    names = {name, name[1 : name.index("]")]} if name.startswith("[") else {name}
    entries = parse(text)

    def chosen(marker: str, names: Iterable[str]) -> tuple[Entry, ...]:
        return tuple(
            entry for entry in entries if entry.marker == marker and any(entry.matches(each) for each in names)
        )

    return Known(chosen("", (name,)), chosen("@revoked", names), chosen("@cert-authority", names))


def add(file: Path, name: str, type_: str, key: bytes) -> bool:
    """Add one line through a temporary file, so that a reader never sees half a line.

    Return whether the line is new: hosts reached in parallel through one jump host all see its key.
    """
    line = f"{name} {type_} {base64.b64encode(key).decode()}\n"
    with _lock:
        ownership.make_folder(file.parent, 0o700)
        old = file.read_text() if file.exists() else ""
        if line in old:
            return False
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(old if old.endswith("\n") or not old else old + "\n")
            stream.write(line)
        ownership.give_back(temporary)
        temporary.replace(file)
    return True


def certified(blob: bytes, type_: str, name: str, known: Known) -> str:
    """Return why a host certificate does not prove that a host has this name; "" if it does.

    Source: OpenSSH, PROTOCOL.certkeys, and sshkey_cert_check_authority in sshkey.c.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    host = name[1 : name.index("]")] if name.startswith("[") else name
    try:
        cert = serialization.load_ssh_public_identity(f"{type_} {base64.b64encode(blob).decode()}".encode())
        if not isinstance(cert, serialization.SSHCertificate) or cert.type != serialization.SSHCertificateType.HOST:
            return "it is not a host certificate"
        cert.verify_cert_signature()
        signer = cert.signature_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        return f"its signature is not valid ({error or type(error).__name__})"
    ca = base64.b64decode(signer.split()[1])
    principals = [each.decode(errors="replace") for each in cert.valid_principals]
    doubts = (
        (ca not in (authority.key for authority in known.authorities), "it is signed by another authority"),
        (ca in (entry.key for entry in known.revoked), "its authority is revoked"),
        (bool(cert.critical_options), "it has critical options"),
        (not cert.valid_after <= time.time() < cert.valid_before, "it has expired or is not valid yet"),
        (
            bool(principals) and not any(fnmatchcase(host, pattern) for pattern in principals),
            f"it is for {', '.join(principals)}",
        ),
    )
    return next((doubt for holds, doubt in doubts if holds), "")

"""Check the key that a host shows at the login, before anything is sent to it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioner.ssh import known_hosts, lazy
from provisioner.ssh.login import Login

if TYPE_CHECKING:
    from paramiko import PKey, SSHClient, Transport

    from provisioner.site import Site

_CERTIFICATE = "-cert-v01@openssh.com"


def path(site: Site) -> Path:
    """Return the path of the site's known_hosts file; a relative one is resolved against the folder of hosts.toml."""
    return site.directory / Path(site.ssh.known_hosts).expanduser()


class HostKeyRefused(Exception):
    """A host key that is not to be trusted: a sentence about it and a remedy."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class HostKeys:
    """Check the key of one host against known_hosts, by the mode under [ssh]."""

    def __init__(self, site: Site, target: Login, notify: Callable[[str], None]) -> None:
        self._mode = site.ssh.host_keys
        self._file = path(site)
        self._notify = notify
        self._name = target.address if target.port == 22 else f"[{target.address}]:{target.port}"
        nothing = known_hosts.Known((), (), ())
        self._known = nothing if self._mode == "off" else known_hosts.read(self._file, self._name)
        self._certificate: tuple[str, bytes] | None = None

    def transport(self, sock: Any, **more: Any) -> Transport:
        """Return a transport that asks for a key of a known type first, for a certificate if an authority is known."""
        checker = self
        # A known RSA key is listed as ssh-rsa, whatever it signs with.
        known = {"rsa-sha2-512" if entry.type == "ssh-rsa" else entry.type for entry in self._known.keys}
        certificates = bool(self._known.authorities) and not known

        class Checked(lazy.paramiko.Transport):
            # Paramiko knows this method by the name that it had before RFC 8731 only.
            _kex_info = {**_kex_methods(), **lazy.paramiko.Transport._kex_info}  # type: ignore[attr-defined]  # noqa: RUF012
            _preferred_kex = (*_kex_methods(), *lazy.paramiko.Transport._preferred_kex)  # type: ignore[attr-defined]

            @property
            def preferred_keys(self) -> tuple[str, ...]:
                plain = [name for name in super().preferred_keys if not name.endswith(_CERTIFICATE)]
                plain.sort(key=lambda name: name not in known)
                return (*(f"{name}{_CERTIFICATE}" for name in plain if certificates), *plain)

            def _verify_key(self, host_key: bytes, sig: bytes) -> None:
                super()._verify_key(host_key, sig)  # type: ignore[misc]
                if (self.host_key_type or "").endswith(_CERTIFICATE):
                    checker._certificate = self.host_key_type or "", bytes(host_key)

        return Checked(sock, **more)

    def watch(self, client: SSHClient) -> None:
        """Let the client ask `_check` before it logs in."""
        check = self._check

        class Policy(lazy.paramiko.MissingHostKeyPolicy):
            def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
                del client, hostname
                check(key)

        client.set_missing_host_key_policy(Policy())  # it knows no keys itself, so that each one is missing

    def _check(self, key: PKey) -> None:
        if self._mode == "off":
            return
        blob = key.asbytes()
        shown = f"{key.get_name()} {_fingerprint(blob)}"
        for entry in self._known.revoked:
            if entry.key == blob:
                raise HostKeyRefused(
                    f"the host key of {self._name} ({shown}) is revoked ({self._file}:{entry.number})",
                    "do not log in to it; give the machine a new host key if it is yours",
                )
        if any(entry.key == blob for entry in self._known.keys):
            return
        doubt = ""
        if self._certificate is not None:
            type_, certificate = self._certificate
            doubt = known_hosts.certified(certificate, type_, self._name, self._known)
            if not doubt:
                return
            doubt = f"; its certificate does not prove it: {doubt}"
        if self._known.keys:
            raise HostKeyRefused(
                f"the host key of {self._name} has changed: it is {shown}{doubt}, "
                f"not the one in {self._file}:{self._known.keys[0].number}",
                "this may be a man-in-the-middle attack; if the machine was rebuilt, remove the old key: "
                f"ssh-keygen -f {self._file} -R '{self._name}'",
            )
        if self._mode == "strict":
            raise HostKeyRefused(
                f"the host key of {self._name} ({shown}) is not in {self._file}{doubt}",
                'verify it on the host and add it, or set host_keys = "accept-new" under [ssh]',
            )
        if known_hosts.add(self._file, self._name, key.get_name(), blob):
            self._notify(f"accepted the new host key of {self._name} ({shown}) and added it to {self._file}")


def _kex_methods() -> dict[str, object]:
    """Return curve25519-sha256 by its standard name; hardened servers have it under no other."""
    known = lazy.paramiko.Transport._kex_info  # type: ignore[attr-defined]
    return {name: known[f"{name}@libssh.org"] for name in ("curve25519-sha256",) if f"{name}@libssh.org" in known}


def _fingerprint(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")

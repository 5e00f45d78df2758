"""The keys to log in with: files, the agent's keys, certificates; tried in OpenSSH's order."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.ssh import lazy
from provisioner.ssh.login import Login

if TYPE_CHECKING:
    from paramiko import AgentKey, PKey, Transport

DEFAULT_FILES = ("id_rsa", "id_ecdsa", "id_ed25519")  # of those in ssh(1), what Paramiko can read


class Refused(Exception):
    """A login that no other attempt improves: a sentence about it and a remedy. again: whether other keys are left."""

    def __init__(self, problem: str, remedy: str, *, again: bool = False) -> None:
        super().__init__(problem)
        self.remedy = remedy
        self.again = again


class Identities:
    """The keys for one login, tried one after the other, each once.

    A server hangs up after some failures (MaxAuthTries in sshd_config(5)): a Refused with `again` asks for another
    connection, on which the rest is tried. Paramiko calls `authenticate` as its AuthStrategy.
    """

    def __init__(self, login: Login) -> None:
        self._login = login
        self._tried: set[bytes] = set()
        self._locked: list[str] = []
        self.agent_keys: tuple[AgentKey, ...] = ()

    def authenticate(self, transport: Transport) -> None:
        """Log in with the first key that the server accepts; raise Refused."""
        attempts = 0
        for label, key in self._candidates():
            if key.asbytes() in self._tried:
                continue
            self._tried.add(key.asbytes())
            attempts += 1
            try:
                more = transport.auth_publickey(self._login.user, key)
            except lazy.paramiko.BadAuthenticationType as error:
                allowed = ", ".join(error.allowed_types)
                raise Refused(
                    f"{self._login} accepts no keys, only {allowed or 'nothing'}",
                    "allow PubkeyAuthentication in /etc/ssh/sshd_config on the host, and install a key: ssh-copy-id",
                ) from error
            except lazy.paramiko.SSHException:
                if transport.is_active():
                    continue
                if attempts > 1:
                    # The server hung up after several keys: it counts them.
                    raise Refused("too many keys", "", again=True) from None
                raise
            if not more:
                return
            raise Refused(
                f"{self._login} accepts {label}, but asks for more: {', '.join(more)} (two-factor authentication)",
                f"exempt {self._login.user} on the host, in /etc/ssh/sshd_config: Match User {self._login.user}, "
                "AuthenticationMethods publickey",
            )
        raise self._rejected()

    def _rejected(self) -> Refused:
        if self._locked and not self._tried:
            files = ", ".join(self._locked)
            return Refused(f"the key {files} has a passphrase", f"load it into an agent: ssh-add {self._locked[0]}")
        if not self._tried:
            return Refused(
                "there is no key to log in with: none in ~/.ssh and none in an agent",
                "set key under [ssh], or load one: ssh-add FILE",
            )
        what = self._login.key or (
            f"all {len(self._tried)} keys of the agent and in ~/.ssh" if len(self._tried) > 1 else "the key"
        )
        also = f" ({', '.join(self._locked)} has a passphrase and was not tried)" if self._locked else ""
        return Refused(
            f"{self._login} rejected {what}{also}",
            "check user and key under [ssh], and authorized_keys on the host",
        )

    def _candidates(self) -> Iterator[tuple[str, PKey]]:
        """Yield a label and a key: certificates and keys of the agent that a file names, others, then files."""
        with _Agent(self._login.agent) as agent:
            by_blob = {key.asbytes(): key for key in agent}
            if self._login.key:
                yield self._configured(Path(self._login.key), by_blob)
                return
            files = [Path(file) for file in self._login.files] or [
                Path.home() / ".ssh" / name for name in DEFAULT_FILES
            ]
            files = [file for file in files if file.exists() or _public_file(file).exists()]
            named = [blob for file in files if (blob := public_blob(file)) in by_blob and blob is not None]
            for blob in named:
                yield "a key of the agent", by_blob[blob]
            if not (self._login.only and self._login.files):
                for blob, key in by_blob.items():
                    if blob not in named:
                        yield "a key of the agent", key
            for file in files:
                if file.suffix != ".pub" and public_blob(file) not in by_blob and file.exists():
                    try:
                        yield str(file), load(file)
                    except Locked:
                        self._locked.append(str(file))
                    except Unreadable as error:
                        if self._login.files:
                            raise Refused(str(error), "check IdentityFile in ~/.ssh/config") from error

    def _configured(self, file: Path, by_blob: dict[bytes, AgentKey]) -> tuple[str, PKey]:
        """Return the key that hosts.toml names, from the agent if the file is a public key or has a passphrase."""
        try:
            if file.suffix != ".pub" or file.name.endswith("-cert.pub"):
                return str(file), load(file)
            blob = public_blob(file, strict=True)
        except Locked:
            blob = public_blob(file)
            if blob not in by_blob:
                raise Refused(f"the key {file} has a passphrase", f"load it into an agent: ssh-add {file}") from None
        except Unreadable as error:
            raise Refused(str(error), "check key under [ssh]") from error
        if blob is not None and blob in by_blob:
            return str(file), by_blob[blob]
        holds = f"holds {len(by_blob)} others" if by_blob else "is not running or holds no key"
        raise Refused(
            f"the agent has no key for {file}: it {holds}", f"load the private key: ssh-add {file.with_suffix('')}"
        )


class Locked(Exception):
    """A private key has a passphrase."""


class Unreadable(Exception):
    """A key file cannot be read; the message says which and why."""


def load(file: Path) -> PKey:
    """Load a private key and its certificate FILE-cert.pub, if it has one; raise Locked or Unreadable."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return lazy.paramiko.PKey.from_path(str(file))
    except (lazy.paramiko.PasswordRequiredException, TypeError) as error:
        raise Locked from error
    except OSError as error:
        raise Unreadable(f"cannot read the private key {error.filename or file}: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm, lazy.paramiko.SSHException, lazy.paramiko.pkey.UnknownKeyType) as error:
        if b"PuTTY-User-Key-File" in file.read_bytes()[:64]:
            raise Unreadable(
                f"the private key {file} is in PuTTY's format (convert it: puttygen -O private-openssh)"
            ) from error
        raise Unreadable(f"{file} is not a private key that can be used here: {error}") from error


def public_blob(file: Path, *, strict: bool = False) -> bytes | None:
    """Return the public key that belongs to a key file, from FILE.pub or the file itself; None if unknown.

    strict: raise Unreadable instead.
    """
    public = file if file.suffix == ".pub" else _public_file(file)
    try:
        return base64.b64decode(public.read_text().split()[1], validate=True)
    except OSError as error:
        if strict:
            raise Unreadable(f"cannot read the public key {public}: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        if strict:
            raise Unreadable(f"{public} is not a public key") from error
    with suppress(OSError, ValueError, IndexError):
        return _embedded_blob(file.read_text())
    return None


def _public_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.pub")


def _embedded_blob(text: str) -> bytes | None:
    """Return the public key in OpenSSH's own private key format, which is not encrypted (PROTOCOL.key)."""
    if "BEGIN OPENSSH PRIVATE KEY" not in text:
        return None
    message = lazy.paramiko.Message(base64.b64decode("".join(text.split("-----")[2].split())))
    message.get_bytes(len(b"openssh-key-v1\0"))
    for _ in range(3):  # cipher, KDF and its options
        message.get_string()
    message.get_int()  # the number of keys
    return bytes(message.get_string())


class _Agent:
    """The keys of an agent; none if it is not running. path: IdentityAgent; "" is $SSH_AUTH_SOCK."""

    def __init__(self, path: str) -> None:
        self._path = os.environ.get("SSH_AUTH_SOCK", "") if path in ("", "SSH_AUTH_SOCK") else path
        if path.startswith("$"):
            self._path = os.environ.get(path.strip("${}"), "")
        self._socket: socket.socket | None = None

    def __enter__(self) -> tuple[AgentKey, ...]:
        if self._path in ("", "none"):
            return ()
        connection = socket.socket(socket.AF_UNIX)
        agent = lazy.paramiko.agent.AgentSSH()
        try:
            connection.settimeout(30)
            connection.connect(str(Path(self._path).expanduser()))
            agent._connect(connection)  # type: ignore[attr-defined]  # Paramiko's Agent itself only knows $SSH_AUTH_SOCK
        except (OSError, lazy.paramiko.SSHException):
            connection.close()
            return ()
        self._socket = connection
        return agent.get_keys()

    def __exit__(self, *exc: object) -> None:
        if self._socket is not None:
            self._socket.close()

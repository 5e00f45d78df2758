"""How a host is logged in to: login settings, host keys, the jump host.

Fabric's Connection makes the connection and its gateway. Left alone it accepts any host key and loads no
known_hosts, so the policy is set on its client here.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from provisioner.addresses import split_host_port
from provisioner.errors import Unreachable
from provisioner.site import HostSpec, Site
from provisioner.ssh.channel import reason

if TYPE_CHECKING:
    from fabric import Connection
    from paramiko import PKey, SSHClient, Transport


KEEPALIVE = 15  # seconds between keepalives, so that a NAT or firewall on the way keeps the connection
_known_hosts_lock = threading.Lock()


class LoginRefused(Unreachable):
    """Report a login that fails for a reason that trying again does not mend: key, host key, user."""


@dataclass(frozen=True)
class Login:
    """Whom to log in as, where, with which key file (empty: the agent and the defaults in ~/.ssh)."""

    user: str
    address: str
    port: int
    key: str

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.user}@{address}:{self.port}"


def login(site: Site, spec: HostSpec) -> Login:
    """Return a host's login: its own settings over those of [ssh]."""
    own = spec.ssh
    key = own.key or site.ssh.key
    return Login(
        user=own.user or site.ssh.user,
        address=spec.ssh_address or spec.address,
        port=own.port or site.ssh.port,
        key=str(site.directory / Path(key).expanduser()) if key else "",
    )


def known_hosts(site: Site) -> Path:
    """Return the site's known_hosts file (relative paths are relative to hosts.toml's folder)."""
    return site.directory / Path(site.ssh.known_hosts).expanduser()


def connect(site: Site, spec: HostSpec, tell: Callable[[str], None]) -> Connection:
    """Log in to a host, through the jump host where there is one; raise Unreachable, which says why not.

    tell: takes a sentence for each host key that was accepted because nothing was known of the machine.
    """
    target = login(site, spec)
    gateway = None
    if (jump := jump_login(site)) is not None:
        gateway = _connection(site, jump, None, tell)
        _open(site, spec, gateway, "jump host ")
    connection = _connection(site, target, gateway, tell)
    try:
        _open(site, spec, connection, "")
    except Unreachable:
        if gateway is not None:
            gateway.close()
        raise
    return connection


def jump_login(site: Site) -> Login | None:
    """Return the jump host's login ("user@host:port", user and port optional), None where there is none."""
    if not site.ssh.jump:
        return None
    user, _, place = site.ssh.jump.rpartition("@")
    address, port = split_host_port(place, 22)
    key = str(site.directory / Path(site.ssh.key).expanduser()) if site.ssh.key else ""
    return Login(user or site.ssh.user, address, port, key)


def _connection(site: Site, target: Login, gateway: Connection | None, tell: Callable[[str], None]) -> Connection:
    from fabric import Config, Connection
    from paramiko import SSHConfig

    # What goes wrong is told by our own errors; Python would print Paramiko's log over the screen besides.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    patience = site.timeout(site.ssh.connect_timeout)
    kwargs: dict[str, Any] = {"banner_timeout": patience, "auth_timeout": patience, "channel_timeout": patience}
    if target.key:
        kwargs |= {"key_filename": target.key, "look_for_keys": False, "allow_agent": False}
    # A lazy Config with an empty SSHConfig reads no file of this machine: hosts.toml alone says how to log in.
    connection = Connection(
        target.address,
        user=target.user,
        port=target.port,
        config=Config(lazy=True, ssh_config=SSHConfig()),
        gateway=gateway,
        connect_timeout=max(1, int(patience)),
        connect_kwargs=kwargs,
    )
    _set_host_key_policy(connection.client, site, tell)
    return connection


def _open(site: Site, spec: HostSpec, connection: Connection, role: str) -> None:
    """Open `connection`; translate every way in which that fails into one sentence and a remedy."""
    import paramiko

    place = f"{role}{connection.user}@{connection.host}:{connection.port}"
    place += " through the jump host" if connection.gateway else ""
    key = connection.connect_kwargs.get("key_filename", "")
    key = key if isinstance(key, str) else ", ".join(key)  # Fabric makes a list of it when it opens
    kind: type[Unreachable] = LoginRefused
    try:
        connection.open()
        transport = cast("Transport", connection.transport)
        transport.set_keepalive(KEEPALIVE)
        return
    except _UnknownHostKey as error:
        problem, remedy = str(error), error.remedy
    except paramiko.BadHostKeyException as error:
        problem = f"the host key of {place} has changed ({error.key.get_name()} {_fingerprint(error.key)})"
        name = _host_key_name(connection)
        remedy = (
            "somebody may be in between; if the machine was rebuilt, forget the old key: "
            f"ssh-keygen -f {known_hosts(site)} -R '{name}'"
        )
    except paramiko.PasswordRequiredException:
        problem = f"the key {key or 'in ~/.ssh'} has a passphrase"
        remedy = f"load it into an agent (ssh-add {key}) and leave [ssh] key empty"
    except paramiko.AuthenticationException as error:
        # Paramiko gives a connection that broke, or a server that is slow, while logging in the same name.
        if "EOF" in str(error) or "timeout" in str(error):
            kind = Unreachable
            problem, remedy = f"{place} ended the login: {error}", "check the load and sshd's log on the host"
        else:
            problem = f"{place} refuses to log us in with {key or 'the agent and the keys in ~/.ssh'}"
            remedy = "check user and key under [ssh], and authorized_keys on the host"
    except (FileNotFoundError, PermissionError) as error:
        problem, remedy = f"cannot read the key {error.filename}: {error.strerror}", "check key under [ssh]"
    except socket.gaierror:
        problem, remedy = f"the name {connection.host} does not resolve", "check ssh_address in hosts.toml"
    except TimeoutError:
        kind = Unreachable
        problem, remedy = f"{place} does not answer", "check that the machine is up and its address is right"
    except (paramiko.SSHException, OSError, EOFError) as error:
        kind = Unreachable
        problem = f"cannot log in to {place}: {reason(error)}"
        remedy = "check that the machine is up and that sshd listens there"
    connection.close()
    raise kind(spec.name, problem, remedy)


# --- host keys ---------------------------------------------------------------------------------------------


class _UnknownHostKey(Exception):
    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def _set_host_key_policy(client: SSHClient, site: Site, tell: Callable[[str], None]) -> None:
    from paramiko import MissingHostKeyPolicy

    file = known_hosts(site)
    mode = site.ssh.host_keys

    class Policy(MissingHostKeyPolicy):
        def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
            del client
            if mode == "accept-new":
                if _remember(file, hostname, key):
                    tell(
                        f"accepted the host key of {hostname}, not known before: {key.get_name()} "
                        f"{_fingerprint(key)}; written to {file}"
                    )
            elif mode == "strict":
                raise _UnknownHostKey(
                    f"the host key of {hostname} ({key.get_name()} {_fingerprint(key)}) is not in {file}",
                    'compare it on the host and add it there, or set host_keys = "accept-new" under [ssh]',
                )

    client.set_missing_host_key_policy(Policy())
    if mode != "off" and file.exists():
        # Another thread may be appending; a half-written line would read as a missing or broken key.
        with _known_hosts_lock:
            client.load_host_keys(str(file))


def _remember(file: Path, hostname: str, key: PKey) -> bool:
    """Add one line to known_hosts: beside and renamed, so that a reader never sees half a line.

    Return whether it was not there: hosts that are reached at once through one jump host all meet its key.
    """
    line = f"{hostname} {key.get_name()} {key.get_base64()}\n"
    with _known_hosts_lock:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        old = file.read_text() if file.exists() else ""
        if line in old:
            return False
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(old if old.endswith("\n") or not old else old + "\n")
            stream.write(line)
        beside.replace(file)
    return True


def _fingerprint(key: PKey) -> str:
    import base64
    import hashlib

    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def _host_key_name(connection: Connection) -> str:
    return connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"

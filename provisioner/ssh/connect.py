"""Log in to a host: login settings, host keys, the jump host.

Fabric's Connection opens the connection and its gateway. By default it accepts any host key and loads no
known_hosts, so this module sets the policy on its client.
"""

from __future__ import annotations

import base64
import hashlib
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
from provisioner.ssh import lazy
from provisioner.ssh.channel import reason

if TYPE_CHECKING:
    from fabric import Connection
    from paramiko import PKey, SSHClient, Transport


KEEPALIVE = 15  # seconds between keepalives, so that NAT and firewalls on the path keep the connection
_known_hosts_lock = threading.Lock()


class LoginRefused(Unreachable):
    """A login failed for a reason that a retry does not fix: key, host key, user."""


@dataclass(frozen=True)
class Login:
    """User, address, port and private key file of a login; an empty key means the agent and the keys in ~/.ssh."""

    user: str
    address: str
    port: int
    key: str

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.user}@{address}:{self.port}"


def login(site: Site, spec: HostSpec) -> Login:
    """Return a host's login; the host's own settings take precedence over [ssh]."""
    own = spec.ssh
    key = own.key or site.ssh.key
    return Login(
        user=own.user or site.ssh.user,
        address=spec.ssh_address or spec.address,
        port=own.port or site.ssh.port,
        key=str(site.directory / Path(key).expanduser()) if key else "",
    )


def known_hosts(site: Site) -> Path:
    """Return the path of the site's known_hosts file; a relative one is resolved against the folder of hosts.toml."""
    return site.directory / Path(site.ssh.known_hosts).expanduser()


def connect(site: Site, spec: HostSpec, notify: Callable[[str], None]) -> Connection:
    """Log in to a host, through the jump host if the site has one; raise Unreachable with the cause.

    notify: called with a sentence for each previously unknown host key that was accepted.
    """
    target = login(site, spec)
    gateway = None
    if (jump := jump_login(site)) is not None:
        gateway = _connection(site, jump, None, notify)
        _open(site, spec, gateway, "jump host ")
    connection = _connection(site, target, gateway, notify)
    try:
        _open(site, spec, connection, "")
    except Unreachable:
        if gateway is not None:
            gateway.close()
        raise
    return connection


def jump_login(site: Site) -> Login | None:
    """Return the jump host's login ("user@host:port", user and port optional), None if the site has none."""
    if not site.ssh.jump:
        return None
    user, _, place = site.ssh.jump.rpartition("@")
    address, port = split_host_port(place, 22)
    key = str(site.directory / Path(site.ssh.key).expanduser()) if site.ssh.key else ""
    return Login(user or site.ssh.user, address, port, key)


def _connection(site: Site, target: Login, gateway: Connection | None, notify: Callable[[str], None]) -> Connection:
    # Failures are reported by our own errors; without a handler Python prints Paramiko's log over the screen.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    timeout = site.timeout(site.ssh.connect_timeout)
    kwargs: dict[str, Any] = {"banner_timeout": timeout, "auth_timeout": timeout, "channel_timeout": timeout}
    if target.key:
        kwargs |= {"key_filename": target.key, "look_for_keys": False, "allow_agent": False}
    # A lazy Config with an empty SSHConfig reads no file on this machine: only hosts.toml decides how to log in.
    connection = lazy.fabric.Connection(
        target.address,
        user=target.user,
        port=target.port,
        config=lazy.fabric.Config(lazy=True, ssh_config=lazy.paramiko.SSHConfig()),
        gateway=gateway,
        connect_timeout=max(1, int(timeout)),
        connect_kwargs=kwargs,
    )
    _set_host_key_policy(connection.client, site, notify)
    return connection


def _open(site: Site, spec: HostSpec, connection: Connection, role: str) -> None:
    """Open `connection`; translate every failure into one sentence and a remedy."""
    place = f"{role}{connection.user}@{connection.host}:{connection.port}"
    place += " through the jump host" if connection.gateway else ""
    key = connection.connect_kwargs.get("key_filename", "")
    key = key if isinstance(key, str) else ", ".join(key)  # Fabric turns it into a list on opening
    kind: type[Unreachable] = LoginRefused
    try:
        connection.open()
        transport = cast("Transport", connection.transport)
        transport.set_keepalive(KEEPALIVE)
        return
    except _UnknownHostKey as error:
        problem, remedy = str(error), error.remedy
    except lazy.paramiko.BadHostKeyException as error:
        problem = f"the host key of {place} has changed ({error.key.get_name()} {_fingerprint(error.key)})"
        name = _host_key_name(connection)
        remedy = (
            "this may be a man-in-the-middle attack; if the machine was rebuilt, remove the old key: "
            f"ssh-keygen -f {known_hosts(site)} -R '{name}'"
        )
    except lazy.paramiko.PasswordRequiredException:
        problem = f"the key {key or 'in ~/.ssh'} has a passphrase"
        remedy = f"load it into an agent (ssh-add {key}) and leave [ssh] key empty"
    except lazy.paramiko.AuthenticationException as error:
        # Paramiko raises the same for a connection that breaks, or a server that is slow, during the login.
        if "EOF" in str(error) or "timeout" in str(error):
            kind = Unreachable
            problem, remedy = f"the login to {place} failed: {error}", "check the load and sshd's log on the host"
        else:
            problem = f"{place} rejected {key or 'the keys of the agent and in ~/.ssh'}"
            remedy = "check user and key under [ssh], and authorized_keys on the host"
    except (FileNotFoundError, PermissionError) as error:
        problem, remedy = f"cannot read the private key {error.filename}: {error.strerror}", "check key under [ssh]"
    except socket.gaierror:
        problem, remedy = f"cannot resolve {connection.host}", "check ssh_address in hosts.toml"
    except TimeoutError:
        kind = Unreachable
        problem, remedy = f"connection to {place} timed out", "check that the machine is up and its address is right"
    except (lazy.paramiko.SSHException, OSError, EOFError) as error:
        kind = Unreachable
        problem = f"cannot log in to {place}: {reason(error)}"
        remedy = "check that the machine is up and sshd is listening on that port"
    connection.close()
    raise kind(spec.name, problem, remedy)


# --- host keys ---------------------------------------------------------------------------------------------


class _UnknownHostKey(Exception):
    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def _set_host_key_policy(client: SSHClient, site: Site, notify: Callable[[str], None]) -> None:
    file = known_hosts(site)
    mode = site.ssh.host_keys

    class Policy(lazy.paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
            del client
            if mode == "accept-new":
                if _add_known_host(file, hostname, key):
                    notify(
                        f"accepted the new host key of {hostname} ({key.get_name()} {_fingerprint(key)}) "
                        f"and added it to {file}"
                    )
            elif mode == "strict":
                raise _UnknownHostKey(
                    f"the host key of {hostname} ({key.get_name()} {_fingerprint(key)}) is not in {file}",
                    'verify it on the host and add it, or set host_keys = "accept-new" under [ssh]',
                )

    client.set_missing_host_key_policy(Policy())
    if mode != "off" and file.exists():
        # Another thread may be writing the file.
        with _known_hosts_lock:
            client.load_host_keys(str(file))


def _add_known_host(file: Path, hostname: str, key: PKey) -> bool:
    """Add one line to known_hosts through a temporary file, so that a reader never sees half a line.

    Return whether the line is new: hosts reached in parallel through one jump host all see its key.
    """
    line = f"{hostname} {key.get_name()} {key.get_base64()}\n"
    with _known_hosts_lock:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        old = file.read_text() if file.exists() else ""
        if line in old:
            return False
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(old if old.endswith("\n") or not old else old + "\n")
            stream.write(line)
        temporary.replace(file)
    return True


def _fingerprint(key: PKey) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def _host_key_name(connection: Connection) -> str:
    return connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"

"""Log in to a host: through the jump hosts, with its key checked, every failure one sentence and a remedy.

Fabric's Connection opens the connection and its gateway. By default it accepts any host key and loads no
known_hosts, so this module sets the policy on its client.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from provisioner.errors import Unreachable
from provisioner.ssh import lazy, login_failures
from provisioner.ssh.host_keys import HostKeyRefused, HostKeys
from provisioner.ssh.identities import Identities, Refused
from provisioner.ssh.login import Login, login

if TYPE_CHECKING:
    from fabric import Connection
    from paramiko import Transport

    from provisioner.site import HostSpec, Site


KEEPALIVE = 15  # seconds between keepalives, so that NAT and firewalls on the path keep the connection
# Logins to one host while its server hangs up: before the greeting (MaxStartups) or after some keys (MaxAuthTries).
ATTEMPTS = 8
REMEMBERED = 30.0  # seconds for which a jump host counts as out of reach after a failed login


class LoginRefused(Unreachable):
    """A login failed for a reason that a retry does not fix: key, host key, user."""


@dataclass
class Jumps:
    """The jump hosts of a site that were found out of reach, for all hosts behind them."""

    failed: dict[Login, tuple[float, Unreachable]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)


def connect(site: Site, spec: HostSpec, notify: Callable[[str], None], jumps: Jumps | None = None) -> Connection:
    """Log in to a host, through the jump hosts if there are any; raise Unreachable with the cause.

    notify: called with a sentence for each previously unknown host key that was accepted.
    """
    target = login(site, spec)
    attempt = _Attempt(site, spec, notify)
    gateway: Connection | None = None
    try:
        for jump in target.jumps:
            gateway = attempt.jump(jump, gateway, jumps or Jumps())
        return attempt.log_in(target, gateway, "")
    except Unreachable:
        close(gateway)
        raise


def close(connection: Connection | None) -> None:
    """Close a connection and those that it goes through."""
    while connection is not None:
        connection.close()
        connection = connection.gateway


@dataclass(frozen=True)
class _Attempt:
    """The attempt to reach one host, on behalf of which jump hosts are logged in to."""

    site: Site
    spec: HostSpec
    notify: Callable[[str], None]

    def jump(self, jump: Login, gateway: Connection | None, jumps: Jumps) -> Connection:
        """Log in to a jump host; if another host has just found it out of reach, say so at once."""
        with jumps.lock:
            at, error = jumps.failed.get(jump, (-REMEMBERED, None))
        if error is not None and time.monotonic() - at < REMEMBERED:
            raise type(error)(self.spec.name, error.message, error.remedy)
        try:
            return self.log_in(jump, gateway, "jump host ")
        except Unreachable as found:
            with jumps.lock:
                jumps.failed[jump] = time.monotonic(), found
            raise

    def log_in(self, target: Login, gateway: Connection | None, role: str) -> Connection:
        """Log in; connect again while the server hangs up before its greeting, or after some of many keys.

        Nothing has been sent then but keys that the server refused.
        """
        identities = Identities(target)
        place = f"{role}{target}" + (" through the jump host" if gateway else "")
        for left in range(ATTEMPTS - 1, -1, -1):
            connection = self._connection(target, gateway, identities)
            try:
                connection.open()
                cast("Transport", connection.transport).set_keepalive(KEEPALIVE)
                return connection
            except (
                lazy.paramiko.SSHException,
                OSError,
                EOFError,
                Refused,
                HostKeyRefused,
            ) as error:
                connection.close()
                if left and login_failures.hung_up(error):
                    time.sleep(random.uniform(0.1, 0.4) * (ATTEMPTS - left))
                    continue
                cause = login_failures.explain(error, place, target, gateway)
                kind = Unreachable if cause.temporary else LoginRefused
                raise kind(self.spec.name, cause.problem, cause.remedy) from error
        raise AssertionError("unreachable")

    def _connection(self, target: Login, gateway: Connection | None, identities: Identities) -> Connection:
        # Failures are reported by our own errors; without a handler Python prints Paramiko's log over the screen.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())
        timeout = self.site.timeout(self.site.ssh.connect_timeout)
        keys = HostKeys(self.site, target, self.notify)
        kwargs: dict[str, Any] = {"banner_timeout": timeout, "auth_timeout": timeout, "channel_timeout": timeout}
        kwargs |= {"auth_strategy": identities, "transport_factory": keys.transport}
        # A lazy Config with an empty SSHConfig reads no file on this machine: login.py has read what counts.
        connection = lazy.fabric.Connection(
            target.address,
            user=target.user,
            port=target.port,
            config=lazy.fabric.Config(lazy=True, ssh_config=lazy.paramiko.SSHConfig()),
            gateway=gateway,
            connect_timeout=max(1, int(timeout)),
            connect_kwargs=kwargs,
        )
        keys.watch(connection.client)
        return connection

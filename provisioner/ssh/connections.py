"""The connections to one host: usually one, more where its sshd limits the sessions of each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from provisioner.errors import HostError, Unreachable
from provisioner.ssh import channel, connect

if TYPE_CHECKING:
    from fabric import Connection
    from paramiko import Transport

    from provisioner.site import HostSpec, Site

T = TypeVar("T")


class Connections:
    """Log in to a host at first use, and again after a loss; safe to use from several threads.

    out_of_reach: why the last login failed; None after a successful one.
    """

    def __init__(
        self, site: Site, spec: HostSpec, notify: Callable[[str], None], jumps: connect.Jumps | None = None
    ) -> None:
        self._site = site
        self._spec = spec
        self._notify = notify
        self._jumps = jumps
        self._connecting = threading.Lock()
        self._main: Connection | None = None
        self._spare: list[Connection] = []  # open ones without a session, beyond the main one
        self._open: set[Connection] = set()
        self.closed = threading.Event()
        self.out_of_reach: Unreachable | None = None

    def transport(self) -> Transport:
        """Return the live transport of the main connection, logging in if necessary; raise Unreachable."""
        with self._connecting:
            if self._main is not None and not self._main.is_connected:
                self._discard(self._main)
                self._main = None
            if self._main is None:
                self._main = self._log_in()
            return cast("Transport", self._main.transport)

    def run(self, send: Callable[[Transport], T]) -> T:
        """Return `send(transport)`, which opens a session on it.

        If nothing has been sent because the connection is dead (a NAT forgot it, a laptop slept), log in once more. If
        sshd refuses the session (MaxSessions), use another connection. Raise Unreachable, ConnectionLost or HostError.
        """
        again = True
        while True:
            try:
                return send(self.transport())
            except channel.ChannelRefused:
                return self._run_on_spare(send)
            except channel.ConnectionLost as error:
                if error.sent or not again:
                    raise
                again = False

    def _run_on_spare(self, send: Callable[[Transport], T]) -> T:
        with self._connecting:
            connection = self._spare.pop() if self._spare else None
        fresh = connection is None or not connection.is_connected
        if connection is None or not connection.is_connected:
            connection = self._log_in()
        try:
            return send(cast("Transport", connection.transport))
        except channel.ChannelRefused as error:
            if not fresh:
                return self._run_on_spare(send)
            raise HostError(
                self._spec.name,
                f"its SSH server lets {connection.user} log in, but refuses to run a command ({error})",
                "set MaxSessions in /etc/ssh/sshd_config on the host to 1 or more (10 is the default)",
            ) from error
        except channel.ConnectionLost as error:
            if error.sent or fresh:
                raise
            return self._run_on_spare(send)
        finally:
            with self._connecting:
                if connection.is_connected and not self.closed.is_set():
                    self._spare.append(connection)
                else:
                    self._discard(connection)

    def _log_in(self) -> Connection:
        if self.closed.is_set():
            raise Unreachable(self._spec.name, "the run was interrupted")
        try:
            connection = connect.connect(self._site, self._spec, self._notify, self._jumps)
        except Unreachable as error:
            self.out_of_reach = error
            raise
        self.out_of_reach = None
        self._open.add(connection)
        return connection

    def _discard(self, connection: Connection) -> None:
        self._open.discard(connection)
        connect.close(connection)

    def close(self) -> None:
        """Close all connections for good; commands still running on them fail."""
        self.closed.set()
        for connection in tuple(self._open):
            connect.close(connection)

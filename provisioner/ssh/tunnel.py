"""Forward a local port to an address as seen from a host, for an API that is not reachable directly."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from provisioner.errors import ProvisionerError
from provisioner.ssh import channel

if TYPE_CHECKING:
    from paramiko import Channel, Transport


OPEN_TIMEOUT = 30.0  # seconds for the server's own connection to the target
PROHIBITED = 1  # SSH_OPEN_ADMINISTRATIVELY_PROHIBITED (RFC 4254, section 5.1)


class Tunnel:
    """Listen on 127.0.0.1:`port` and carry each connection through its own SSH channel to the target.

    prohibited: whether the SSH server refuses to forward connections at all.
    """

    def __init__(self, transport: Callable[[], Transport], address: str, port: int) -> None:
        self._transport = transport
        self._target = (address, port)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1"
        self.prohibited = False
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name=f"tunnel-{self.port}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; open connections last until their peers close them."""
        with suppress(OSError):  # not every system can shut down a listening socket
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() alone does not
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, source = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client, source), daemon=True).start()

    def _carry(self, client: socket.socket, source: tuple[str, int]) -> None:
        with client:
            try:
                opened = self._open(source)
            except (channel.ChannelRefused, channel.ConnectionLost, ProvisionerError):
                return  # the client sees its connection closed, as if the server had refused it
            with opened:
                _pump(client, opened)

    def _open(self, source: tuple[str, int]) -> Channel:
        """Open a channel to the target; log in once more if the connection is dead."""
        for again in (True, False):
            try:
                return channel.open_channel(self._transport(), OPEN_TIMEOUT, "direct-tcpip", self._target, source)
            except channel.ChannelRefused as error:
                if error.code:
                    self.prohibited = error.code == PROHIBITED
                raise
            except channel.ConnectionLost:
                if not again:
                    raise
        raise AssertionError("unreachable")


def _pump(client: socket.socket, opened: Channel) -> None:
    """Copy data in both directions until the server closes or either side is gone."""
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ)
        selector.register(opened, selectors.EVENT_READ)
        try:
            while True:
                for key, _ in selector.select():
                    if key.fileobj is client:
                        data = client.recv(65536)
                        if data:
                            opened.sendall(data)
                        else:
                            opened.shutdown_write()
                            selector.unregister(client)
                    else:
                        data = opened.recv(65536)
                        if not data:
                            return
                        client.sendall(data)
        except OSError:
            return  # either side went away

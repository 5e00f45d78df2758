"""An SSH server on this machine that lets everybody in, in this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import paramiko
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED

KEY = paramiko.ECDSAKey.generate()


class Server(paramiko.ServerInterface):
    """Accept any login and any command; each command's channel goes to `channels`.

    opening: the answer to each request for a channel, a reason of RFC 4254, section 5.1, unless it succeeds.
    """

    def __init__(self) -> None:
        self.channels: SimpleQueue[paramiko.Channel] = SimpleQueue()
        self.opening = OPEN_SUCCEEDED

    def check_auth_none(self, username: str) -> int:
        return AUTH_SUCCESSFUL

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return self.opening

    def check_channel_direct_tcpip_request(self, chanid: int, origin: object, destination: object) -> int:
        return self.opening

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.channels.put(channel)
        return True


def serve(connection: socket.socket, server: Server) -> paramiko.Transport:
    """Serve one connection; return its transport."""
    transport = paramiko.Transport(connection)
    transport.add_server_key(KEY)
    transport.start_server(event=threading.Event(), server=server)
    return transport


@contextmanager
def listening() -> Iterator[int]:
    """Serve logins on a port of the loopback interface; provide the port."""
    transports: list[paramiko.Transport] = []

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transports.append(serve(connection, Server()))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for transport in transports:
                transport.close()


@contextmanager
def connected() -> Iterator[tuple[paramiko.Transport, Server]]:
    """Provide a client's transport and the server at its other end."""
    ours, theirs = socket.socketpair()
    server = Server()
    remote = serve(theirs, server)
    client = paramiko.Transport(ours)
    try:
        client.start_client(timeout=30)
        client.auth_none("anybody")
        yield client, server
    finally:
        client.close()
        remote.close()

"""Commands over a channel, and the internals of Paramiko that they depend on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import paramiko
import pytest
from paramiko.buffered_pipe import BufferedPipe
from paramiko.common import (
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
)

from provisioner.ssh import channel
from provisioner.ssh.channel import ChannelRefused, CommandTimeout, ConnectionLost, Output, ReadyEvent
from provisioner.ssh.tunnel import Tunnel
from tests.unit.ssh.loopback import Server, connected


@pytest.fixture
def connection() -> Iterator[tuple[paramiko.Transport, Server]]:
    with connected() as both:
        yield both


@pytest.fixture
def ends(connection: tuple[paramiko.Transport, Server]) -> tuple[paramiko.Channel, paramiko.Channel]:
    """Return both ends of a channel on which a command was started: the client's and the server's."""
    client, server = connection
    ours = client.open_session(timeout=10)
    ours.exec_command("true")
    return ours, server.channels.get(timeout=10)


# --- Paramiko's internals ------------------------------------------------------------------------------------


def unchanged(condition: bool, what: str) -> None:
    """Fail with instructions if Paramiko no longer behaves as channel.py expects."""
    assert condition, (
        f"Paramiko {paramiko.__version__} has changed: {what}. provisioner/ssh/channel.py depends on it: adapt that "
        "module, or lower the upper bound of paramiko in pyproject.toml."
    )


def eventually(condition: object) -> bool:
    """Wait up to 10 s until `condition()` is true."""
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return bool(condition())


def test_paramiko_names_and_types(ends: tuple[paramiko.Channel, paramiko.Channel]) -> None:
    ours, _ = ends
    for name, kind in (
        ("in_buffer", BufferedPipe),
        ("in_stderr_buffer", BufferedPipe),
        ("status_event", threading.Event),
        ("exit_status", int),
        ("eof_received", int),
        ("eof_sent", int),
        ("closed", bool),
    ):
        unchanged(isinstance(getattr(ours, name, None), kind), f"Channel.{name} is not a {kind.__name__}")
    unchanged(callable(getattr(ours.in_buffer, "set_event", None)), "BufferedPipe.set_event is gone")
    unchanged(ours.exit_status == -1, "Channel.exit_status is not -1 before the exit status arrives")
    unchanged(not ours.status_event.is_set(), "Channel.status_event is set from the start")
    unchanged(not (ours.eof_received or ours.eof_sent or ours.closed), "a new Channel is at end-of-file or closed")


def test_paramiko_sets_events_for_data_and_end_of_file(ends: tuple[paramiko.Channel, paramiko.Channel]) -> None:
    ours, theirs = ends
    ready = ReadyEvent()
    ours.in_buffer.set_event(ready)
    ours.in_stderr_buffer.set_event(ready)
    unchanged(not ready.wait(0), "BufferedPipe.set_event sets the event of an empty buffer")
    theirs.sendall(b"out")
    unchanged(ready.wait(10), "stdout does not set the event of Channel.in_buffer")
    unchanged(ours.recv_ready() and ours.recv(10) == b"out", "Channel.recv does not return what in_buffer received")
    theirs.sendall_stderr(b"err")
    unchanged(ready.wait(10), "stderr does not set the event of Channel.in_stderr_buffer")
    unchanged(
        ours.recv_stderr_ready() and ours.recv_stderr(10) == b"err", "Channel.recv_stderr does not return stderr"
    )
    theirs.shutdown_write()
    unchanged(ready.wait(10), "end-of-file does not set the event of a buffer")
    unchanged(eventually(lambda: ours.eof_received), "end-of-file does not set Channel.eof_received")
    unchanged(not ours.closed, "end-of-file closes the Channel")
    unchanged(not ours.status_event.is_set(), "end-of-file sets Channel.status_event")


def test_paramiko_keeps_the_exit_status(ends: tuple[paramiko.Channel, paramiko.Channel]) -> None:
    ours, theirs = ends
    ours.shutdown_write()
    unchanged(bool(ours.eof_sent), "Channel.shutdown_write does not set Channel.eof_sent")
    theirs.send_exit_status(7)
    unchanged(ours.status_event.wait(10), "the exit status does not set Channel.status_event")
    unchanged(ours.exit_status == 7, "Channel.exit_status is not the command's")
    unchanged(ours.exit_status_ready(), "Channel.exit_status_ready is false after the exit status")


def test_paramiko_ends_waiting_when_a_channel_is_closed(ends: tuple[paramiko.Channel, paramiko.Channel]) -> None:
    ours, theirs = ends
    ready = ReadyEvent()
    ours.in_buffer.set_event(ready)
    theirs.close()
    unchanged(ready.wait(10), "closing a Channel does not set the event of its buffer")
    unchanged(eventually(lambda: ours.closed), "closing does not set Channel.closed")
    unchanged(ours.status_event.wait(10), "closing a Channel does not set Channel.status_event")
    unchanged(ours.exit_status == -1, "closing a Channel without exit status changes Channel.exit_status")


# --- ReadyEvent ----------------------------------------------------------------------------------------------


def test_data_that_arrives_while_the_other_buffer_is_emptied_sets_the_event() -> None:
    stdout, stderr = BufferedPipe(), BufferedPipe()
    ready = ReadyEvent()
    stdout.set_event(ready)
    stderr.set_event(ready)
    stdout.feed("first")
    assert ready.wait(0)
    stderr.feed("late")
    assert stdout.read(100)  # now empty, it clears the event
    assert ready.wait(0)
    assert stderr.read(100)
    assert not ready.wait(0)


def test_end_of_file_sets_the_event() -> None:
    buffer, ready = BufferedPipe(), ReadyEvent()
    buffer.set_event(ready)
    assert not ready.wait(0)
    buffer.close()
    assert ready.wait(0)


# --- channels that the server refuses ------------------------------------------------------------------------


def test_refused_at_the_same_time(connection: tuple[paramiko.Transport, Server]) -> None:
    """Paramiko tells only one of them why; the connection stays open, for the commands that run on it."""
    client, server = connection
    server.opening = OPEN_FAILED_CONNECT_FAILED
    together = threading.Barrier(8)
    refused: list[ChannelRefused] = []

    def open_some() -> None:
        for _ in range(20):
            together.wait(10)
            try:
                channel.open_channel(client, 10)
            except ChannelRefused as error:
                refused.append(error)

    threads = [threading.Thread(target=open_some) for _ in range(together.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(refused) == 160
    assert {error.code for error in refused} <= {OPEN_FAILED_CONNECT_FAILED, 0}
    server.opening = OPEN_SUCCEEDED
    channel.open_channel(client, 10)


def test_an_answer_that_does_not_come(connection: tuple[paramiko.Transport, Server]) -> None:
    client, server = connection
    release = threading.Event()
    server.check_channel_request = lambda *_: release.wait(10) and OPEN_SUCCEEDED  # type: ignore[method-assign]
    with pytest.raises(ConnectionLost) as lost:
        channel.open_channel(client, 0.2)
    release.set()
    assert not lost.value.sent
    assert not client.is_active()


def test_a_tunnel_outlives_connections_refused_at_the_same_time(
    connection: tuple[paramiko.Transport, Server],
) -> None:
    client, server = connection
    server.opening = OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
    with Tunnel(lambda: client, "192.0.2.1", 6443) as tunnel:
        for _ in range(10):
            clients = [socket.create_connection((tunnel.address, tunnel.port), timeout=10) for _ in range(8)]
            for one in clients:
                assert one.recv(1) == b""
                one.close()
        assert tunnel.prohibited
    assert client.is_active()


# --- execute -------------------------------------------------------------------------------------------------


class Client(threading.Thread):
    """Execute a command in a thread; `outcome` is its output or the exception."""

    def __init__(self, transport: paramiko.Transport, stdin: bytes = b"", timeout: float = 30) -> None:
        super().__init__(daemon=True)
        self._transport = transport
        self._stdin = stdin
        self._timeout = timeout
        self.pieces: list[bytes] = []
        self.outcome: Output | Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = channel.execute(
                self._transport,
                "command",
                stdin=self._stdin,
                timeout=self._timeout,
                reply_timeout=10,
                on_output=self.pieces.append,
            )
        except Exception as error:
            self.outcome = error

    def result(self) -> Output | Exception:
        self.join(30)
        assert self.outcome is not None
        return self.outcome


def test_a_command_gets_stdin_and_its_output_and_status_are_returned(
    connection: tuple[paramiko.Transport, Server],
) -> None:
    client, server = connection
    text = b"x" * 3_000_000  # more than the window
    running = Client(client, stdin=text)
    theirs = server.channels.get(timeout=10)
    assert theirs.makefile("rb").read() == text
    theirs.sendall_stderr(b"warning")
    theirs.sendall(b"result")
    theirs.shutdown_write()
    theirs.send_exit_status(3)  # after end-of-file, as a command that closes its output first
    theirs.close()
    output = running.result()
    assert isinstance(output, Output), output
    assert (output.stdout, output.stderr, output.status) == (b"", b"warning", 3)
    assert b"".join(running.pieces) == b"result"


def test_a_command_that_exceeds_its_timeout_raises_with_its_output(
    connection: tuple[paramiko.Transport, Server],
) -> None:
    client, server = connection
    running = Client(client, timeout=1)
    server.channels.get(timeout=10).sendall(b"half")
    error = running.result()
    assert isinstance(error, CommandTimeout)
    assert b"".join(running.pieces) == b"half"


def test_a_broken_connection_is_noticed(connection: tuple[paramiko.Transport, Server]) -> None:
    client, server = connection
    running = Client(client)
    server.channels.get(timeout=10).get_transport().close()
    assert isinstance(running.result(), ConnectionLost)

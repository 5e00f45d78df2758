"""One command over one SSH channel: stdin in, stdout and stderr out, and no waiting for a connection that is dead.

Invoke's own runner feeds stdin a byte at a time with a pause after each, which is no way to write a file.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paramiko import Channel, Transport

SILENCE = 20  # seconds without output after which the connection is probed


class ConnectionLost(Exception):
    """Say that the connection broke while a command was running; what became of the command is unknown."""


class CommandTimeout(Exception):
    """Say that a command outlived its time; `stdout` and `stderr` hold what it had said."""

    def __init__(self, stdout: bytes, stderr: bytes) -> None:
        super().__init__("timed out")
        self.stdout = stdout
        self.stderr = stderr


@dataclass
class Output:
    """What a command said: bytes, its exit status, and when (time.time) it said the first of it."""

    stdout: bytes
    stderr: bytes
    status: int
    first: float


def execute(
    transport: Transport,
    command: str,
    *,
    stdin: bytes,
    timeout: float,
    patience: float,
    on_output: Callable[[bytes], None] | None = None,
) -> Output:
    """Run `command` on a channel of its own and return what it said.

    timeout: seconds, then CommandTimeout. patience: seconds that the server may take to answer a request.
    on_output: gets each piece of stdout as it arrives. Raises ConnectionLost when the connection breaks.
    """
    import paramiko

    try:
        channel = transport.open_session(timeout=patience)
        channel.settimeout(patience)
        channel.exec_command(command)
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise ConnectionLost(reason(error)) from error
    try:
        return _Exchange(transport, channel, stdin, time.monotonic() + timeout, patience, on_output).run()
    except (OSError, EOFError) as error:
        raise ConnectionLost(reason(error)) from error
    finally:
        channel.close()


class Bell(threading.Event):
    """Rings when a channel has got something to read, or its end; waiting for it silences it.

    `Channel.fileno` would tell the same by a pipe that both of the channel's buffers share (OrPipe in
    paramiko/pipe.py), and can lose it: what arrives in one buffer while the other is just being emptied empties the
    pipe with it. With the window full nothing further arrives that would ring again, and both sides wait until their
    time is over.
    """

    def clear(self) -> None:
        """Do nothing: a buffer says that it is empty, and knows nothing of the other one."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds until it rings; return whether it has. What comes from now on rings anew."""
        rung = super().wait(timeout)
        super().clear()
        return rung


@dataclass
class _Exchange:
    """Stdin out, stdout and stderr in, over one channel, until the exit status is there."""

    transport: Transport
    channel: Channel
    pending: bytes
    deadline: float
    patience: float
    on_output: Callable[[bytes], None] | None
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    first: float = 0.0

    def run(self) -> Output:
        channel = self.channel
        bell = Bell()
        channel.in_buffer.set_event(bell)
        channel.in_stderr_buffer.set_event(bell)
        heard = time.monotonic()
        while not self._at_end():
            self._send()
            if bell.wait(min(self._remaining(), 0.05 if self.pending else SILENCE)):
                self._receive()
                heard = time.monotonic()
            elif not self.transport.is_active():
                break
            elif time.monotonic() - heard >= SILENCE:
                probe(self.transport, self.patience)
                heard = time.monotonic()
        # The exit status comes after end-of-file, much later if the command closed its output and went on.
        while not channel.status_event.wait(min(SILENCE, self._remaining())) and not channel.closed:
            probe(self.transport, self.patience)
        if not channel.exit_status_ready() or (channel.exit_status == -1 and not self.transport.is_active()):
            raise ConnectionLost("the connection was closed")
        return Output(bytes(self.stdout), bytes(self.stderr), channel.exit_status, self.first or time.time())

    def _at_end(self) -> bool:
        channel = self.channel
        over = channel.eof_received or channel.closed
        return bool(over and not channel.recv_ready() and not channel.recv_stderr_ready())

    def _remaining(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise CommandTimeout(bytes(self.stdout), bytes(self.stderr))
        return left

    def _send(self) -> None:
        while self.pending and self.channel.send_ready() and not self.channel.closed:
            self.pending = self.pending[self.channel.send(self.pending[:32768]) :]
        if not self.pending and not self.channel.eof_sent:
            self.channel.shutdown_write()

    def _receive(self) -> None:
        while self.channel.recv_ready():
            piece = self.channel.recv(65536)
            self.first = self.first or time.time()
            self.stdout += piece
            if self.on_output is not None:
                self.on_output(piece)
        while self.channel.recv_stderr_ready():
            self.stderr += self.channel.recv_stderr(65536)


def probe(transport: Transport, patience: float) -> None:
    """Ask the server to open a channel, so that a silently dead connection is noticed; else ConnectionLost.

    TCP alone would go on retransmitting for a quarter of an hour.
    """
    import paramiko

    try:
        transport.open_session(timeout=patience).close()
    except (paramiko.SSHException, OSError, EOFError) as error:
        transport.close()
        raise ConnectionLost("the host no longer answers") from error


def reason(error: BaseException) -> str:
    """Return what an exception says, or what the first of several connection attempts said."""
    attempts = getattr(error, "errors", None)
    if isinstance(attempts, dict) and attempts:
        error = next(iter(attempts.values()))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__

"""Run one command over one SSH channel: feed stdin, collect stdout and stderr, detect a dead connection.

Invoke's own runner feeds stdin one byte at a time with a pause after each, which is too slow for writing files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioner.ssh import lazy

if TYPE_CHECKING:
    from paramiko import Channel, Transport

PROBE_AFTER = 20  # seconds without output before the connection is probed


class ConnectionLost(Exception):
    """The connection broke while a command was running; whether the command finished is unknown."""


class CommandTimeout(Exception):
    """A command exceeded its timeout; `stdout` and `stderr` hold its output so far."""

    def __init__(self, stdout: bytes, stderr: bytes) -> None:
        super().__init__("timed out")
        self.stdout = stdout
        self.stderr = stderr


@dataclass
class Output:
    """A command's output and exit status. first_output_at: when its first output arrived, as time.time()."""

    stdout: bytes
    stderr: bytes
    status: int
    first_output_at: float


def execute(
    transport: Transport,
    command: str,
    *,
    stdin: bytes,
    timeout: float,
    reply_timeout: float,
    on_output: Callable[[bytes], None] | None = None,
) -> Output:
    """Run `command` on a new channel and return its output.

    timeout: seconds until CommandTimeout is raised. reply_timeout: seconds to wait for the server to answer a
    request. on_output: called with each piece of stdout as it arrives. Raises ConnectionLost when the connection
    breaks.
    """
    try:
        channel = transport.open_session(timeout=reply_timeout)
        channel.settimeout(reply_timeout)
        channel.exec_command(command)
    except (lazy.paramiko.SSHException, OSError, EOFError) as error:
        raise ConnectionLost(reason(error)) from error
    try:
        return _Exchange(transport, channel, stdin, time.monotonic() + timeout, reply_timeout, on_output).run()
    except (OSError, EOFError) as error:
        raise ConnectionLost(reason(error)) from error
    finally:
        channel.close()


class ReadyEvent(threading.Event):
    """An event that is set when a channel has data to read or has reached end-of-file; waiting for it clears it.

    `Channel.fileno` offers the same through a pipe that both of the channel's buffers share (OrPipe in
    paramiko/pipe.py), but can lose a wake-up: when data arrives in one buffer while the other one is being emptied,
    the pipe is emptied as well. Once the window is full nothing more arrives to set it again, and both sides wait
    until they time out.
    """

    def clear(self) -> None:
        """Do nothing: a buffer calls this when it is empty, without regard to the other buffer."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds for the event, clear it, and return whether it was set."""
        was_set = super().wait(timeout)
        super().clear()
        return was_set


@dataclass
class _Exchange:
    """Feed stdin and collect stdout and stderr over one channel until the exit status arrives."""

    transport: Transport
    channel: Channel
    pending: bytes
    deadline: float
    reply_timeout: float
    on_output: Callable[[bytes], None] | None
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    first_output_at: float = 0.0

    def run(self) -> Output:
        channel = self.channel
        ready = ReadyEvent()
        channel.in_buffer.set_event(ready)
        channel.in_stderr_buffer.set_event(ready)
        last_heard = time.monotonic()
        while not self._at_eof():
            self._send()
            if ready.wait(min(self._remaining(), 0.05 if self.pending else PROBE_AFTER)):
                self._receive()
                last_heard = time.monotonic()
            elif not self.transport.is_active():
                break
            elif time.monotonic() - last_heard >= PROBE_AFTER:
                probe(self.transport, self.reply_timeout)
                last_heard = time.monotonic()
        # The exit status follows end-of-file, much later if the command closed its output and went on.
        while not channel.status_event.wait(min(PROBE_AFTER, self._remaining())) and not channel.closed:
            probe(self.transport, self.reply_timeout)
        if not channel.exit_status_ready() or (channel.exit_status == -1 and not self.transport.is_active()):
            raise ConnectionLost("the connection was closed")
        first = self.first_output_at or time.time()
        return Output(bytes(self.stdout), bytes(self.stderr), channel.exit_status, first)

    def _at_eof(self) -> bool:
        channel = self.channel
        ended = channel.eof_received or channel.closed
        return bool(ended and not channel.recv_ready() and not channel.recv_stderr_ready())

    def _remaining(self) -> float:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise CommandTimeout(bytes(self.stdout), bytes(self.stderr))
        return remaining

    def _send(self) -> None:
        while self.pending and self.channel.send_ready() and not self.channel.closed:
            self.pending = self.pending[self.channel.send(self.pending[:32768]) :]
        if not self.pending and not self.channel.eof_sent:
            self.channel.shutdown_write()

    def _receive(self) -> None:
        while self.channel.recv_ready():
            piece = self.channel.recv(65536)
            self.first_output_at = self.first_output_at or time.time()
            self.stdout += piece
            if self.on_output is not None:
                self.on_output(piece)
        while self.channel.recv_stderr_ready():
            self.stderr += self.channel.recv_stderr(65536)


def probe(transport: Transport, reply_timeout: float) -> None:
    """Ask the server to open a channel to detect a silently dead connection; raise ConnectionLost if it is dead.

    TCP alone would keep retransmitting for a quarter of an hour.
    """
    try:
        transport.open_session(timeout=reply_timeout).close()
    except (lazy.paramiko.SSHException, OSError, EOFError) as error:
        transport.close()
        raise ConnectionLost("the host no longer answers") from error


def reason(error: BaseException) -> str:
    """Return an exception's message, or that of the first of several connection attempts."""
    attempts = getattr(error, "errors", None)
    if isinstance(attempts, dict) and attempts:
        error = next(iter(attempts.values()))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__

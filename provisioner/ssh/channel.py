"""Run one command over one SSH channel: feed stdin, collect stdout and stderr, detect a dead connection.

Invoke's own runner feeds stdin one byte at a time with a pause after each, which is too slow for writing files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.ssh import lazy

if TYPE_CHECKING:
    from paramiko import Channel, Transport

PROBE_AFTER = 20  # seconds without output before the connection is probed


MAX_OUTPUT = 32 * 1024 * 1024  # bytes of one command's output that are kept in memory


class ConnectionLost(Exception):
    """The connection broke. sent: whether the command had been sent, so that whether it ran is unknown."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class ChannelRefused(Exception):
    """The server refused to open a channel; the connection is alive and nothing was sent.

    code: the reason (RFC 4254, section 5.1), 0 if it is unknown.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class OutputTooLarge(Exception):
    """A command printed more than MAX_OUTPUT; it has lost its reader."""


class CommandTimeout(Exception):
    """A command exceeded its timeout; `output` holds what it printed so far."""

    def __init__(self, output: Output) -> None:
        super().__init__("timed out")
        self.output = output


@dataclass
class Output:
    """A command's output and exit status. first_output_at: when its first output arrived, as time.time().

    started: whether the marker appeared on stdout. stdout and stderr hold what follows the marker; what precedes it,
    on either, is `noise` (of login shells and sudo).
    """

    stdout: bytes
    stderr: bytes
    status: int
    first_output_at: float
    started: bool = True
    noise: bytes = b""


def open_channel(
    transport: Transport,
    timeout: float,
    kind: str = "session",
    target: tuple[str, int] | None = None,
    source: tuple[str, int] | None = None,
) -> Channel:
    """Open a channel; raise ChannelRefused, or ConnectionLost after closing the connection.

    timeout: seconds to wait for the server's answer. kind, target, source: as in RFC 4254, section 7.2.
    """
    deadline = time.monotonic() + timeout
    try:
        return transport.open_channel(kind, target, source, timeout=timeout)
    except lazy.paramiko.ChannelException as error:
        raise ChannelRefused(error.text, error.code) from error
    except (lazy.paramiko.SSHException, OSError, EOFError) as error:
        # Paramiko keeps one exception for all channels of a connection: of two that are refused at the same time,
        # the second gets a plain SSHException, as after a timeout.
        if transport.is_active() and time.monotonic() < deadline:
            raise ChannelRefused(reason(error)) from error
        transport.close()
        raise ConnectionLost(reason(error), sent=False) from error


def execute(
    transport: Transport,
    command: str,
    *,
    stdin: bytes,
    timeout: float,
    reply_timeout: float,
    marker: bytes = b"",
    on_output: Callable[[bytes], None] | None = None,
) -> Output:
    """Run `command` on a new channel and return its output.

    timeout: seconds until CommandTimeout is raised. reply_timeout: seconds to wait for the server to answer a
    request. marker: what the command prints on stdout and stderr before anything else; empty if it prints none.
    on_output: called with each piece of stdout as it arrives, which is then not returned. Raises ConnectionLost when
    the connection breaks, ChannelRefused if the server refuses the channel, OutputTooLarge.
    """
    channel = open_channel(transport, reply_timeout)
    try:
        channel.settimeout(reply_timeout)
        channel.exec_command(command)
        deadline = time.monotonic() + timeout
        streams = _Stream(marker, on_output), _Stream(marker)
        return _Exchange(transport, channel, stdin, deadline, reply_timeout, *streams).run()
    except (lazy.paramiko.SSHException, OSError, EOFError) as error:
        transport.close()
        raise ConnectionLost(reason(error)) from error
    finally:
        channel.close()


class _Stream:
    """One of a command's streams: separates what follows the marker from what precedes it."""

    def __init__(self, marker: bytes, on_output: Callable[[bytes], None] | None = None) -> None:
        self._marker = marker
        self._on_output = on_output
        self.noise = bytearray()
        self.body = bytearray()
        self.started = not marker
        self.started_at = 0.0

    def add(self, piece: bytes) -> None:
        if not self.started:
            searched = max(0, len(self.noise) - len(self._marker))
            self.noise += piece
            found = self.noise.find(self._marker, searched)
            if found < 0:
                if len(self.noise) > MAX_OUTPUT:
                    raise OutputTooLarge
                return
            self.started = True
            piece = bytes(self.noise[found + len(self._marker) :])
            del self.noise[found:]
        self.started_at = self.started_at or time.time()
        if self._on_output is not None:
            if piece:
                self._on_output(piece)
            return
        self.body += piece
        if len(self.body) > MAX_OUTPUT:
            raise OutputTooLarge


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
    stdout: _Stream
    stderr: _Stream

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
        return self._output(channel.exit_status)

    def _output(self, status: int) -> Output:
        out, err = self.stdout, self.stderr
        noise = bytes(err.noise + (b"\n" if err.noise and out.noise else b"") + out.noise)
        # The marker comes first, so that stderr without one holds noise alone.
        return Output(bytes(out.body), bytes(err.body), status, out.started_at or time.time(), out.started, noise)

    def _at_eof(self) -> bool:
        channel = self.channel
        ended = channel.eof_received or channel.closed
        return bool(ended and not channel.recv_ready() and not channel.recv_stderr_ready())

    def _remaining(self) -> float:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise CommandTimeout(self._output(124))
        return remaining

    def _send(self) -> None:
        while self.pending and self.channel.send_ready() and not self.channel.closed:
            self.pending = self.pending[self.channel.send(self.pending[:32768]) :]
        if not self.pending and not self.channel.eof_sent:
            self.channel.shutdown_write()

    def _receive(self) -> None:
        while self.channel.recv_ready():
            self.stdout.add(self.channel.recv(65536))
        while self.channel.recv_stderr_ready():
            self.stderr.add(self.channel.recv_stderr(65536))


def probe(transport: Transport, reply_timeout: float) -> None:
    """Ask the server to open a channel to detect a silently dead connection; raise ConnectionLost if it is dead.

    TCP alone would keep retransmitting for a quarter of an hour. A server that refuses the channel (MaxSessions in
    sshd_config(5)) answers, too.
    """
    try:
        open_channel(transport, reply_timeout).close()
    except ChannelRefused:
        return
    except ConnectionLost as error:
        raise ConnectionLost("the host no longer answers") from error


def reason(error: BaseException) -> str:
    """Return an exception's message, or that of the first of several connection attempts."""
    attempts = getattr(error, "errors", None)
    if isinstance(attempts, dict) and attempts:
        error = next(iter(attempts.values()))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__

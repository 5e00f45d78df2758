"""Events of a run, passed on to the log file and to viewers.

Steps and hosts use a Report only; cli/screen.py decides how events appear on a terminal, in a pipe or as JSON.
"""

from __future__ import annotations

import getpass
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from provisioner import ownership
from provisioner.errors import ProvisionerError
from provisioner.redact import redact


@dataclass(frozen=True)
class Event:
    """An event of a run.

    kind: step, host, change, output, proof, done, unseen, failed, step-done, waiting, pending, note, idle, summary.
    host, step: where it happened, or empty. text: a sentence or an output line. data: more fields for JSON output.
    time: Unix time.
    """

    kind: str
    text: str = ""
    host: str = ""
    step: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    time: float = field(default_factory=time.time)

    def json(self) -> str:
        """Return the event as one line of JSON without empty fields."""
        entry = {"time": round(self.time, 3), "kind": self.kind, "step": self.step, "host": self.host}
        entry |= {"text": self.text, **self.data}
        return json.dumps({key: value for key, value in entry.items() if value not in ("", None)}, default=str)


class Report:
    """Redact events and pass them on, one at a time, to the log and all viewers."""

    def __init__(self, *viewers: Callable[[Event], None], log: Log | None = None) -> None:
        self._viewers = viewers
        self._lock = threading.RLock()
        self._closed = False
        self.broken = ""  # why events are no longer shown
        self.log = log

    def emit(self, kind: str, text: str = "", *, host: str = "", step: str = "", **data: Any) -> None:
        """Pass on an event."""
        event = Event(kind, redact(text), host, step, {key: _clean(value) for key, value in data.items()})
        with self._lock:
            if self.log is not None and kind != "idle":
                self.log.event(event)
            for viewer in () if self._closed else self._viewers:
                try:
                    viewer(event)
                except OSError as error:  # the terminal is gone, or the disk behind a redirection is full
                    self._closed = True
                    self.broken = self.broken or f"cannot show its progress: {error.strerror or error}"
                    if self.log is not None:
                        self.log.write(f"note    {self.broken}")

    def close(self) -> None:
        """Stop showing events, so that threads that end late do not write over the last lines."""
        with self._lock:
            self._closed = True

    def command(
        self, host: str, command: str, *, status: int | None, seconds: float, stdout: str = "", stderr: str = ""
    ) -> None:
        """Write a command and its output to the log. status: None if it did not finish."""
        if self.log is not None:
            self.log.command(host, command, status=status, seconds=seconds, stdout=stdout, stderr=stderr)

    def detail(self, line: str, *blocks: str) -> None:
        """Write a line and blocks of text to the log only."""
        if self.log is not None:
            self.log.write(line, *blocks)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


class Log:
    """The complete log of a run, readable by its owner only; the file is created when the first line is written.

    problem: why it could not be written (a full disk, a folder of somebody else); nothing is written after that, so
    that a run can end in order. `check` raises it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self._stream: TextIO | None = None
        self._lock = threading.Lock()

    @classmethod
    def for_command(cls, state: Path, command: str) -> Log:
        """Return a new log for a command: state/logs/<time>-<pid>-<command>.log."""
        return cls(state / "logs" / f"{datetime.now().strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{command}.log")

    def event(self, event: Event) -> None:
        """Write an event, followed by its diff."""
        place = " ".join(part for part in (event.step, event.host) if part)
        rest = {key: value for key, value in event.data.items() if key != "diff"}
        extra = f" {json.dumps(rest, default=str)}" if rest else ""
        self.write(f"{event.kind:7} {place}: {event.text}{extra}", str(event.data.get("diff", "")))

    def command(
        self, host: str, command: str, *, status: int | None, seconds: float, stdout: str, stderr: str
    ) -> None:
        """Write a command, its status and its output."""
        outcome = "did not finish" if status is None else f"exit {status}"
        self.write(f"ran     {host}: {outcome} after {seconds:.1f} s", command, stdout, stderr)

    def write(self, line: str, *blocks: str) -> None:
        """Write a line with a timestamp, followed by indented blocks."""
        stamp = datetime.now(UTC).strftime("%H:%M:%S.%f")[:-3]
        text = f"{stamp} {line}\n"
        for block in blocks:
            text += "".join(f"    | {part}\n" for part in block.splitlines())
        text = redact(text)
        with self._lock:
            if self.problem:
                return
            try:
                if self._stream is None:
                    ownership.make_folder(self.path.parent, 0o700)
                    descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                    ownership.give_back(self.path)
                    self._stream = os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")
                self._stream.write(text)
                self._stream.flush()
            except OSError as error:
                self.problem = f"cannot write the log {self.path}: {error.strerror}"
                self._abandon()

    def check(self) -> None:
        """Raise ProvisionerError if the log could not be written."""
        if not self.problem:
            return
        remedy = "free disk space, or put it elsewhere: --log FILE"
        if "denied" in self.problem:
            remedy = f"sudo chown -R {getpass.getuser()} {self.path.parent.parent}, or put it elsewhere: --log FILE"
        raise ProvisionerError(self.problem, remedy)

    def _abandon(self) -> None:
        """Close a stream that cannot write what it has buffered."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(OSError):
                stream.close()

    def close(self) -> None:
        """Close the log file."""
        with self._lock:
            if self._stream is not None:
                self._stream.close()
                self._stream = None

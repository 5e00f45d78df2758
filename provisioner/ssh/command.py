"""The outcome of a command on a host: its result, or the error that reports how it failed."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.errors import HostError
from provisioner.redact import redact

TAIL_LINES = 15


@dataclass(frozen=True)
class CommandResult:
    """The output and exit status of a command. seconds: how long it took, measured here."""

    stdout: str
    stderr: str
    status: int
    seconds: float


def failure(host: str, command: str, status: int, text: str) -> HostError:
    """Return the error for a failed command: its first line, its exit status, the tail of its output."""
    first = command.strip().splitlines()[0] if command.strip() else command
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    how = "timed out and was killed" if status == 124 else f"failed with exit status {status}"
    last = f": {lines[-1]}" if lines else ""
    return HostError(
        host,
        redact(f"`{first[:120]}` {how}{last}"),
        command=redact(command),
        tail=redact("\n".join(lines[-TAIL_LINES:])),
    )

"""The outcome of a command on a host: its result, or the error that reports how it failed."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.errors import HostError
from provisioner.redact import redact

TAIL_LINES = 15
_ADVICE = ("To see the stack trace of this error", "[preflight] If you know what you are doing")


@dataclass(frozen=True)
class CommandResult:
    """The output and exit status of a command. seconds: how long it took, measured here."""

    stdout: str
    stderr: str
    status: int
    seconds: float


def failure(host: str, command: str, status: int, text: str, title: str = "") -> HostError:
    """Return the error for a failed command: its title or first line, its exit status, the tail of its output."""
    first = title or (command.strip().splitlines()[0] if command.strip() else command)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    how = "timed out and was killed" if status == 124 else f"failed with exit status {status}"
    last = f": {cause(lines)}" if lines else ""
    return HostError(
        host,
        redact(f"`{first[:120]}` {how}{last}"),
        command=redact(command),
        tail=redact("\n".join(lines[-TAIL_LINES:])),
    )


def cause(lines: list[str]) -> str:
    """Return what a person should read first of a failed command's output: what kubeadm or apt call the error.

    kubeadm ends with advice, and lists the checks that failed before its error (kubeadm's preflight.RunChecks).
    """
    failed = list(dict.fromkeys(line.strip() for line in lines if line.lstrip().startswith("[ERROR ")))
    if failed:
        return "; ".join(failed)
    for start in ("error execution phase", "error: ", "E: "):
        found = [line for line in lines if line.startswith(start)]
        if found:
            return found[0]
    return next((line for line in reversed(lines) if not line.startswith(_ADVICE)), lines[-1])

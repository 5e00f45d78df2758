"""The few exceptions. Each is something a person can act on, so each carries its remedy.

The command line prints them as one line (and, for a host, the last lines of what failed there) and exits 1;
anything else that escapes is a defect of this program and keeps its traceback in the log.
"""

from __future__ import annotations


class ProvisionerError(Exception):
    """Say what went wrong and what to do about it: `message` and `remedy`, each one sentence."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class SiteError(ProvisionerError):
    """Report a mistake in hosts.toml by file and line (1-based; 0 where the whole file is meant)."""

    def __init__(self, file: str, line: int, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {super().__str__()}"


class HostError(ProvisionerError):
    """Report what failed on one host: the command, and the last lines that matter in `tail`."""

    def __init__(self, host: str, message: str, remedy: str = "", *, command: str = "", tail: str = "") -> None:
        super().__init__(message, remedy)
        self.host = host
        self.command = command
        self.tail = tail

    def __str__(self) -> str:
        return f"{self.host}: {super().__str__()}"


class Unreachable(HostError):
    """Report a host that cannot be logged in to; nothing is known of its state then."""


class NotConverged(HostError):
    """Report a change that was carried out and is still pending afterwards."""


class Locked(ProvisionerError):
    """Report that another run holds the cluster's lock."""


class ClusterError(ProvisionerError):
    """Report what the Kubernetes API refused, or what it did not become in time; `tail` holds events."""

    def __init__(self, message: str, remedy: str = "", *, tail: str = "") -> None:
        super().__init__(message, remedy)
        self.tail = tail


class Inconclusive(ProvisionerError):
    """Report that nothing can be concluded from here (exit status 2), and what would make it conclusive."""

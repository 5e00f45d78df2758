"""The exceptions for errors that a person can act on; each carries a remedy.

The command line prints them as one line (for a failed command, with the tail of its output) and exits 1. Any other
exception that escapes is an internal error, whose traceback goes to the log.
"""

from __future__ import annotations


class ProvisionerError(Exception):
    """An error with a `message` (what went wrong) and a `remedy` (what to do about it), each one sentence."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class SiteError(ProvisionerError):
    """A mistake in hosts.toml, with file and line (1-based; 0 for the whole file)."""

    def __init__(self, file: str, line: int, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {super().__str__()}"


class HostError(ProvisionerError):
    """A failure on one host. command: the failed command; tail: the last lines of its output."""

    def __init__(self, host: str, message: str, remedy: str = "", *, command: str = "", tail: str = "") -> None:
        super().__init__(message, remedy)
        self.host = host
        self.command = command
        self.tail = tail

    def __str__(self) -> str:
        return f"{self.host}: {super().__str__()}"


class Unreachable(HostError):
    """Logging in to a host failed, or the connection was lost; the state of the host is unknown."""


class NotYet(ProvisionerError):
    """A step cannot be looked at before an earlier one has run: a node that has not joined, a cluster that is not."""


class NotConverged(HostError):
    """A change was made and is still pending afterwards."""


class Locked(ProvisionerError):
    """Another run holds the cluster's lock."""


class ClusterError(ProvisionerError):
    """The Kubernetes API rejected a request or a wait for it timed out. tail: events."""

    def __init__(self, message: str, remedy: str = "", *, tail: str = "") -> None:
        super().__init__(message, remedy)
        self.tail = tail


class ApiUnreachable(ClusterError):
    """The Kubernetes API does not answer; nothing is known of the cluster's state."""


class NoCluster(ClusterError, NotYet):
    """No control plane has credentials for an API: there is no cluster yet."""


class ApiForbidden(ClusterError):
    """The Kubernetes API answers, but its authorization refuses this user the request."""


class Inconclusive(ProvisionerError):
    """Nothing can be concluded from this vantage point (exit status 2); the remedy would make it conclusive."""

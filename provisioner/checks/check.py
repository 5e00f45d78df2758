"""What a check is: a generator of findings, each a sentence for people and a code for machines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from provisioner.errors import ProvisionerError
from provisioner.kube import Cluster
from provisioner.site import Site
from provisioner.ssh import Host

T = TypeVar("T")
NAMESPACE = "course"  # where the shipped workloads live
MAX_PAUSE = 5.0  # seconds between two looks, however slow the site


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    subject: what it is about. detail: what was seen; with the subject before it, a sentence. remedy: what to do,
    as a sentence or a command. code: CAPITALS_WITH_UNDERSCORES, the same for the same cause in every release.
    evidence: events, log lines and answers that explain a finding that is not ok.
    """

    ok: bool
    subject: str
    detail: str
    remedy: str = ""
    code: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Context:
    """What a check may look at: the site, the API, and the hosts' facts. It runs on the operator's machine.

    full: try also what takes longer than a person waits for after each apply. stop: set when nobody waits for
    findings any more; a check then ends at its next `wait_for`, and puts back what it changed.
    """

    site: Site
    cluster: Cluster
    hosts: Mapping[str, Host]
    full: bool = False
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def thorough(self) -> bool:
        """Tell whether to try what takes a moment elsewhere and many minutes on a slow site."""
        return self.full or not self.site.slow


class Stopped(ProvisionerError):
    """End a check that nobody waits for any more."""


@dataclass(frozen=True)
class Check:
    """A named proof.

    skip_reason: why the site has nothing to check, "" to run it. parallel_safe: it reads and changes only its own
    workload, so it can run at the same time as other parallel-safe checks. reads_only: it needs no lock. without_api:
    it also runs while the API is unreachable.
    """

    name: str
    summary: str
    run: Callable[[Context], Iterator[Finding]]
    skip_reason: Callable[[Site], str] = lambda site: ""
    parallel_safe: bool = False
    reads_only: bool = False
    without_api: bool = False


def passed(code: str, subject: str, detail: str, remedy: str = "") -> Finding:
    """Return a finding that is as it should be; a remedy then is advice."""
    return Finding(True, subject, detail, remedy, code)


def failed(code: str, subject: str, detail: str, remedy: str, *evidence: str) -> Finding:
    """Return a finding that is not; evidence may hold several lines each."""
    lines = tuple(line.rstrip() for text in evidence for line in text.splitlines() if line.strip())
    return Finding(False, subject, detail, remedy, code, lines)


def skipped(subject: str, detail: str) -> Finding:
    """Return a finding that says what was left out this time, and why."""
    return Finding(True, subject, detail, code="NOT_TRIED")


def wait_for(
    context: Context,
    what: str,
    look: Callable[[], T],
    settled: Callable[[T], bool],
    *,
    timeout: float,
    pause: float = 2,
) -> T:
    """Look until `settled` says so or time is up, and return what was seen last, either way.

    what: for "waiting for WHAT". timeout: seconds, scaled by the site; pause: seconds between two looks, less
    where the site is in a hurry, and up to MAX_PAUSE where it is slow: looks are what keeps a slow API server busy.
    Raises Stopped when the whole run is to end.
    """
    began = time.monotonic()
    deadline = began + context.site.timeout(timeout)
    while True:
        seen = look()
        if settled(seen) or time.monotonic() >= deadline:
            return seen
        context.cluster.progress(f"waiting for {what} ({time.monotonic() - began:.0f} s)")
        until = min(max(pause, MAX_PAUSE), context.site.timeout(pause), deadline - time.monotonic())
        if context.stop.wait(max(0.0, until)):
            raise Stopped(f"was not waited for to its end: {what}")

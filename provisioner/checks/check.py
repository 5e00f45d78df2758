"""The types and functions that every check uses: Check, Context, Finding, and waiting for a state."""

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
NAMESPACE = "course"  # of the shipped workloads
MAX_PAUSE = 5.0  # seconds between two reads, however slow the site


@dataclass(frozen=True)
class Finding:
    """The result of checking one thing.

    subject and detail read as one sentence: what was checked, and what was seen. remedy: what to do, as a sentence or
    a command. code: in CAPITALS_WITH_UNDERSCORES, stable across releases. evidence: events, log lines and responses
    that explain a failure.
    """

    ok: bool
    subject: str
    detail: str
    remedy: str = ""
    code: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Context:
    """What a check works with: the site, the API and the hosts.

    full: include what takes too long to run after every apply. stop: set when the run is aborted; a check then stops
    at its next `wait_for` and restores what it changed. patient: wait for what is on its way; else tell what is now.
    """

    site: Site
    cluster: Cluster
    hosts: Mapping[str, Host]
    full: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    patient: bool = True

    @property
    def thorough(self) -> bool:
        """Tell whether to include what takes many minutes on a slow site only."""
        return self.full or not self.site.slow


class Stopped(ProvisionerError):
    """Stop a check because the run was aborted."""


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
    """Return a finding that passed; a remedy is advice then."""
    return Finding(True, subject, detail, remedy, code)


def failed(code: str, subject: str, detail: str, remedy: str, *evidence: str) -> Finding:
    """Return a finding that failed; each piece of evidence may have several lines."""
    lines = tuple(line.rstrip() for text in evidence for line in text.splitlines() if line.strip())
    return Finding(False, subject, detail, remedy, code, lines)


def skipped(subject: str, detail: str) -> Finding:
    """Return a finding on something that was not checked, and why."""
    return Finding(True, subject, detail, code="NOT_TRIED")


def wait_for(
    context: Context,
    what: str,
    read: Callable[[], T],
    done: Callable[[T], bool],
    *,
    timeout: float,
    pause: float = 2,
) -> T:
    """Read a state until `done` accepts it or time is up; return the last one in either case, the first if impatient.

    what: completes "waiting for WHAT". timeout: seconds, scaled by the site. pause: seconds between two reads, scaled
    up to MAX_PAUSE, because reads are what keeps a slow API server busy. Raises Stopped when the run is aborted.
    """
    start = time.monotonic()
    deadline = start + (context.site.timeout(timeout) if context.patient else 0)
    while True:
        state = read()
        if done(state) or time.monotonic() >= deadline:
            return state
        context.cluster.progress(f"waiting for {what} ({time.monotonic() - start:.0f} s)")
        wait = min(max(pause, MAX_PAUSE), context.site.timeout(pause), deadline - time.monotonic())
        if context.stop.wait(max(0.0, wait)):
            raise Stopped(f"stopped waiting for {what}: the run was aborted")

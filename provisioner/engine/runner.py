"""Run steps over hosts: plan, apply and the check after an apply, all by draining the same generators.

Hosts of a step run in parallel and meet at a barrier; every host's error is collected; a step that failed anywhere
is the last one.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from provisioner.engine.step import Change, Scope, Step
from provisioner.errors import NotConverged, ProvisionerError
from provisioner.kube import Cluster
from provisioner.report import Report
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host, jobs

T = TypeVar("T")
R = TypeVar("R")
WAITS_AGAIN = 3  # times that what a step waited for may fall back before the step counts as not converged


@dataclass(frozen=True)
class Selection:
    """Which part of the road: step names (empty: all), the first step, host names (empty: all)."""

    only: tuple[str, ...] = ()
    start: str = ""
    limit: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """What stopped a host (or, with an empty host, the cluster) in a step."""

    step: str
    host: str
    error: Exception


@dataclass
class Outcome:
    """What a plan or an apply came to.

    changes: (step, host, change) in order. waiting: step name -> the steps whose pending changes keep a plan from
    knowing. visited: the hosts that any step looked at. seconds: (step, host) -> time taken.
    """

    changes: list[tuple[str, str, Change]] = field(default_factory=list)
    waiting: dict[str, tuple[str, ...]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    visited: dict[str, None] = field(default_factory=dict)
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def pending(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.changes or self.waiting)


@dataclass
class Run:
    """Everything a plan or an apply needs; `guard` is called before every change and raises to stop it."""

    site: Site
    hosts: Mapping[str, Host]
    cluster: Cluster
    report: Report
    steps: Sequence[Step]
    selection: Selection = field(default_factory=Selection)
    parallel: int = 8
    guard: Callable[[], None] = lambda: None


CONNECT = Step("connect", "log in to every host", Scope.ALL, lambda host, cluster, site: iter(()), reads_only=True)
WAIT = Step("wait", "let what an earlier run started come to its end", Scope.ALL, CONNECT.changes, reads_only=True)
_here = threading.local()  # the host whose step a thread runs: the Cluster, shared by all, does not know it
Work = Callable[[Run, Step, "Host"], list[Change]]


def select(steps: Iterable[Step], site: Site, selection: Selection) -> tuple[Step, ...]:
    """Return the steps to run, in order; raise ProvisionerError for a name that no step or host has."""
    every = tuple(steps)
    names = [step.name for step in every]
    for name in (*selection.only, *filter(None, (selection.start,))):
        if name not in names:
            raise ProvisionerError(f"there is no step {name}", f"the steps are: {', '.join(names)}")
    known = [spec.name for spec in site.hosts]
    for name in selection.limit:
        if name not in known:
            raise ProvisionerError(f"there is no host {name} in {site.path}", f"the hosts are: {', '.join(known)}")
    first = names.index(selection.start) if selection.start else 0
    return tuple(
        step for step in every[first:] if step.enabled(site) and (not selection.only or step.name in selection.only)
    )


def combined_query(steps: Iterable[Step], site: Site) -> FactQuery:
    """Return what all enabled steps want to know of a host, so that one round trip tells it."""
    query = FactQuery()
    for step in steps:
        if step.enabled(site):
            query |= step.query(site)
    return query


def targets(step: Step, run: Run) -> list[Host]:
    """Return the hosts that a step visits in this run."""
    limit = run.selection.limit
    return [
        run.hosts[spec.name]
        for spec in step.scope.hosts(run.site)
        if (not limit or spec.name in limit) and (not step.only_on or spec.name in step.only_on)
    ]


def connect(run: Run, look: Callable[[Host], object]) -> Outcome:
    """Log in to every host that the run may touch, all at once, so that all that are out of reach are named.

    look: what to ask each host; `jobs.busy` is the cheapest, its facts what a plan needs anyway.
    """
    limit = run.selection.limit
    first = run.site.first.name
    hosts = [host for name, host in run.hosts.items() if not limit or name in limit or name == first]
    outcome = Outcome()

    def work(run: Run, step: Step, host: Host) -> list[Change]:
        del run, step
        look(host)
        return []

    _run_step(run, CONNECT, hosts, outcome, work)
    outcome.visited.clear()
    return outcome


def wait_idle(run: Run, names: Sequence[str]) -> Outcome:
    """Let the work that an earlier run left under way on these hosts end, however long its own limit lets it."""
    outcome = Outcome()

    def work(run: Run, step: Step, host: Host) -> list[Change]:
        del run, step
        jobs.wait_idle(host, 3600)
        return []

    if names:
        _run_step(run, WAIT, [run.hosts[name] for name in names], outcome, work)
    return outcome


def plan(run: Run) -> Outcome:
    """Find out what an apply would do, changing nothing."""
    outcome = Outcome()
    for step in select(run.steps, run.site, run.selection):
        hosts = targets(step, run)
        if not hosts:
            continue
        unsettled = {name for name, _, _ in outcome.changes} | set(outcome.waiting)
        waits_for = tuple(name for name in step.after if name in unsettled)
        if waits_for:
            outcome.waiting[step.name] = waits_for
            run.report.emit("waiting", f"after: {', '.join(waits_for)}", step=step.name)
            continue
        _run_step(run, step, hosts, outcome, _plan_on)
        if outcome.failures:
            break
    return outcome


def apply(run: Run) -> Outcome:
    """Do what is missing, step by step, and make sure of each that nothing is missing any more."""
    outcome = Outcome()
    for step in select(run.steps, run.site, run.selection):
        hosts = targets(step, run)
        if hosts:
            _run_step(run, step, hosts, outcome, _apply_on)
        if outcome.failures:
            break
    return outcome


def _drain(run: Run, step: Step, host: Host) -> Iterable[Change]:
    return step.changes(host, run.cluster, run.site)


def _plan_on(run: Run, step: Step, host: Host) -> list[Change]:
    return list(_drain(run, step, host))


def _apply_on(run: Run, step: Step, host: Host) -> list[Change]:
    done = _make(run, step, host, _drain(run, step, host))
    for again in range(WAITS_AGAIN, -1, -1) if done else ():
        host.forget_facts()
        left = _plan_on(run, step, host)
        if not left:
            break
        # What ran a moment ago and does not now (a busy node missed its probes) is waited for; all else was undone.
        if not again or not all(change.waits for change in left):
            raise NotConverged(
                host.name,
                f"step {step.name} made its changes, and still finds to do: "
                + "; ".join(change.summary for change in left),
                "something on the host undoes or ignores it; the log has every command",
            )
        _make(run, step, host, left)
    for sentence in step.proof(host, run.cluster, run.site):
        run.report.emit("proof", sentence, host=host.name, step=step.name)
    return done


def _make(run: Run, step: Step, host: Host, changes: Iterable[Change]) -> list[Change]:
    """Make changes one after the other, each told before it is made; return them."""
    done = []
    for change in changes:
        if step.reads_only:
            raise TypeError(f"step {step.name} is declared to read only and wants to {change.summary}")
        run.guard()
        run.report.emit("change", change.summary, host=host.name, step=step.name, diff=change.diff)
        change.do()
        done.append(change)
    return done


def _run_step(run: Run, step: Step, hosts: Sequence[Host], outcome: Outcome, work: Work) -> None:
    """Run `work` on every host of a step, several at a time, and gather changes and failures in host order."""
    started = time.monotonic()
    names = [host.name for host in hosts]
    run.report.emit("step", step.summary, step=step.name, hosts=names)
    results = parallel(hosts, lambda host: _on_host(run, step, host, work), run.parallel)
    for host, (result, seconds) in zip(hosts, results, strict=True):
        outcome.visited[host.name] = None
        outcome.seconds[step.name, host.name] = seconds
        if isinstance(result, Exception):
            outcome.failures.append(Failure(step.name, host.name, result))
        else:
            outcome.changes += [(step.name, host.name, change) for change in result]
    run.report.emit("step-done", step=step.name, seconds=round(time.monotonic() - started, 1))


def _on_host(run: Run, step: Step, host: Host, work: Work) -> tuple[list[Change] | Exception, float]:
    started = time.monotonic()
    host.step = step.name
    _here.host = host
    run.report.emit("host", host=host.name, step=step.name)
    result: list[Change] | Exception
    try:
        result = work(run, step, host)
    except Exception as error:  # a defect on one host must not hide what the others say
        if not isinstance(error, ProvisionerError):
            run.report.detail(f"defect  {step.name} {host.name}", "".join(traceback.format_exception(error)))
        result = error
    seconds = time.monotonic() - started
    if isinstance(result, Exception):
        run.report.emit("failed", str(result), host=host.name, step=step.name, seconds=round(seconds, 1))
    else:
        count: dict[str, Any] = {"pending" if work is _plan_on else "changes": len(result)}
        run.report.emit("done", host=host.name, step=step.name, seconds=round(seconds, 1), **count)
    return result, seconds


def progress(report: Report) -> Callable[[str], None]:
    """Return what the Cluster tells its waiting to: it goes to the host whose step this thread is running."""

    def tell(text: str) -> None:
        host: Host | None = getattr(_here, "host", None)
        if host is not None:
            report.emit("output", text, host=host.name, step=host.step)

    return tell


def parallel(items: Sequence[T], work: Callable[[T], R], limit: int) -> list[R]:
    """Return `work(item)` of every item in order, at most `limit` at a time; raise what the first of them raised.

    The threads are daemons: after Ctrl-C nobody waits for a login that is still timing out.
    """
    waiting: SimpleQueue[int] = SimpleQueue()
    ended: SimpleQueue[tuple[int, R | None, BaseException | None]] = SimpleQueue()
    for index in range(len(items)):
        waiting.put(index)

    def labour() -> None:
        while True:
            try:
                index = waiting.get_nowait()
            except Empty:
                return
            try:
                ended.put((index, work(items[index]), None))
            except BaseException as error:
                ended.put((index, None, error))

    for _ in range(min(limit, len(items))):
        threading.Thread(target=labour, daemon=True).start()
    results: dict[int, R] = {}
    while len(results) < len(items):
        index, result, error = ended.get()
        if error is not None:
            raise error
        results[index] = cast("R", result)
    return [results[index] for index in range(len(items))]

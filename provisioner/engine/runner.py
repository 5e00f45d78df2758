"""Run steps over hosts: plan, apply, and the verification after an apply all drain the same generators.

The hosts of a step run in parallel and meet at a barrier; the errors of all hosts are collected; a step that fails on
any host is the last one.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

from provisioner.engine.pace import Forecast, Pace, Planned, planned
from provisioner.engine.step import Change, Scope, Step
from provisioner.errors import ApiUnreachable, NotConverged, NotYet, ProvisionerError
from provisioner.kube import Cluster
from provisioner.report import Report
from provisioner.ssh import FactQuery, Host, jobs
from provisioner.text import did_you_mean

if TYPE_CHECKING:
    from provisioner.site import Site


T = TypeVar("T")
R = TypeVar("R")
MAX_RELAPSES = 3  # times that something a step waited for may relapse before the step counts as not converged


@dataclass(frozen=True)
class Selection:
    """The steps and hosts to run: step names (empty: all), the first step, host names (empty: all)."""

    only: tuple[str, ...] = ()
    start: str = ""
    limit: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """The error that stopped a host in a step."""

    step: str
    host: str
    error: Exception


@dataclass
class Outcome:
    """The outcome of a plan or an apply.

    changes: (step, host, change) in order. waiting: step name -> the earlier steps before which it cannot be looked
    at. visited: the hosts that any step ran on, in order. seconds: (step, host) -> duration.
    """

    changes: list[tuple[str, str, Change]] = field(default_factory=list)
    waiting: dict[str, tuple[str, ...]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    visited: dict[str, None] = field(default_factory=dict)
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def pending(self) -> bool:
        """Whether an apply would change anything."""
        return bool(self.waiting) or any(not change.by_hand for _, _, change in self.changes)

    @property
    def work(self) -> Planned:
        """Return what an apply of this plan will do in each step."""
        return planned([(step, host) for step, host, change in self.changes if not change.by_hand], self.waiting)


@dataclass
class Run:
    """The input of a plan or an apply; `before_change` is called before every change and raises to stop the run."""

    site: Site
    hosts: Mapping[str, Host]
    cluster: Cluster
    report: Report
    steps: Sequence[Step]
    selection: Selection = field(default_factory=Selection)
    parallel: int = 8
    before_change: Callable[[], None] = lambda: None
    pace: Pace = field(default_factory=Pace)


CONNECT = Step("connect", "log in to every host", Scope.ALL, lambda host, cluster, site: iter(()), reads_only=True)
WAIT = Step("wait", "wait for jobs started by an earlier run", Scope.ALL, CONNECT.changes, reads_only=True)
_current = threading.local()  # the host whose step this thread runs, which the shared Cluster does not know
Action = Callable[[Run, Step, Host, list[Change]], object]  # appends what it finds or does, also before it fails


def select(steps: Iterable[Step], site: Site, selection: Selection) -> tuple[Step, ...]:
    """Return the steps to run, in order; raise ProvisionerError for an unknown step or host name."""
    every = tuple(steps)
    names = [step.name for step in every]
    for name in (*selection.only, *filter(None, (selection.start,))):
        if name not in names:
            raise ProvisionerError(
                f"unknown step {name!r}", did_you_mean(name, names) or f"the steps are {', '.join(names)}"
            )
    for name in selection.limit:
        site.host(name)
    first = names.index(selection.start) if selection.start else 0
    return tuple(
        step for step in every[first:] if step.enabled(site) and (not selection.only or step.name in selection.only)
    )


def combined_query(steps: Iterable[Step], site: Site) -> FactQuery:
    """Return the facts that all enabled steps need, so that one round trip reads them."""
    query = FactQuery()
    for step in steps:
        if step.enabled(site):
            query |= step.query(site)
    return query


def targets(step: Step, run: Run) -> list[Host]:
    """Return the hosts that a step runs on in this run."""
    limit = run.selection.limit
    return [
        run.hosts[spec.name]
        for spec in step.scope.hosts(run.site)
        if (not limit or spec.name in limit) and (not step.only_on or spec.name in step.only_on)
    ]


def connect(run: Run, probe: Callable[[Host], object]) -> Outcome:
    """Log in to every host of the run in parallel, so that all unreachable hosts are reported together.

    probe: called with each host; `jobs.busy` is the cheapest, reading its facts what a plan needs anyway.
    """
    limit = run.selection.limit
    first = run.site.first.name
    hosts = [host for name, host in run.hosts.items() if not limit or name in limit or name == first]
    outcome = Outcome()

    def action(run: Run, step: Step, host: Host, found: list[Change]) -> None:
        del run, step, found
        probe(host)

    _run_step(run, CONNECT, hosts, outcome, action)
    outcome.visited.clear()
    return outcome


def wait_idle(run: Run, names: Sequence[str]) -> Outcome:
    """Wait for jobs that an earlier run left on these hosts, as long as their own timeouts allow."""
    outcome = Outcome()

    def action(run: Run, step: Step, host: Host, found: list[Change]) -> None:
        del run, step, found
        jobs.wait_idle(host, 3600)

    if names:
        _run_step(run, WAIT, [run.hosts[name] for name in names], outcome, action)
    return outcome


def plan(run: Run) -> Outcome:
    """Determine what an apply would change, without changing anything or waiting for anything.

    Every step is looked at, whatever an earlier one has pending and wherever it failed, so that one plan tells all.
    """
    outcome = Outcome()
    steps = select(run.steps, run.site, run.selection)
    todo = _todo(run, steps, "plan", {})
    with run.cluster.impatient():
        for step in steps:
            hosts = todo.get(step.name)
            if not hosts:
                continue
            undone = _open(step.undone_by, outcome)
            if undone:
                _wait_for(run, step, undone, outcome)
            else:
                _run_step(run, step, hosts, outcome, _plan_host, among=steps)
    return outcome


def _open(names: Iterable[str], outcome: Outcome) -> tuple[str, ...]:
    """Return those of the steps that are not done in this plan: with changes, failed, or not looked at."""
    found = {name for name, _, change in outcome.changes if not change.by_hand} | set(outcome.waiting)
    found |= {failure.step for failure in outcome.failures}
    return tuple(name for name in names if name in found)


def _blockers(step: Step, steps: Sequence[Step], outcome: Outcome) -> tuple[str, ...]:
    """Return the steps that are not done and without which `step` may be impossible to look at, the nearest ones."""
    by_name = {each.name: each for each in steps}
    names = step.after
    while names:
        if found := _open(names, outcome):
            return found
        names = tuple(dict.fromkeys(more for name in names if name in by_name for more in by_name[name].after))
    return ()


def _wait_for(run: Run, step: Step, names: tuple[str, ...], outcome: Outcome) -> None:
    outcome.waiting[step.name] = names
    run.report.emit("waiting", f"after: {', '.join(names)}", step=step.name)


def apply(run: Run, plan: Outcome | None = None) -> Outcome:
    """Apply the missing changes step by step, and verify after each step that nothing is missing.

    plan: the outcome of the plan that was made for it; it says how long the steps will take.
    """
    outcome = Outcome()
    steps = select(run.steps, run.site, run.selection)
    todo = _todo(run, steps, "apply", plan.work if plan else None)
    for step in steps:
        if step.name in todo:
            _run_step(run, step, todo[step.name], outcome, _apply_host)
        if outcome.failures:
            break
    return outcome


def _todo(run: Run, steps: Iterable[Step], form: str, work: Planned | None) -> dict[str, list[Host]]:
    """Return the steps that have hosts, with them, and begin to count."""
    todo = {step.name: hosts for step in steps if (hosts := targets(step, run))}
    run.pace.start(form, {name: len(hosts) for name, hosts in todo.items()}, work)
    return todo


def forecast(run: Run, plan: Outcome) -> Forecast:
    """Return how long an apply of this plan will take, by what its steps took before."""
    steps = select(run.steps, run.site, run.selection)
    return run.pace.forecast(plan.work, {step.name: len(hosts) for step in steps if (hosts := targets(step, run))})


def _plan_host(run: Run, step: Step, host: Host, found: list[Change]) -> None:
    found.extend(step.changes(host, run.cluster, run.site))


def _apply_host(run: Run, step: Step, host: Host, found: list[Change]) -> None:
    done = _make_changes(run, step, host, step.changes(host, run.cluster, run.site))
    for relapses_left in range(MAX_RELAPSES, -1, -1) if done else ():
        host.forget_facts()
        pending = [change for change in step.changes(host, run.cluster, run.site) if not change.by_hand]
        if not pending:
            break
        # Something that ran a moment ago may not now (a busy node missed its probes); anything else was undone.
        if not relapses_left or not all(change.waits for change in pending):
            raise NotConverged(
                host.name,
                f"step {step.name} made its changes, but these are still pending: "
                + "; ".join(change.summary for change in pending),
                "something on the host reverts or ignores them; the log has every command",
            )
        _make_changes(run, step, host, pending)
    for sentence in step.proof(host, run.cluster, run.site):
        run.report.emit("proof", sentence, host=host.name, step=step.name)
    found += done


def _make_changes(run: Run, step: Step, host: Host, changes: Iterable[Change]) -> list[Change]:
    """Report and make each change in turn; return them."""
    done = []
    for change in changes:
        if step.reads_only:
            raise TypeError(f"step {step.name} is read-only but yields a change: {change.summary}")
        if change.by_hand:
            text = f"{host.name}: {change.summary}, which apply leaves alone: {change.by_hand}"
            run.report.emit("note", text, host=host.name, step=step.name)
            continue
        run.before_change()
        run.report.emit("change", change.summary, host=host.name, step=step.name, diff=change.diff)
        if (expected := run.pace.changed(step.name, host.name)) is not None:
            run.report.emit("expected", step=step.name, expected=expected)
        change.do()
        done.append(change)
    return done


def _run_step(
    run: Run, step: Step, hosts: Sequence[Host], outcome: Outcome, action: Action, *, among: Sequence[Step] = ()
) -> None:
    """Run `action` on every host of a step in parallel; collect changes and failures in host order.

    among: the steps of a plan, in which a step that gets no answer waits for an earlier one that is not done.
    """
    started = time.monotonic()
    names = [host.name for host in hosts]
    run.report.emit("step", step.summary, step=step.name, hosts=names, **run.pace.begin(step.name))
    blockers = _blockers(step, among, outcome) if among else ()
    results = parallel(hosts, lambda host: _run_on_host(run, step, host, action, bool(blockers)), run.parallel)
    for host, (found, error, seconds) in zip(hosts, results, strict=True):
        outcome.visited[host.name] = None
        outcome.seconds[step.name, host.name] = seconds
        outcome.changes += [(step.name, host.name, change) for change in found]
        if blockers and isinstance(error, NotYet | ApiUnreachable):
            _wait_for(run, step, blockers, outcome)
        elif error is not None:
            outcome.failures.append(Failure(step.name, host.name, error))
    seconds = time.monotonic() - started
    if not any(error for _, error, _ in results):
        run.pace.end(step.name, seconds, [len(found) for found, _, _ in results])
    run.report.emit("step-done", step=step.name, seconds=round(seconds, 1))


def _run_on_host(
    run: Run, step: Step, host: Host, action: Action, may_wait: bool
) -> tuple[list[Change], Exception | None, float]:
    started = time.monotonic()
    host.step = step.name
    _current.host = host
    run.report.emit("host", host=host.name, step=step.name)
    found: list[Change] = []
    failure: Exception | None = None
    try:
        action(run, step, host, found)
    except Exception as error:  # a bug that shows on one host must not hide the results of the others
        if not isinstance(error, ProvisionerError):
            run.report.detail(
                f"internal error in {step.name} on {host.name}", "".join(traceback.format_exception(error))
            )
        failure = error
    seconds = time.monotonic() - started
    told: dict[str, Any] = {"host": host.name, "step": step.name, "seconds": round(seconds, 1)}
    if may_wait and isinstance(failure, NotYet | ApiUnreachable):
        run.report.emit("unseen", str(failure), **told)
    elif failure is not None:
        run.report.emit("failed", str(failure), **told)
    else:
        told["pending" if action is _plan_host else "changes"] = len(found)
        run.report.emit("done", **told)
    return found, failure, seconds


def progress(report: Report) -> Callable[[str], None]:
    """Return the Cluster's progress callback, which attributes its output to the host whose step this thread runs."""

    def show(text: str) -> None:
        host: Host | None = getattr(_current, "host", None)
        if host is not None:
            report.emit("output", text, host=host.name, step=host.step)

    return show


def parallel(items: Sequence[T], function: Callable[[T], R], limit: int) -> list[R]:
    """Return `function(item)` for every item in order, at most `limit` in parallel; re-raise the first exception.

    The threads are daemons, so that Ctrl-C does not wait for a login that is timing out.
    """
    queued: SimpleQueue[int] = SimpleQueue()
    finished: SimpleQueue[tuple[int, R | None, BaseException | None]] = SimpleQueue()
    for index in range(len(items)):
        queued.put(index)

    def worker() -> None:
        while True:
            try:
                index = queued.get_nowait()
            except Empty:
                return
            try:
                finished.put((index, function(items[index]), None))
            except BaseException as error:
                finished.put((index, None, error))

    for _ in range(min(limit, len(items))):
        threading.Thread(target=worker, daemon=True).start()
    results: dict[int, R] = {}
    while len(results) < len(items):
        index, result, error = finished.get()
        if error is not None:
            raise error
        results[index] = cast("R", result)
    return [results[index] for index in range(len(items))]

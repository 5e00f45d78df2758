"""Execute steps for a command: show the plan, ask, hold the lock, apply, report the outcome and the next command."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from provisioner.cli import made, preview
from provisioner.cli.session import Session, hold_lock
from provisioner.engine import Durations, Pace, Step, runner, summary
from provisioner.engine.runner import Outcome, Run, Selection
from provisioner.errors import ProvisionerError
from provisioner.redact import redact
from provisioner.ssh import jobs
from provisioner.text import roughly


@dataclass(frozen=True)
class FollowUp:
    """The lines to show after a command.

    command: the command itself, to resume it after an interruption; the lock shows it without its first word.
    on_success: the lines after a successful run. on_failure: returns those after a failed one, from its outcome and
    the names of its steps. cluster: a run of all its steps leaves a whole cluster, of which to say where things are.
    """

    command: str
    on_success: tuple[str, ...]
    on_failure: Callable[[Outcome, Sequence[str]], Iterable[str]]
    cluster: bool = False


APPLY = FollowUp("provisioner apply", ("next: provisioner verify",), summary.retry_commands, cluster=True)


def require_terminal() -> None:
    """Raise ProvisionerError unless stdin is a terminal, on which to ask for confirmation."""
    if not sys.stdin.isatty():
        raise ProvisionerError("stdin is not a terminal", "use -y to proceed without confirmation")


def new_run(session: Session, steps: Sequence[Step], selection: Selection) -> Run:
    """Return the run of these steps; raise ProvisionerError for what is wrong with them before connecting."""
    run = runner.Run(session.site, session.hosts, session.cluster, session.report, steps, selection)
    run.parallel = session.options.parallel
    run.pace = Pace(Durations(session.durations))
    for step in runner.select(steps, session.site, selection):
        step.validate(session.site)
    return run


def plan(session: Session, run: Run, diff: bool) -> NoReturn:
    """Show the plan on stdout and exit: 0 nothing to do, 2 changes pending, 1 error."""
    outcome = runner.connect(run, lambda host: host.facts)
    if not outcome.failures:
        outcome = runner.plan(run)
    _show_plan(session, run, outcome, diff)
    if outcome.failures:
        _show_failures(session, outcome)
        sys.exit(1)
    text, expected = _plan_summary(run, outcome)
    session.report.emit("note", text, pending=len(outcome.changes), **expected)
    if outcome.changes:  # not worth another round trip otherwise
        changing = {host for _, host, _ in outcome.changes}
        hosts = [host for name, host in session.hosts.items() if name in changing]
        for host, job in zip(hosts, runner.parallel(hosts, jobs.busy, run.parallel), strict=True):
            if job:
                text = f"{host.name}: {job}, started by an earlier run, is still running; apply waits for it"
                session.report.emit("note", f"{text} and may then have less to do")
    sys.exit(2 if outcome.pending else 0)


def apply(session: Session, run: Run, follow_up: FollowUp, *, ask: bool) -> NoReturn:
    """Apply the missing changes while holding the lock; with `ask`, show the plan and ask first. Exit 0 or 1."""
    try:
        _apply(session, run, follow_up, ask)
    except KeyboardInterrupt:
        session.report.emit("idle")  # prints what the running step has changed so far
        session.report.close()
        for line in session.running_jobs():
            click.echo(line, err=True)
        click.echo(session.options.runnable(f"interrupted; to resume: {follow_up.command}"), err=True)
        raise


def _apply(session: Session, run: Run, follow_up: FollowUp, ask: bool) -> NoReturn:
    started = time.monotonic()
    busy: dict[str, str] = {}
    outcome = runner.connect(run, lambda host: busy.__setitem__(host.name, jobs.busy(host)))
    if outcome.failures:
        _finish(session, run, follow_up, outcome, started)
    with hold_lock(session, follow_up.command.partition(" ")[2]) as ensure_held:
        run.before_change = lambda: _may_change(session, ensure_held)
        outcome = runner.wait_idle(run, [name for name, job in busy.items() if job])
        planned = None
        if ask and not outcome.failures:
            planned = runner.plan(run)
            _show_plan(session, run, planned, diff=False)
            if planned.failures:
                _finish(session, run, follow_up, planned, started)
            text, expected = _plan_summary(run, planned)
            session.report.emit("note", text, **expected)
            if not planned.pending:
                _finish(session, run, follow_up, planned, started)
            if not click.confirm("Proceed?", err=True):
                raise ProvisionerError("canceled; nothing was changed")
        if not outcome.failures:
            outcome = runner.apply(run, planned)
        _finish(session, run, follow_up, outcome, started)


def _may_change(session: Session, ensure_held: Callable[[], None]) -> None:
    """Raise ProvisionerError if the lock is lost, or if nobody would know of a change: no log, no terminal."""
    ensure_held()
    if session.report.log is not None:
        session.report.log.check()
    if session.report.broken:
        raise ProvisionerError(session.report.broken, "run it again; completed changes are kept")


def _finish(session: Session, run: Run, follow_up: FollowUp, outcome: Outcome, started: float) -> NoReturn:
    """Report the outcome and the next command; exit."""
    if outcome.failures:
        _show_failures(session, outcome)
    text, data = summary.summary(outcome, time.monotonic() - started)
    session.report.emit("summary", text, **data)
    if outcome.failures:
        lines = follow_up.on_failure(outcome, [step.name for step in run.steps])
    elif skipped := _skipped_steps(run, outcome):
        lines = (f"steps not run: {', '.join(skipped)}", "next: provisioner apply")
    else:
        lines = follow_up.on_success
        if follow_up.cluster and (stands := made.event(session)):
            session.report.emit("made", **stands)
            lines = (*lines, f"then: {made.kubectl(session.options, session.site.first.name)} get nodes")
    if run.pace.problem:
        session.report.detail(f"note    {run.pace.problem}")
    for line in lines:
        session.report.emit("note", session.options.runnable(line), follow_up=True)
    sys.exit(1 if outcome.failures else 0)


def _skipped_steps(run: Run, outcome: Outcome) -> list[str]:
    """Return the steps that a selection of hosts or steps left out."""
    visited = {step for step, _ in outcome.seconds}
    return [step.name for step in runner.select(run.steps, run.site, Selection()) if step.name not in visited]


def _plan_summary(run: Run, outcome: Outcome) -> tuple[str, dict[str, Any]]:
    """Return the last line of a plan, with how long its changes will take, and that figure for JSON output."""
    text = summary.plan_summary(outcome)
    forecast = runner.forecast(run, outcome)
    if not outcome.pending or forecast.unknown:
        return text, {}
    return f"{text}; about {roughly(forecast.seconds)}, as in earlier runs", {"expected": round(forecast.seconds, 1)}


def _show_plan(session: Session, run: Run, outcome: Outcome, diff: bool) -> None:
    parts = preview.parts(session.site, runner.forecast(run, outcome)) if preview.creates_cluster(outcome) else ()
    if session.options.output == "json":
        if parts:
            session.report.emit("will-be", parts=dict(parts))
        for step, host, change in outcome.changes:
            session.report.emit(
                "pending", change.summary, step=step, host=host, diff=change.diff, by_hand=change.by_hand
            )
        return
    if parts:
        for line in preview.lines(session.site.cluster.name, parts):
            click.echo(line)
    for line in summary.plan_lines(outcome, diff):
        click.echo(redact(line))


def _show_failures(session: Session, outcome: Outcome) -> None:
    if session.options.output == "json":
        return  # each failure has been an event
    for line in summary.failure_lines(outcome.failures, session.log):
        click.echo(redact(session.options.runnable(line)), err=True)

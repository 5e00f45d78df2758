"""Walk steps for a command: show the plan, ask, hold the lock, do it, and tell how it ended and what to type next."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import click

from provisioner.cli.options import Options
from provisioner.cli.session import Session, hold_lock
from provisioner.engine import Step, runner, summary
from provisioner.engine.runner import Outcome, Run, Selection
from provisioner.errors import ProvisionerError
from provisioner.ssh import jobs


@dataclass(frozen=True)
class Errand:
    """What a person has typed, for what is said afterwards.

    command: to be typed again after an interruption; its part after the first word names the lock. then: the lines
    after a good end. again: those after a bad one, from what it came to and the names of the steps.
    """

    command: str
    then: tuple[str, ...]
    again: Callable[[Outcome, Sequence[str]], Iterable[str]]


APPLY = Errand("provisioner apply", ("next: provisioner verify",), summary.retry_commands)


def refuse_unasked(options: Options, yes: bool, command: str, what: str) -> None:
    """Raise ProvisionerError where there is neither a terminal to ask on nor the word not to."""
    if not (yes or sys.stdin.isatty()):
        raise ProvisionerError("there is no terminal to ask on", f"{options.runnable(f'{command} -y')} {what}")


def run(session: Session, steps: Sequence[Step], selection: Selection) -> Run:
    """Return the run of these steps; a name that no step or host has is told before anything is connected."""
    made = runner.Run(session.site, session.hosts, session.cluster, session.report, steps, selection)
    made.parallel = session.options.parallel
    runner.select(steps, session.site, selection)
    return made


def plan(session: Session, run: Run, diff: bool) -> NoReturn:
    """Plan, show it on stdout, and exit: 0 nothing to do, 2 changes pending, 1 an error."""
    outcome = runner.connect(run, lambda host: host.facts)
    if not outcome.failures:
        outcome = runner.plan(run)
    _show_plan(session, outcome, diff)
    if outcome.failures:
        _show_failures(session, outcome)
        sys.exit(1)
    session.report.emit("note", summary.plan_verdict(outcome), pending=len(outcome.changes))
    if outcome.changes:  # else nobody's work is missing, and a plan of an unchanged host asks it no more than once
        changing = {host for _, host, _ in outcome.changes}
        hosts = [host for name, host in session.hosts.items() if name in changing]
        for host, work in zip(hosts, runner.parallel(hosts, jobs.busy, run.parallel), strict=True):
            if work:
                said = f"{host.name}: {work}, which an earlier run started, goes on there: apply waits for it, and may"
                session.report.emit("note", f"{said} find less to do then")
    sys.exit(2 if outcome.pending else 0)


def apply(session: Session, run: Run, errand: Errand, *, ask: bool) -> NoReturn:
    """Do what is missing, under the lock, after showing it and asking where that is wanted; exit 0 or 1."""
    try:
        _apply(session, run, errand, ask)
    except KeyboardInterrupt:
        session.report.close()
        for line in session.under_way():
            click.echo(line, err=True)
        click.echo(session.options.runnable(f"stopped; to go on: {errand.command}"), err=True)
        raise


def _apply(session: Session, run: Run, errand: Errand, ask: bool) -> NoReturn:
    started = time.monotonic()
    busy: dict[str, str] = {}
    outcome = runner.connect(run, lambda host: busy.__setitem__(host.name, jobs.busy(host)))
    if outcome.failures:
        _finish(session, run, errand, outcome, started)
    with hold_lock(session, errand.command.partition(" ")[2]) as guard:
        run.guard = guard
        outcome = runner.wait_idle(run, [name for name, work in busy.items() if work])
        if ask and not outcome.failures:
            planned = runner.plan(run)
            _show_plan(session, planned, diff=False)
            if planned.failures:
                _finish(session, run, errand, planned, started)
            session.report.emit("note", summary.plan_verdict(planned))
            if not planned.pending:
                _finish(session, run, errand, planned, started)
            if not click.confirm("Go on?", err=True):
                raise ProvisionerError("nothing was changed")
        if not outcome.failures:
            outcome = runner.apply(run)
        _finish(session, run, errand, outcome, started)


def _finish(session: Session, run: Run, errand: Errand, outcome: Outcome, started: float) -> NoReturn:
    """Tell how it ended and what to type next; exit."""
    if outcome.failures:
        _show_failures(session, outcome)
    text, data = summary.summary(outcome, time.monotonic() - started)
    session.report.emit("summary", text, **data)
    following = errand.again(outcome, [step.name for step in run.steps]) if outcome.failures else errand.then
    unseen = [] if outcome.failures else _unseen(run, outcome)
    if unseen:
        following = (f"not looked at this time: {', '.join(unseen)}", "next: provisioner apply")
    for line in following:
        session.report.emit("note", session.options.runnable(line))
    sys.exit(1 if outcome.failures else 0)


def _unseen(run: Run, outcome: Outcome) -> list[str]:
    """Return the steps of the road that a selection of hosts or steps has left out."""
    seen = {step for step, _ in outcome.seconds}
    return [step.name for step in runner.select(run.steps, run.site, runner.Selection()) if step.name not in seen]


def _show_plan(session: Session, outcome: Outcome, diff: bool) -> None:
    if session.options.output == "json":
        for step, host, change in outcome.changes:
            session.report.emit("pending", change.summary, step=step, host=host, diff=change.diff)
        return
    for line in summary.plan_lines(outcome, diff):
        click.echo(line)


def _show_failures(session: Session, outcome: Outcome) -> None:
    if session.options.output == "json":
        return  # each was an event already
    for line in summary.failure_lines(outcome.failures, session.log):
        click.echo(session.options.runnable(line), err=True)

"""The command drift: what differs from hosts.toml, for people, cron, and monitoring."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import NoReturn

import click

from provisioner.cli import completing, execute
from provisioner.cli.options import Options, split_names
from provisioner.cli.session import open_session
from provisioner.engine import differences, runner, summary
from provisioner.engine.runner import Outcome, Run, Selection
from provisioner.redact import printable, redact
from provisioner.steps import STEPS

_HOSTS = completing.list_of(completing.hosts)
_STEPS = completing.list_of(lambda _: ((step.name, step.summary) for step in STEPS))


@click.command("drift")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "prometheus"]),
    help="text: a line for each difference; prometheus: for node_exporter's textfile collector.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show no progress on a terminal either.")
@click.option(
    "--limit", default="", shell_complete=_HOSTS, metavar="HOSTS", help="Look at these hosts only, comma-separated."
)
@click.option(
    "--only", default="", shell_complete=_STEPS, metavar="STEPS", help="Look at these steps only, comma-separated."
)
@click.pass_obj
def drift(options: Options, *, output: str | None, quiet: bool, limit: str, only: str) -> NoReturn:
    """Show what differs from hosts.toml, on hosts and in the cluster, without changing anything.

    One line for each difference: what is there, who wins, what apply would do. Prints nothing if nothing differs,
    and no progress unless stderr is a terminal, so cron sends mail only for a difference or an error.

    Exit status: 0 no difference, 2 differences, 1 something could not be looked at.

    Example: provisioner drift -o prometheus | sponge /var/lib/node_exporter/provisioner.prom
    """
    form = output or options.output
    with open_session(
        replace(options, output="text"), "drift", STEPS, silent=quiet or not sys.stderr.isatty()
    ) as session:
        started = time.monotonic()
        run = execute.new_run(session, STEPS, Selection(split_names(only), "", split_names(limit)))
        outcome = _outcome(run)
        seconds = time.monotonic() - started
        session.report.emit("idle")
        if form == "json":
            click.echo(differences.document(session.site.cluster.name, outcome))
        elif form == "prometheus":
            for line in differences.prometheus(session.site.cluster.name, outcome, now=time.time(), seconds=seconds):
                click.echo(line)
        else:
            for each in differences.differences(outcome):
                click.echo(printable(str(each)))
        for line in summary.failure_lines(outcome.failures, session.log) if outcome.failures else ():
            click.echo(redact(options.runnable(line)), err=True)
        for step, names in outcome.waiting.items() if not outcome.failures else ():
            click.echo(f"{step}: to be known after {', '.join(names)}", err=True)
    sys.exit(1 if outcome.failures else 2 if outcome.changes or outcome.waiting else 0)


def _outcome(run: Run) -> Outcome:
    connected = runner.connect(run, lambda host: host.facts)
    return connected if connected.failures else runner.plan(run)

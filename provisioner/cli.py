"""The command line, thin: options in, one function called, its outcome told and turned into an exit status."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from provisioner import __version__
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.redact import redact
from provisioner.report import Log
from provisioner.session import Defect, Options, Session, locked, opened
from provisioner.typed import typed

if TYPE_CHECKING:
    from provisioner.runner import Outcome, Run

# Commands in modules of their own, imported when they are used: name -> (module:attribute, one line of help).
LAZY = {
    "init": ("provisioner.init:command", "Write a commented hosts.toml."),
    "verify": ("provisioner.commands:verify", "Prove that the cluster does what it should."),
    "status": ("provisioner.commands:status", "Show the nodes as the API sees them."),
    "unlock": ("provisioner.commands:unlock", "Show the lock that keeps two runs apart, and remove it."),
    "kubeconfig": ("provisioner.commands:kubeconfig", "Print the administrator's kubeconfig, or merge it into yours."),
    "ssh": ("provisioner.commands:ssh", "Log in to a host with the site's settings."),
    "exec": ("provisioner.commands:execute", "Run a command on every host, as root."),
    "l2": ("provisioner.l2.commands:l2", "Who answers for an external IP, seen from the wire."),
    "lab": ("provisioner.lab.commands:lab", "Blank VMs on this machine to try it all on."),
}
ORDER = ("init", "plan", "apply", *(name for name in LAZY if name != "init"))


class Commands(click.Group):
    """A group that imports a command's module only when the command is run or asked for its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all commands, in the order in which people meet them."""
        del ctx
        return list(ORDER)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing it where it lives elsewhere."""
        if cmd_name not in LAZY:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = LAZY[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by their first line, importing none."""
        rows = []
        for name in self.list_commands(ctx):
            rows.append((name, LAZY[name][1] if name in LAZY else self.commands[name].get_short_help_str(100)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "-f", "--file", default="hosts.toml", type=click.Path(path_type=Path), show_default=True, help="The site."
)
@click.option("-v", "--verbose", count=True, help="Show every output line; -vv also the traceback of a defect.")
@click.option("--parallel", default=8, type=click.IntRange(1), show_default=True, help="Hosts at a time.")
@click.option("--log", type=click.Path(path_type=Path), help="Log file. [default: .provisioner/logs/…]")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="For people or machines.")
@click.version_option(__version__)
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Turn machines that answer SSH into a kubeadm cluster with NFS and MetalLB, and prove it from the wire.

    Begin with `provisioner init`, edit hosts.toml, then `provisioner plan` and `provisioner apply`.
    """
    ctx.obj = Options(**options)


@cli.command()
@click.option("--diff", is_flag=True, help="Show what changes inside files and objects.")
@click.pass_obj
def plan(options: Options, diff: bool) -> None:
    """Show what an apply would do; change nothing.

    Exit status: 0 nothing to do, 2 changes pending, 1 an error.

    Example: provisioner plan --diff
    """
    from provisioner.runner import Selection
    from provisioner.steps import STEPS

    with opened(options, "plan", STEPS) as session:
        _plan(session, _run(session, Selection()), diff)


@cli.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--limit", default="", metavar="HOSTS", help="Only these hosts, with commas between.")
@click.option("--only", default="", metavar="STEPS", help="Only these steps, with commas between.")
@click.option("--from", "start", default="", metavar="STEP", help="Begin with this step.")
@click.option("--dry-run", is_flag=True, help="The same as plan, for the part selected.")
@click.pass_obj
def apply(options: Options, *, yes: bool, limit: str, only: str, start: str, dry_run: bool) -> None:
    """Do what is missing on hosts and cluster, and make sure of it.

    Shows the plan and asks first. It may be interrupted, killed or lose its connection at any time; run again, it
    goes on from there.

    Example: provisioner apply --limit worker1,worker2 --from join
    """
    from provisioner.runner import Selection
    from provisioner.steps import STEPS

    if not (yes or dry_run or sys.stdin.isatty()):
        raise ProvisionerError("there is no terminal to ask on", options.typed("provisioner apply -y applies unasked"))
    with opened(options, "apply", STEPS) as session:
        run = _run(session, Selection(_names(only), start, _names(limit)))
        if dry_run:
            _plan(session, run, diff=False)
        try:
            _apply(session, run, ask=not yes)
        except KeyboardInterrupt:
            session.report.close()
            for line in session.under_way():
                click.echo(line, err=True)
            click.echo(options.typed("stopped; to go on: provisioner apply"), err=True)
            raise


def _run(session: Session, selection: Any) -> Run:
    from provisioner import runner
    from provisioner.steps import STEPS

    run = runner.Run(session.site, session.hosts, session.cluster, session.report, STEPS, selection)
    run.parallel = session.options.parallel
    runner.select(STEPS, session.site, selection)  # a wrong name is told before anything is connected
    return run


def _plan(session: Session, run: Run, diff: bool) -> NoReturn:
    """Plan, show it on stdout, and exit as `plan` does."""
    from provisioner import runner, summary

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
        for host, work in zip(hosts, runner.parallel(hosts, lambda host: host.busy(), run.parallel), strict=True):
            if work:
                said = f"{host.name}: {work}, which an earlier run started, goes on there: apply waits for it, and may"
                session.report.emit("note", f"{said} find less to do then")
    sys.exit(2 if outcome.pending else 0)


def _apply(session: Session, run: Run, ask: bool) -> None:
    from provisioner import runner, summary

    started = time.monotonic()
    busy: dict[str, str] = {}
    outcome = runner.connect(run, lambda host: busy.__setitem__(host.name, host.busy()))
    if outcome.failures:
        _finish(session, outcome, started)
    with locked(session, "apply") as guard:
        run.guard = guard
        outcome = runner.wait_idle(run, [name for name, work in busy.items() if work])
        if ask and not outcome.failures:
            planned = runner.plan(run)
            _show_plan(session, planned, diff=False)
            if planned.failures:
                _finish(session, planned, started)
            session.report.emit("note", summary.plan_verdict(planned))
            if not planned.pending:
                _finish(session, planned, started)
            if not click.confirm("Go on?", err=True):
                raise ProvisionerError("nothing was changed")
        if not outcome.failures:
            outcome = runner.apply(run)
        _finish(session, outcome, started)


def _finish(session: Session, outcome: Outcome, started: float) -> NoReturn:
    """Tell how it ended and what to type next; exit."""
    from provisioner import summary
    from provisioner.steps import STEPS

    if outcome.failures:
        _show_failures(session, outcome)
    text, data = summary.summary(outcome, time.monotonic() - started)
    session.report.emit("summary", text, **data)
    steps = [step.name for step in STEPS]
    following = summary.again(outcome, steps) if outcome.failures else ["next: provisioner verify"]
    for line in following:
        session.report.emit("note", session.options.typed(line))
    sys.exit(1 if outcome.failures else 0)


def _show_plan(session: Session, outcome: Outcome, diff: bool) -> None:
    from provisioner import summary

    if session.options.output == "json":
        for step, host, change in outcome.changes:
            session.report.emit("pending", change.summary, step=step, host=host, diff=change.diff)
        return
    for line in summary.plan_lines(outcome, diff):
        click.echo(line)


def _show_failures(session: Session, outcome: Outcome) -> None:
    from provisioner import summary

    if session.options.output == "json":
        return  # each was an event already
    for line in summary.failure_lines(outcome.failures, session.log):
        click.echo(session.options.typed(line), err=True)


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a person's mistake is a line on stderr and exit status 1, never a traceback."""
    # A service manager or a closed terminal ends us as Ctrl-C does: the lock is given back.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        status = cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ProvisionerError as error:
        click.echo(typed(redact(str(error))), err=True)
        for line in redact(getattr(error, "tail", "")).splitlines():
            click.echo(f"  | {line}", err=True)
        sys.exit(2 if isinstance(error, Inconclusive) else 1)
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); the interpreter would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Defect as error:
        _tell_defect(str(error), error.log, error.text, arguments or sys.argv)
    except Exception as error:  # a command without a session of its own
        text = traceback.format_exc()
        log = Log.for_command(Path(".provisioner"), "defect")
        log.write("defect", text)
        _tell_defect(f"{type(error).__name__}: {error}", log.path, text, arguments or sys.argv)
    if isinstance(status, int):
        sys.exit(status)


def _tell_defect(what: str, log: Path | None, text: str, arguments: Sequence[str]) -> NoReturn:
    where = f"; its traceback is in {log}" if log else ""
    click.echo(redact(f"a defect of this program: {what}{where}"), err=True)
    if "-vv" in arguments:
        click.echo(redact(text), err=True)
    sys.exit(1)


def _interrupt(number: int, frame: object) -> NoReturn:
    del number, frame
    raise KeyboardInterrupt

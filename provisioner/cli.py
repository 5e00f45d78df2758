"""The command line, thin: options in, one function called, its outcome told and turned into an exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from provisioner import __version__
from provisioner.errors import HostError, ProvisionerError
from provisioner.session import Options, opened

# Commands that live elsewhere, imported when they are used: name -> (module:attribute, one line of help).
LAZY = {
    "init": ("provisioner.init:command", "Write a commented hosts.toml."),
    "lab": ("provisioner.lab.commands:lab", "Blank VMs on this machine to try it all on."),
    "l2": ("provisioner.l2.commands:l2", "Who answers for an external IP, seen from the wire."),
}


class Commands(click.Group):
    """A group that imports a command's module only when the command is run or asked for its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all commands, in the order in which people meet them."""
        del ctx
        order = ["init", "plan", "apply", "verify", "status", "l2", "kubeconfig", "ssh", "exec", "unlock", "lab"]
        names = {*self.commands, *LAZY}
        return [name for name in order if name in names] + sorted(names - set(order))

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
            command = self.commands.get(name)
            rows.append((name, LAZY[name][1] if command is None else command.get_short_help_str(100)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "-f", "--file", default="hosts.toml", type=click.Path(path_type=Path), show_default=True, help="The site."
)
@click.option("-v", "--verbose", count=True, help="Show output lines; -vv also tracebacks.")
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
    from provisioner import runner
    from provisioner.steps import STEPS

    with opened(options, "plan", STEPS) as session:
        run = runner.Run(
            session.site, session.hosts, session.cluster, session.report, STEPS, parallel=options.parallel
        )
        outcome = runner.plan(run)
        for step, host, change in outcome.changes:
            click.echo(f"{step:20} {host:12} {change.summary}")
            if diff and change.diff:
                click.echo(change.diff)
    sys.exit(1 if outcome.failures else 2 if outcome.pending else 0)


@cli.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--limit", default="", metavar="HOSTS", help="Only these hosts, with commas between.")
@click.option("--only", default="", metavar="STEPS", help="Only these steps, with commas between.")
@click.option("--from", "start", default="", metavar="STEP", help="Begin with this step.")
@click.option("--dry-run", is_flag=True, help="The same as plan, for the part selected.")
@click.pass_obj
def apply(options: Options, *, yes: bool, limit: str, only: str, start: str, dry_run: bool) -> None:
    """Do what is missing on hosts and cluster, and make sure of it.

    Example: provisioner apply --limit worker1,worker2 --from join
    """
    from provisioner import runner
    from provisioner.steps import STEPS

    with opened(options, "apply", STEPS) as session:
        selection = runner.Selection(_names(only), start, _names(limit))
        run = runner.Run(
            session.site, session.hosts, session.cluster, session.report, STEPS, selection, options.parallel
        )
        outcome = runner.plan(run) if dry_run else runner.apply(run)
    del yes
    sys.exit(1 if outcome.failures else 0)


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a person's mistake is one line on stderr and exit status 1."""
    try:
        cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ProvisionerError as error:
        click.echo(str(error), err=True)
        if isinstance(error, HostError) and error.tail:
            click.echo(error.tail, err=True)
        sys.exit(1)

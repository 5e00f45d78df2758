"""The command line, thin: options in, one function called, its outcome told and turned into an exit status."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from provisioner import __version__
from provisioner.cli.hints import runnable
from provisioner.cli.options import InternalError, Options
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.redact import redact
from provisioner.report import Log

# Commands in modules of their own, imported when they are used: name -> (module:attribute, one line of help).
LAZY = {
    "init": ("provisioner.cli.init:command", "Write a commented hosts.toml."),
    "plan": ("provisioner.cli.commands:plan", "Show what an apply would do; change nothing."),
    "apply": ("provisioner.cli.commands:apply", "Do what is missing on hosts and cluster, and make sure of it."),
    "verify": ("provisioner.cli.verify:verify", "Prove that the cluster does what it should."),
    "status": ("provisioner.cli.commands:status", "Show the nodes as the API sees them."),
    "unlock": ("provisioner.cli.commands:unlock", "Show the lock that keeps two runs apart, and remove it."),
    "node": ("provisioner.cli.node:node", "Drain a node, take it out of the cluster, or join it anew."),
    "reset": ("provisioner.cli.node:reset", "Take hosts out of the cluster; all of them end it."),
    "kubeconfig": (
        "provisioner.cli.commands:kubeconfig",
        "Print the administrator's kubeconfig, or merge it into yours.",
    ),
    "ssh": ("provisioner.cli.commands:ssh", "Log in to a host with the site's settings."),
    "exec": ("provisioner.cli.commands:execute", "Run a command on every host, as root."),
    "l2": ("provisioner.cli.l2:l2", "Who answers for an external IP, seen from the wire."),
    "lab": ("provisioner.cli.lab:lab", "Blank VMs on this machine to try it all on."),
}


class Commands(click.Group):
    """A group that imports a command's module only when the command is run or asked for its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all commands, in the order in which people meet them."""
        del ctx
        return [*LAZY, *self.commands]

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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a person's mistake is a line on stderr and exit status 1, never a traceback."""
    # A service manager or a closed terminal ends us as Ctrl-C does: the lock is given back.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        status = cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(1)  # click's own 2 means "changes pending" after a plan, and "cannot be told" after verify and l2
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ProvisionerError as error:
        click.echo(runnable(redact(str(error))), err=True)
        for line in redact(getattr(error, "tail", "")).splitlines():
            click.echo(f"  | {line}", err=True)
        sys.exit(2 if isinstance(error, Inconclusive) else 1)
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); the interpreter would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except InternalError as error:
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

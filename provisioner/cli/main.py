"""The entry point of the command line: global options, lazily imported commands, errors, exit statuses."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from provisioner import __version__
from provisioner.cli.groups import LazyGroup, global_options
from provisioner.cli.hints import runnable
from provisioner.cli.options import InternalError, Options
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.redact import redact
from provisioner.report import Log

# Commands, imported when they are used: name -> (module:attribute, one line of help).
LAZY = {
    "init": ("provisioner.cli.init:command", "Propose a hosts.toml for your machines."),
    "plan": ("provisioner.cli.commands:plan_command", "Show what apply would change."),
    "drift": ("provisioner.cli.drift:drift", "Show what differs from hosts.toml, a line each."),
    "apply": ("provisioner.cli.commands:apply_command", "Apply the missing changes to hosts and cluster."),
    "verify": ("provisioner.cli.verify:verify", "Verify that the cluster works."),
    "status": ("provisioner.cli.commands:status_command", "Show the nodes as the API sees them."),
    "report": ("provisioner.cli.report:report", "Write one HTML page about the cluster."),
    "unlock": ("provisioner.cli.commands:unlock_command", "Show and remove the lock that keeps two runs apart."),
    "node": ("provisioner.cli.node:node", "Drain, uncordon, remove or rebuild a node."),
    "reset": ("provisioner.cli.node:reset", "Remove hosts from the cluster; without --limit, destroy it."),
    "kubeconfig": (
        "provisioner.cli.commands:kubeconfig_command",
        "Print the admin kubeconfig or merge it into yours.",
    ),
    "ssh": ("provisioner.cli.commands:ssh_command", "Log in to a host with the site's settings."),
    "exec": ("provisioner.cli.commands:exec_command", "Run a command on every host as root."),
    "l2": ("provisioner.cli.l2:l2", "Find out who answers for an external IP on the wire."),
    "completion": ("provisioner.cli.completion:completion", "Print a shell's completion script."),
    "lab": ("provisioner.cli.lab:lab", "Run blank VMs on this machine as a lab."),
}


class Commands(LazyGroup):
    """All commands, in the order in which they are typically used."""

    table = LAZY

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; with `-o json` its error is also a JSON object on stdout."""
        try:
            return super().invoke(ctx)
        except ProvisionerError as error:
            ctx.obj.error(str(error))
            raise


@click.group(
    cls=Commands,
    params=list(global_options()),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__)
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Turn machines that answer SSH into a kubeadm cluster with NFS and MetalLB, and verify it from the wire.

    Start with `provisioner init`, edit hosts.toml, then `provisioner plan` and `provisioner apply`. The options below
    may also follow the command.
    """
    ctx.obj = Options(**options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user error is a line on stderr and exit status 1, never a traceback."""
    run(cli, arguments)


def run(command: click.Command, arguments: Sequence[str] | None = None, prog_name: str | None = None) -> None:
    """Run a command and exit; prog_name: how usage and errors call it."""
    # Stopped by a service manager or a closed terminal, release the lock as after Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        words = list(arguments) if arguments is not None else None
        status = command.main(args=words, prog_name=prog_name, standalone_mode=False)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        if context is not None and isinstance(context.obj, Options):
            context.obj.error(error.format_message())
        error.show()
        # click would exit with 2, which means "changes pending" for plan and "inconclusive" for verify and l2.
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ProvisionerError as error:
        click.echo(runnable(redact(str(error))), err=True)
        for line in redact(getattr(error, "tail", "")).splitlines():
            click.echo(f"  | {line}", err=True)
        sys.exit(2 if isinstance(error, Inconclusive) else 1)
    except BrokenPipeError:
        # The reader of our output is gone (`| head`); without this the interpreter complains again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except InternalError as error:
        _exit_internal_error(str(error), error.log, error.text, arguments or sys.argv)
    except Exception as error:  # outside of any session
        _unexpected(error, arguments)
    if isinstance(status, int):
        sys.exit(status)


def _unexpected(error: Exception, arguments: Sequence[str] | None) -> NoReturn:
    if isinstance(error, OSError) and error.errno in (errno.EIO, errno.ENOSPC) and error.filename is None:
        # The terminal is gone, or the disk is full that stdout or stderr is redirected to.
        with suppress(OSError):
            click.echo(f"cannot print: {error.strerror}; run it again, completed changes are kept", err=True)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(1)
    text = traceback.format_exc()
    log = Log.for_command(Path(".provisioner"), "internal-error")
    log.write("internal error", text)
    path = None if log.problem else log.path
    _exit_internal_error(f"{type(error).__name__}: {error}", path, text, arguments or sys.argv)


def _exit_internal_error(summary: str, log: Path | None, text: str, arguments: Sequence[str]) -> NoReturn:
    where = f" with its traceback, which is in {log}" if log else ""
    click.echo(redact(f"internal error: {summary}; please report it{where}"), err=True)
    if "-vv" in arguments:
        click.echo(redact(text), err=True)
    sys.exit(1)


def _interrupt(number: int, frame: object) -> NoReturn:
    del number, frame
    for each in (signal.SIGTERM, signal.SIGHUP):  # often sent twice; the lock is given back meanwhile
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt

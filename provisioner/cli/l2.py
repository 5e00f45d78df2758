"""`provisioner l2`: the group of subcommands, each imported on use, its errors, and the options that they share."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from provisioner import __version__
from provisioner.cli.groups import LazyGroup
from provisioner.cli.hints import runnable
from provisioner.cli.options import Options
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2 import report
from provisioner.redact import redact
from provisioner.text import printable

# name -> (module:attribute, one line of help)
SUBCOMMANDS = {
    "scan": ("provisioner.cli.l2_scan:scan", "Sweep addresses: table and map of who owns each."),
    "check": ("provisioner.cli.l2_check:check", "Diagnose external IPs: a verdict, evidence and a remedy."),
    "watch": ("provisioner.cli.l2_watch:watch", "Time a failover."),
    "collect": ("provisioner.cli.l2_collect:collect", "Save the cluster's facts for check --facts."),
    "guard": ("provisioner.cli.l2_guard:guard", "Watch a segment for days: conflicts, silence, strangers in pools."),
    "explain": ("provisioner.cli.l2_explain:explain", "Explain a verdict: cause, look in tcpdump, remedy."),
}
_REPORTING = ("scan", "check")  # their JSON is l2report/v1


class L2Group(LazyGroup):
    """The subcommands of l2, which exit with status 2 on an error.

    Status 1 would mean a fault in the cluster, and none was found.
    """

    table = SUBCOMMANDS

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """Parse the group's own arguments; a mistake in them exits with status 2."""
        try:
            return super().make_context(info_name, args, *rest, **extra)
        except click.ClickException as error:
            error.show()
            raise click.exceptions.Exit(2) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; an error is printed to stderr (and in the JSON) and exits with status 2."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:  # an unknown option, a value out of range
            _print_problem(ctx, error.format_message())
            error.show()
            ctx.exit(2)
        except ProvisionerError as error:
            _fail(ctx, str(error), getattr(error, "tail", ""), "inconclusive: " * isinstance(error, Inconclusive))
        except OSError as error:
            if error.filename is None:
                raise
            # An unwritable log or file is a problem of the operator's folder, not a defect.
            _fail(ctx, f"{error.filename}: {error.strerror}")


def _print_problem(ctx: click.Context, message: str) -> None:
    """Print an error as JSON, for a program that reads stdout: a report without results where reports are expected."""
    if ctx.obj is None:
        return
    if ctx.obj.output == "json" and ctx.invoked_subcommand in _REPORTING:
        click.echo(redact(json.dumps(report.document(None, (), __version__, message), indent=2)))
    else:
        ctx.obj.error(message)


def _fail(ctx: click.Context, message: str, tail: str = "", prefix: str = "") -> NoReturn:
    options = ctx.obj
    _print_problem(ctx, message)
    line = printable(redact(f"{prefix}{message}"))
    click.echo(runnable(line) if options is None else options.runnable(line), err=True)
    for line in redact(tail).splitlines():
        click.echo(f"  | {line}", err=True)
    ctx.exit(2)


@click.group(cls=L2Group)
def l2() -> None:
    """Find out who answers for an external IP on the wire, or why no node does.

    It sends ARP requests and IPv6 neighbor solicitations, which change no neighbor cache entry for the address. Run it
    on a machine on the nodes' segment that is not a node. It needs CAP_NET_RAW, and without it prints what to run.
    """


@contextmanager
def progress(options: Options) -> Iterator[Callable[[str], None]]:
    """Provide a function that shows progress on a line that is cleared at the end; a no-op without a terminal."""
    if options.output == "json" or not sys.stderr.isatty():
        yield lambda text: None
        return
    try:
        yield lambda text: click.echo(f"\r\x1b[K{text} …", err=True, nl=False)
    finally:
        click.echo("\r\x1b[K", err=True, nl=False)


def require_folder(path: Path | None) -> None:
    """Raise ProvisionerError if a file's folder does not exist, before the work rather than after it."""
    if path is not None and not path.absolute().parent.is_dir():
        raise ProvisionerError(f"no such folder: {path.absolute().parent}", "create it, or choose another file")


class Seconds(click.FloatRange):
    """A number of seconds in a range; NaN, which is in every range for click, is in none."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; fail if it is none."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return number


interface_option = click.option(
    "--interface", default="", metavar="IF", help="Probe from this interface. [default: the segment's]"
)
no_zero_option = click.option(
    "--no-zero", is_flag=True, help="Send no ARP probes from 0.0.0.0, for networks with ARP inspection."
)


def probe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that scan and check share."""
    for option in (
        click.option(
            "--timeout",
            default=1.0,
            type=Seconds(1, 60),
            show_default=True,
            help="Seconds to wait for replies after the last request.",
        ),
        no_zero_option,
        click.option("--pps", default=200, type=click.IntRange(1, 500), show_default=True, help="Frames per second."),
        interface_option,
        click.option("--offline", is_flag=True, help="Contact no cluster; use hosts.toml only, if there is one."),
        click.option(
            "--facts",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Use this file of `l2 collect` instead of the cluster.",
        ),
    ):
        command = option(command)
    return command

"""`provisioner l2`: the verbs, each in a module of its own that is imported when it is used, and how they fail."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from provisioner import __version__
from provisioner.cli.hints import runnable
from provisioner.cli.options import Options
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2 import report
from provisioner.redact import redact

# name -> (module:attribute, one line of help)
LAZY = {
    "scan": ("provisioner.cli.l2_scan:scan", "Sweep addresses: who owns each; a table and a map."),
    "check": ("provisioner.cli.l2_check:check", "Say whether external IPs are right, and why not."),
    "watch": ("provisioner.cli.l2_watch:watch", "Time a failover."),
    "collect": ("provisioner.cli.l2_collect:collect", "Write down what the cluster says, for check --facts."),
}
_REPORTING = ("scan", "check")  # whose JSON is an l2report


class Verbs(click.Group):
    """A group that imports a verb's module when it is used, and in which a mistake ends with exit status 2.

    1 would say that the cluster has a fault, and none was seen.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs, in the order in which people meet them."""
        del ctx
        return list(LAZY)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb, importing its module."""
        del ctx
        if cmd_name not in LAZY:
            return None
        module, _, attribute = LAZY[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs, importing none."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in LAZY.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; a mistake or a missing cluster is a line on stderr (and in the JSON), and status 2."""
        try:
            return super().invoke(ctx)
        except ProvisionerError as error:
            _end(ctx, str(error), getattr(error, "tail", ""), "inconclusive: " * isinstance(error, Inconclusive))
        except OSError as error:
            if error.filename is None:
                raise
            # A log or a file that cannot be written: the reader's folder, not a defect.
            _end(ctx, f"{error.filename}: {error.strerror}")


def _end(ctx: click.Context, message: str, tail: str = "", word: str = "") -> NoReturn:
    options = ctx.obj
    if options is not None and options.output == "json" and ctx.invoked_subcommand in _REPORTING:
        click.echo(redact(json.dumps(report.document(None, (), __version__, message), indent=2)))
    said = redact(f"{word}{message}")
    click.echo(runnable(said) if options is None else options.runnable(said), err=True)
    for line in redact(tail).splitlines():
        click.echo(f"  | {line}", err=True)
    ctx.exit(2)


@click.group(cls=Verbs)
def l2() -> None:
    """Who answers for an external IP, seen from the wire: find out why one does not answer.

    Questions are ARP requests and their IPv6 kin, which change nobody's neighbour cache. They need CAP_NET_RAW (the
    command to type is told), and a machine on the cluster's segment that is no node.
    """


@contextmanager
def progress(options: Options) -> Iterator[Callable[[str], None]]:
    """Give a function that shows what is being done, on a line that is gone afterwards; silent without a terminal."""
    if options.output == "json" or not sys.stderr.isatty():
        yield lambda text: None
        return
    try:
        yield lambda text: click.echo(f"\r\x1b[K{text} …", err=True, nl=False)
    finally:
        click.echo("\r\x1b[K", err=True, nl=False)


def writable(path: Path | None) -> None:
    """Raise ProvisionerError where a file's folder is not there: before the work, not after it."""
    if path is not None and not path.absolute().parent.is_dir():
        raise ProvisionerError(f"there is no folder {path.absolute().parent}", "make it, or choose another file")


interface_option = click.option(
    "--interface", default="", metavar="IF", help="Ask from this interface. [default: the segment's]"
)
no_zero_option = click.option(
    "--no-zero", is_flag=True, help="Do not ask from 0.0.0.0, for networks that inspect ARP."
)


def wire_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the verbs that ask on the wire and are done."""
    for option in (
        click.option(
            "--timeout",
            default=1.0,
            type=click.FloatRange(1, 60),
            show_default=True,
            help="Seconds to listen after the last question.",
        ),
        no_zero_option,
        click.option("--pps", default=200, type=click.IntRange(1, 500), show_default=True, help="Questions a second."),
        interface_option,
        click.option("--offline", is_flag=True, help="Do not ask the cluster; go by hosts.toml alone."),
        click.option(
            "--facts",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="What `l2 collect` wrote, instead of asking the cluster.",
        ),
    ):
        command = option(command)
    return command

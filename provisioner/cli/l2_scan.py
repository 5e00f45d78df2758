"""`provisioner l2 scan`: sweep addresses and show them as a table, a map in the terminal, SVG or JSON."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path

import click

from provisioner import __version__
from provisioner.cli import completing
from provisioner.cli.l2 import probe_options, progress, require_folder
from provisioner.cli.l2_collect import write
from provisioner.cli.l2_selection import Selection, cluster_options, output_option
from provisioner.cli.l2_sources import Source, open_source
from provisioner.cli.options import Options
from provisioner.errors import ProvisionerError
from provisioner.l2 import diagnosis, sweeping, targets, terminal
from provisioner.l2.probe.capture import Capture
from provisioner.l2.scan import picture, picture_svg, survey, table
from provisioner.l2.scan.survey import SweptAddress
from provisioner.redact import redact

CONFIRM_ABOVE = 1024  # addresses; at the default rate that is ten seconds


@click.command()
@click.argument("words", nargs=-1, metavar="[CIDR|RANGE|IP|pool:NAME]...", shell_complete=completing.pools)
@probe_options
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Also draw the map into this file.")
@click.option("-y", "--yes", is_flag=True, help=f"Sweep more than {CONFIRM_ABOVE} addresses without confirmation.")
@output_option
@cluster_options
@click.pass_obj
def scan(
    options: Options | None,
    words: tuple[str, ...],
    *,
    selection: Selection,
    interface: str,
    pps: int,
    no_zero: bool,
    timeout: float,
    svg: Path | None,
    yes: bool,
) -> None:
    """Sweep addresses and draw a map: who owns each, on which node and interface, and which have duplicate owners.

    The default is every known pool and external IP. With the cluster or --facts, it also shows each address's Service
    and whether the right node answers.

    Exit status: 0 no fault found, 1 a fault (duplicate owners, a foreign host in a pool, a wrong owner), 2
    inconclusive from here, or an error in the input.

    Example: provisioner l2 scan 192.168.56.200-192.168.56.230 --interface eth1
    """
    options = options or Options()
    require_folder(svg)
    with open_source(options, "l2-scan", selection) as source:
        with source.blame_missing_facts():
            sweep = targets.for_scan(words, source.facts)
        _confirm(len(sweep.ips), pps, yes)
        with progress(options) as show:
            show(f"probing {len(sweep.ips)} addresses, about {_duration(len(sweep.ips), pps)}")
            capture, addresses = sweeping.scan(
                source.facts, sweep.ips, interface, pps=pps, arp_probe=not no_zero, timeout=timeout
            )
        source.settle()
    if capture.dropped:
        source.problems.append(
            f"the kernel dropped {capture.dropped} frames here, so silence proves nothing; use a lower --pps"
        )
    if apart := diagnosis.diagnose_isolation(capture, source.facts):
        source.problems.append(apart.rstrip("."))
    if svg is not None:
        try:
            _draw(svg, capture, addresses)
        except ProvisionerError as error:  # the results are shown all the same
            source.problems.append(str(error))
    _show(options, capture, addresses, source, selection)
    for note in (*source.notes, *sweep.notes):
        click.echo(redact(f"note: {note}"), err=True)
    for line in source.problems:
        click.echo(redact(f"inconclusive: {line}"), err=True)
    sys.exit(2 if source.problems else survey.exit_status(addresses))


def _confirm(count: int, pps: int, yes: bool) -> None:
    """Ask for confirmation of a long sweep; refuse it if stdin is not a terminal."""
    if count <= CONFIRM_ABOVE or yes:
        return
    time = _duration(count, pps)
    if not sys.stdin.isatty():
        remedy = "use -y to sweep without confirmation"
        raise ProvisionerError(f"{count} addresses take {time}, and stdin is not a terminal", remedy)
    if not click.confirm(f"Probe {count} addresses ({time})?", err=True):
        raise ProvisionerError("nothing was sent")


def _duration(count: int, pps: int) -> str:
    seconds = count * 2 / pps + 1
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _show(
    options: Options, capture: Capture, addresses: tuple[SweptAddress, ...], source: Source, selection: Selection
) -> None:
    if options.output == "json":
        document = table.document(capture, addresses, __version__, "; ".join(source.problems))
        click.echo(redact(json.dumps(document, indent=2)))
        return
    tty = sys.stdout.isatty()
    color, width = terminal.use_color(os.environ, tty), terminal.columns(tty)
    parts = [
        table.render(addresses, color=color),
        picture.render(addresses, color=color, width=width),
        table.summary(addresses, options.runnable(f"provisioner l2 check {{}}{selection.words()}")),
    ]
    click.echo("\n\n".join(part for part in parts if part))


def _draw(path: Path, capture: Capture, addresses: tuple[SweptAddress, ...]) -> None:
    pools = {address.pool for address in addresses}
    first, last = str(addresses[0].ip), str(addresses[-1].ip)
    title = f"{first} to {last}" if first != last else first
    title += f" (pool {pools.pop()})" if len(pools) == 1 and "" not in pools else ""
    when = datetime.fromtimestamp(capture.started).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    subtitle = f"{len(addresses)} addresses, seen from {capture.vantage.interface} at {when}"
    write(path, picture_svg.render(addresses, title, subtitle))
    click.echo(f"{path}: the map", err=True)

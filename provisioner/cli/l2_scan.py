"""`provisioner l2 scan`: sweep addresses; a table, a map in the terminal, SVG, JSON."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner import __version__
from provisioner.cli import l2_sources
from provisioner.cli.l2 import progress, wire_options, writable
from provisioner.cli.l2_collect import write
from provisioner.cli.l2_sources import Source
from provisioner.cli.options import Options
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2 import check, diagnosis, owners, terminal
from provisioner.l2 import targets as words
from provisioner.l2.probe import interfaces
from provisioner.l2.probe.capture import Capture
from provisioner.l2.scan import picture, picture_svg, survey, table
from provisioner.l2.scan.survey import SweptAddress
from provisioner.l2.targets import Address
from provisioner.redact import redact

if TYPE_CHECKING:
    from collections.abc import Sequence


ASK_ABOVE = 1024  # addresses; at the default pace that is ten seconds


@click.command()
@click.argument("targets", nargs=-1, metavar="[CIDR|RANGE|IP|pool:NAME]...")
@wire_options
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Draw the map into this file too.")
@click.option("-y", "--yes", is_flag=True, help=f"Do not ask before more than {ASK_ABOVE} addresses.")
@click.pass_obj
def scan(
    options: Options | None,
    targets: tuple[str, ...],
    *,
    facts: Path | None,
    offline: bool,
    interface: str,
    pps: int,
    no_zero: bool,
    timeout: float,
    svg: Path | None,
    yes: bool,
) -> None:
    """Sweep addresses: who owns each, which node and network card, which have two owners. Draws a map.

    Without any: every pool and every external IP that is known. With the cluster (or --facts) it also says which
    service has an address, and whether the right node answers.

    Exit status: 0 no fault seen, 1 a fault (two owners, a stranger in a pool, a wrong owner), 2 it cannot be told
    from here, or a mistake in the input.

    Example: provisioner l2 scan 192.168.56.200-192.168.56.230 --interface eth1
    """
    options = options or Options()
    writable(svg)
    with l2_sources.opened(options, "l2-scan", facts, offline=offline) as source:
        with source.blamed():
            sweep = words.for_scan(targets, source.facts)
        _agree(len(sweep.ips), pps, yes)
        with progress(options) as tell:
            tell(f"asking for {len(sweep.ips)} addresses, about {_duration(len(sweep.ips), pps)}")
            capture, addresses = _swept(sweep.ips, source, interface, pps=pps, arp_probe=not no_zero, timeout=timeout)
    if capture.dropped:
        source.problems.append(
            f"the kernel dropped {capture.dropped} frames here, so silence proves nothing; use a lower --pps"
        )
    if svg is not None:
        try:
            _draw(svg, capture, addresses)
        except ProvisionerError as error:  # what was heard is shown all the same, as one document
            source.problems.append(str(error))
    _show(options, capture, addresses, source, facts)
    for note in (*source.notes, *sweep.notes):
        click.echo(redact(f"note: {note}"), err=True)
    for line in source.problems:
        click.echo(redact(f"inconclusive: {line}"), err=True)

    sys.exit(2 if source.problems else survey.exit_status(addresses))


def _agree(count: int, pps: int, yes: bool) -> None:
    """Ask before a long sweep; without a terminal to ask on, refuse."""
    if count <= ASK_ABOVE or yes:
        return
    took = _duration(count, pps)
    if not sys.stdin.isatty():
        raise ProvisionerError(f"{count} addresses would take {took}", "with -y they are asked for all the same")
    if not click.confirm(f"Ask for {count} addresses ({took})?", err=True):
        raise ProvisionerError("nothing was sent")


def _duration(count: int, pps: int) -> str:
    seconds = count * 2 / pps + 1
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _swept(
    ips: Sequence[Address], source: Source, name: str, *, pps: int, arp_probe: bool, timeout: float
) -> tuple[Capture, tuple[SweptAddress, ...]]:

    facts = source.facts
    interface = check.choose_interface(interfaces.read(), ips, facts, name)
    if facts is not None and (node := check.on_a_node(interfaces.vantage(interface), facts, ips)) is not None:
        raise Inconclusive(" ".join([*node.evidence, node.remedy]))
    external = words.services_by_ip(facts)
    used, others = [ip for ip in ips if ip in external], [ip for ip in ips if ip not in external]
    capture = check.probe_segment(facts, used, interface, pps=pps, arp_probe=arp_probe, timeout=timeout, others=others)
    source.settle()
    known = owners.from_facts(facts, capture.answers) if facts is not None else owners.NodeMacs()
    seen = survey.owners_by_address(capture, known)
    results = {}
    if wanted := survey.to_diagnose(capture, facts, ips):
        results = dict(zip(wanted, diagnosis.diagnose_all(capture, facts, wanted), strict=True))
    seen |= {ip: result.owners for ip, result in results.items()}
    return capture, survey.classify(ips, capture, facts, results, seen)


def _show(
    options: Options, capture: Capture, addresses: tuple[SweptAddress, ...], source: Source, facts: Path | None
) -> None:

    if options.output == "json":
        made = table.document(capture, addresses, __version__, "; ".join(source.problems))
        click.echo(redact(json.dumps(made, indent=2)))
        return
    tty = sys.stdout.isatty()
    color, width = terminal.use_color(os.environ, tty), terminal.columns(tty)
    known = f" --facts {shlex.quote(str(facts))}" if facts else ""
    parts = [
        table.render(addresses, color=color),
        picture.render(addresses, color=color, width=width),
        table.summary(addresses, options.runnable(f"provisioner l2 check {{}}{known}")),
    ]
    click.echo("\n\n".join(part for part in parts if part))


def _draw(path: Path, capture: Capture, addresses: tuple[SweptAddress, ...]) -> None:
    from datetime import datetime

    pools = {address.pool for address in addresses}
    first, last = str(addresses[0].ip), str(addresses[-1].ip)
    what = f"{first} to {last}" if first != last else first
    title = f"{what} (pool {pools.pop()})" if len(pools) == 1 and "" not in pools else what
    when = datetime.fromtimestamp(capture.started).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    write(
        path,
        picture_svg.render(
            addresses, title, f"{len(addresses)} addresses, seen from {capture.vantage.interface} at {when}"
        ),
    )
    click.echo(f"{path}: the map", err=True)

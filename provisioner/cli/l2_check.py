"""`provisioner l2 check`: a verdict for each address or service."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from provisioner import __version__
from provisioner.cli import l2_sources
from provisioner.cli.l2 import progress, wire_options
from provisioner.cli.l2_sources import Source
from provisioner.cli.options import Options
from provisioner.errors import Inconclusive
from provisioner.l2 import check as diagnosis
from provisioner.l2 import report, terminal
from provisioner.l2 import targets as words
from provisioner.l2.probe import interfaces
from provisioner.l2.probe.capture import Capture
from provisioner.l2.result import Result
from provisioner.redact import redact


@click.command()
@click.argument("targets", nargs=-1, metavar="[SERVICE|IP]...")
@wire_options
@click.pass_obj
def check(
    options: Options | None,
    targets: tuple[str, ...],
    *,
    facts: Path | None,
    offline: bool,
    interface: str,
    pps: int,
    no_zero: bool,
    timeout: float,
) -> None:
    """Say of each address whether it is right, and if not, why, with evidence and what to do.

    A SERVICE is namespace/name. Without any: every service of type LoadBalancer, those that wait for an address too.

    Exit status: 0 all well (warnings allowed), 1 a fault, 2 it cannot be told from here, or a mistake in the input.

    Example: provisioner l2 check default/web 192.168.56.201
    """
    options = options or Options()
    same = f" --facts {shlex.quote(str(facts))}" if facts else " --offline" if offline else ""
    same += f" --interface {shlex.quote(interface)}" if interface else ""
    same += " --no-zero" * no_zero
    same += f" --timeout {timeout:g}" if timeout != 1 else ""
    with l2_sources.opened(options, "l2-check", facts, offline=offline) as source:
        with source.blamed():
            wanted = words.for_check(targets, source.facts)
        try:
            place = (
                diagnosis.choose_interface(interfaces.read(), wanted.ips, source.facts, interface)
                if wanted.ips
                else None
            )
        except Inconclusive as error:
            results = diagnosis.off_segment(error, source.facts, wanted)
            _finish(options, None, _retyped(results, options, same), source)
        with progress(options) as tell:
            capture, results = diagnosis.run(
                source.facts,
                wanted,
                place,
                metrics=source.metrics,
                pps=pps,
                arp_probe=not no_zero,
                timeout=timeout,
                progress=tell,
            )
        source.settle()
        _finish(options, capture, _retyped(results, options, same), source)


def _retyped(results: Sequence[Result], options: Options, same: str) -> tuple[Result, ...]:
    """Return the results with commands that work here too: of the same hosts.toml; a check with the `same` options."""

    def again(command: str) -> str:
        return options.runnable(f"{command}{same}" if command.startswith("provisioner l2 check") else command)

    return tuple(replace(result, command=again(result.command)) for result in results)


def _finish(options: Options, capture: Capture | None, results: tuple[Result, ...], source: Source) -> None:
    """Print what was found and exit; what could not be read is never all well."""
    problem = "; ".join(source.problems)
    if options.output == "json":
        made = report.document(capture, results, __version__, problem)
        click.echo(redact(json.dumps(made, indent=2)))
    else:
        tty = sys.stdout.isatty()
        color, width = terminal.use_color(os.environ, tty), min(terminal.columns(tty), 100)
        click.echo(redact(report.render(results, color=color, width=width)))
    for note in source.notes:
        click.echo(redact(f"note: {note}"), err=True)
    for line in source.problems:
        click.echo(redact(f"inconclusive: {line}"), err=True)
    sys.exit(2 if source.problems else report.exit_status(results))

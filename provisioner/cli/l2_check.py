"""`provisioner l2 check`: a verdict for each address or Service."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

import click

from provisioner import __version__
from provisioner.cli.l2 import probe_options, progress
from provisioner.cli.l2_selection import Selection, cluster_options, output_option
from provisioner.cli.l2_sources import Source, open_source
from provisioner.cli.options import Options
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2 import report, targets, terminal
from provisioner.l2.check import choose_interface, off_segment, run
from provisioner.l2.probe import interfaces
from provisioner.l2.probe.capture import Address, Capture
from provisioner.l2.probe.sequence import ATTEMPTS
from provisioner.l2.result import Result
from provisioner.redact import redact


@click.command()
@click.argument("words", nargs=-1, metavar="[SERVICE|IP]...")
@probe_options
@click.option(
    "--attempts",
    default=ATTEMPTS,
    type=click.IntRange(1, 100),
    show_default=True,
    help="Connections to each port of a Service.",
)
@click.option("--via", metavar="GATEWAY", help="Also connect through this router, and compare.")
@output_option
@cluster_options
@click.pass_obj
def check(
    options: Options | None,
    words: tuple[str, ...],
    *,
    selection: Selection,
    interface: str,
    pps: int,
    no_zero: bool,
    timeout: float,
    attempts: int,
    via: str | None,
) -> None:
    """Diagnose external IPs: a verdict for each address, with evidence and a remedy.

    A SERVICE is namespace/name; api is the API's own address. The default is every Service of type LoadBalancer,
    including pending ones.

    Exit status: 0 all OK (warnings allowed), 1 a fault, 2 inconclusive from here, or an error in the input.

    Example: provisioner l2 check default/web 192.168.56.201
    """
    options = options or Options()
    same = selection.words()
    same += f" --interface {shlex.quote(interface)}" if interface else ""
    same += " --no-zero" * no_zero
    same += f" --timeout {timeout:g}" if timeout != 1 else ""
    same += f" --attempts {attempts}" if attempts != ATTEMPTS else ""
    same += f" --via {shlex.quote(via)}" if via is not None else ""
    router = _router(via) if via is not None else None
    with open_source(options, "l2-check", selection) as source:
        with source.blame_missing_facts():
            words, source.facts = targets.with_api(words, source.facts)
            wanted = targets.for_check(words, source.facts)
        try:
            machine = interfaces.read() if wanted.ips else ()
            here = choose_interface(machine, wanted.ips, source.facts, interface) if wanted.ips else None
        except Inconclusive as error:
            results = off_segment(error, source.facts, wanted)
            _finish(options, None, _runnable(results, options, same), source)
        if here is not None:
            targets.refuse_unusable(wanted.ips, source.facts, here.subnets, interfaces.own_addresses(machine))
        with progress(options) as show:
            capture, results = run(
                source.facts,
                wanted,
                here,
                metrics=source.metrics,
                pps=pps,
                arp_probe=not no_zero,
                timeout=timeout,
                attempts=attempts,
                via=router,
                progress=show,
            )
        source.settle()
        _finish(options, capture, _runnable(results, options, same), source)


def _router(text: str) -> Address:
    """Return the router's address; raise ProvisionerError for anything else."""
    try:
        found = ip_address(text)
    except ValueError:
        found = None
    if found is None or found.is_multicast or found.is_unspecified or found.is_loopback:
        raise ProvisionerError(f"--via {text!r} is not the address of a router", "see: ip route show default")
    return found


def _runnable(results: Sequence[Result], options: Options, same: str) -> tuple[Result, ...]:
    """Return the results with commands that work here: for this hosts.toml, and a check with the `same` options."""

    def rewrite(command: str) -> str:
        return options.runnable(f"{command}{same}" if command.startswith("provisioner l2 check") else command)

    return tuple(replace(result, command=rewrite(result.command)) for result in results)


def _finish(options: Options, capture: Capture | None, results: tuple[Result, ...], source: Source) -> None:
    """Print the results and exit, with status 2 if facts could not be read."""
    problem = "; ".join(source.problems)
    if options.output == "json":
        document = report.document(capture, results, __version__, problem)
        click.echo(redact(json.dumps(document, indent=2)))
    else:
        tty = sys.stdout.isatty()
        color, width = terminal.use_color(os.environ, tty), min(terminal.columns(tty), 100)
        click.echo(redact(report.render(results, color=color, width=width)))
    for note in source.notes:
        click.echo(redact(f"note: {note}"), err=True)
    for line in source.problems:
        click.echo(redact(f"inconclusive: {line}"), err=True)
    sys.exit(2 if source.problems else report.exit_status(results))

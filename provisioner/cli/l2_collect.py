"""`provisioner l2 collect`: the cluster's side of a diagnosis, in a file for another machine or another person."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from provisioner.cli.options import Options
from provisioner.cli.session import open_session
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2 import facts_file
from provisioner.l2.collect import collector as collecting
from provisioner.l2.collect.collector import with_metrics_after
from provisioner.l2.facts import Facts, Metrics
from provisioner.redact import redact


@click.command()
@click.option("-o", "--output", "file", required=True, metavar="FILE", help="Where to; - is the standard output.")
@click.option("--again", is_flag=True, help="After a check with FILE: add to it what the speakers have counted since.")
@click.pass_obj
def collect(options: Options | None, *, file: str, again: bool) -> None:
    """Write down what nodes, MetalLB, kube-proxy and services say of themselves, for `check --facts FILE`.

    Asks the API and, over SSH, the nodes for their network cards. It holds names, addresses and labels, no secrets;
    it is also what to attach to a question.

    Whether questions reach a node, and answers leave it, is told by what its speaker counts while they are asked. A
    check elsewhere cannot read that: collect, check there, collect --again, and check once more.

    Exit status: 0 written, 2 the cluster could not be asked.

    Example: provisioner l2 collect -o cluster.json
    """
    options = options or Options()
    if again and file == "-":
        raise click.UsageError("--again adds to a file: name the one that the check was given")
    earlier = facts_file.load(Path(file)) if again else None
    with open_session(options, "l2-collect") as session:
        notes: list[str] = []
        if earlier is None:
            facts = collecting.from_cluster(session.cluster, session.hosts, session.site, note=notes.append)
        else:
            now = collecting.metrics(session.cluster, session.hosts, note=notes.append)
            facts = _counted_since(earlier, now, notes)
        session.report.emit("idle")
        gone = notes and not session.cluster.reachable()
    for note in notes:
        click.echo(redact(f"note: {note}"), err=True)
    text = facts_file.dump(facts)
    if file == "-":
        click.echo(text.rstrip("\n"))
    else:
        write(Path(file), text)
        services = "unknown" if facts.services is None else len(facts.services)
        click.echo(f"{file}: nodes: {len(facts.nodes)}, services of type LoadBalancer: {services}", err=True)
        following = options.runnable(f"provisioner l2 check --facts {shlex.quote(file)}")
        click.echo(f"next, on a machine of the segment: {following}", err=True)
    if gone:
        click.echo("inconclusive: the cluster was lost in the middle; what is missing is unknown", err=True)
        sys.exit(2)


def _counted_since(earlier: Facts, now: Metrics | None, notes: Sequence[str]) -> Facts:
    """Return the facts of before a check with the counters of after it."""
    if earlier.metrics is None or now is None:
        when = "when the file was written" if earlier.metrics is None else "now"
        why = "".join(f" ({note})" for note in notes)
        raise Inconclusive(f"no speaker showed its counters {when}{why}", "the file was left as it is")
    return with_metrics_after(earlier, now)


def write(path: Path, text: str) -> None:
    """Write a file as a whole or not at all, readable by its owner alone: it describes somebody's network."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ProvisionerError(f"cannot write {path}: {error.strerror}", "name a file in a folder of yours") from error
    made = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened_file:
            opened_file.write(text)
            opened_file.flush()
            os.fsync(opened_file.fileno())
        made.replace(path)
    except OSError as error:
        made.unlink(missing_ok=True)
        raise ProvisionerError(f"cannot write {path}: {error.strerror}", "look at the disk and the path") from error

"""`provisioner l2 collect`: the cluster's facts in a file, for another machine or another person."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from provisioner.cli.l2_selection import Selection, cluster_options, missing_kubeconfig
from provisioner.cli.l2_sources import open_cluster
from provisioner.cli.options import Options
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.kube import ApiState
from provisioner.l2 import facts_file
from provisioner.l2.collect import collector
from provisioner.l2.facts import Facts, Metrics
from provisioner.redact import redact


@click.command()
@click.option("-o", "--output", "file", required=True, metavar="FILE", help="Write to this file; - for stdout.")
@click.option("--again", is_flag=True, help="After a check with FILE, add the speakers' counters since then to it.")
@cluster_options
@click.pass_obj
def collect(options: Options | None, *, file: str, again: bool, selection: Selection) -> None:
    """Save the facts about nodes, MetalLB, kube-proxy and Services for `check --facts FILE`.

    It reads the API and, with hosts.toml, the nodes' interfaces over SSH. The file contains names, addresses and
    labels, no secrets. Attach it when you ask for help.

    The speakers' counters show whether requests reach a node and replies leave it. A check on another machine cannot
    read them: collect, check there, collect --again, and check again.

    Exit status: 0 written, 2 the cluster could not be read.

    Example: provisioner l2 collect -o cluster.json
    """
    options = options or Options()
    if again and file == "-":
        raise click.UsageError("--again adds to a file: give the one that the check used")
    earlier = facts_file.load(Path(file)) if again else None
    with open_cluster(options, "l2-collect", selection) as opened:
        if opened is None:
            raise Inconclusive(
                "there is no cluster to read: neither hosts.toml nor a kubeconfig", missing_kubeconfig()
            )
        if opened.cluster.state() is ApiState.ABSENT:
            raise Inconclusive("there is no cluster yet", "provisioner status")
        notes: list[str] = []
        if earlier is None:
            facts = collector.from_cluster(opened.cluster, opened.hosts, opened.site, note=notes.append)
        else:
            now = collector.metrics(opened.cluster, opened.hosts, note=notes.append)
            facts = _counted_since(earlier, now, notes)
        opened.settle()
        unreachable = notes and not opened.cluster.reachable()
    for note in notes:
        click.echo(redact(f"note: {note}"), err=True)
    text = facts_file.dump(facts)
    if file == "-":
        click.echo(text.rstrip("\n"))
    else:
        write(Path(file), text)
        services = "unknown" if facts.services is None else len(facts.services)
        click.echo(f"{file}: nodes: {len(facts.nodes)}, Services of type LoadBalancer: {services}", err=True)
        command = options.runnable(f"provisioner l2 check --facts {shlex.quote(file)}")
        click.echo(f"next, on a machine on the segment: {command}", err=True)
    if unreachable:
        click.echo("inconclusive: lost the cluster during the run; some facts are missing", err=True)
        sys.exit(2)


def _counted_since(earlier: Facts, now: Metrics | None, notes: Sequence[str]) -> Facts:
    """Return the facts from before a check with the counters from after it."""
    if earlier.metrics is None or now is None:
        when = "when the file was written" if earlier.metrics is None else "now"
        why = "".join(f" ({note})" for note in notes)
        raise Inconclusive(f"no speaker's counters could be read {when}{why}", "the file is unchanged")
    return collector.with_metrics_after(earlier, now)


def write(path: Path, text: str) -> None:
    """Write a file atomically with mode 0600, because it describes a network."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ProvisionerError(f"cannot write {path}: {error.strerror}", "choose a writable folder") from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened_file:
            opened_file.write(text)
            opened_file.flush()
            os.fsync(opened_file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ProvisionerError(f"cannot write {path}: {error.strerror}", "check the disk and the path") from error

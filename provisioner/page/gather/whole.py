"""The whole report, part by part, in the order in which one part needs another."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from provisioner import __version__
from provisioner.errors import ProvisionerError
from provisioner.kube import ApiState, Cluster
from provisioner.l2.collect.offline import site_facts
from provisioner.page.document import (
    Certificates,
    Checks,
    Document,
    Drift,
    Failovers,
    Nodes,
    Segment,
    Source,
    Versions,
    mapped,
)
from provisioner.page.gather import cluster_side, failovers, findings, hosts_side, segment
from provisioner.page.gather.earlier import Earlier, Saved
from provisioner.page.gather.parts import Context
from provisioner.redact import redact
from provisioner.site import Site

T = TypeVar("T")
PARTS = ("segment", "checks", "drift")  # those that take long enough to be left out


@dataclass(frozen=True)
class Wishes:
    """What to gather. skip: of PARTS; since: Unix time from which on past events are shown; db: the guard's file.

    runnable: makes the commands in texts such as can be run here. begin: called with each part's name and purpose.
    """

    earlier: Earlier = field(default_factory=Earlier)
    skip: Collection[str] = ()
    since: float = 0.0
    db: Path = Path(".provisioner/guard.sqlite")
    runnable: Callable[[str], str] = lambda text: text
    begin: Callable[[str, str], None] = field(default=lambda part, purpose: None)


def gather(context: Context, wishes: Wishes) -> Document:
    """Return the report of a cluster as it is now. Raises ProvisionerError only for malformed earlier files."""
    skip, begin = wishes.skip, wishes.begin
    made = _from_files(context.site, wishes)
    begin("nodes", "nodes, pools and versions, from the API")
    context = replace(context, problem=_api_problem(context.cluster))
    notes: list[str] = []
    facts, source = segment.facts_of(context, notes.append)
    nodes = cluster_side.nodes(context)
    made = replace(
        made,
        problem=context.problem,
        nodes=nodes,
        pools=cluster_side.pools(facts, context.site, source),
        versions=cluster_side.versions(context, nodes),
    )
    begin("certificates", "certificates, from every host")
    made = replace(made, certificates=hosts_side.certificates(context))
    if wishes.earlier.segment is None and "segment" not in skip:
        begin("segment", "who answers for which address, from the segment")
        known = facts or site_facts(context.site)
        made = replace(made, segment=segment.sweep(context, known, tuple(notes)))
    if "checks" not in skip:
        begin("checks", "the checks of verify that change nothing")
        made = replace(made, checks=findings.run(context, wishes.earlier.verify))
    if wishes.earlier.drift is None and "drift" not in skip:
        begin("drift", "what differs from hosts.toml")
        made = replace(made, drift=hosts_side.drift(context))
    return _clean(made, wishes)


def from_files(site: Site, wishes: Wishes) -> Document:
    """Return what hosts.toml and the files of earlier commands say, without contacting anything."""
    return _clean(_from_files(site, replace(wishes, skip=())), wishes)


def _from_files(site: Site, wishes: Wishes) -> Document:
    """Return the report with the parts that files have; the others are left out."""
    earlier, off = wishes.earlier, Source("skipped", why="left out by --offline")

    def left_out(part: str) -> Source:
        return Source("skipped", why=f"left out by --skip {part}") if part in wishes.skip else off

    return Document(
        cluster=site.cluster.name,
        taken=time.time(),
        machine=platform.node(),
        version=__version__,
        kubernetes=str(site.version),
        endpoint=site.endpoint,
        hosts=len(site.hosts),
        nodes=Nodes(off),
        segment=(
            _from_file(earlier.segment, segment.earlier_segment)
            if earlier.segment is not None
            else Segment(left_out("segment"))
        ),
        pools=cluster_side.pools(None, site, off),
        checks=findings.only_earlier(earlier.verify) if earlier.verify else Checks(left_out("checks")),
        versions=Versions(off),
        certificates=Certificates(off),
        drift=(
            _from_file(earlier.drift, hosts_side.earlier_drift)
            if earlier.drift is not None
            else Drift(left_out("drift"))
        ),
        failovers=_past(wishes),
    )


def _clean(document: Document, wishes: Wishes) -> Document:
    """Return the document without secrets and control characters, and with commands that can be run here."""
    return mapped(document, lambda text: wishes.runnable(redact(text)))


def _api_problem(cluster: Cluster) -> str:
    try:
        state = cluster.state()
    except ProvisionerError as error:  # no control plane can be logged in to, so nothing is known of an API
        return str(error)
    if state is ApiState.READY:
        return ""
    return cluster.api_error if state is ApiState.UNREACHABLE else "there is no cluster yet"


def _past(wishes: Wishes) -> Failovers:
    earlier = wishes.earlier
    files = [*earlier.watched, *([earlier.history] if earlier.history else [])]
    try:
        return failovers.failovers(earlier.watched, earlier.history, wishes.db, wishes.since)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _malformed(", ".join(one.file for one in files), error) from error


def _from_file(saved: Saved, make: Callable[[Saved], T]) -> T:
    try:
        return make(saved)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _malformed(saved.file, error) from error


def _malformed(files: str, error: Exception) -> ProvisionerError:
    why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return ProvisionerError(f"{files}: is not what the command prints: {why}", "run the command again with -o json")

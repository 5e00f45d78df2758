"""Where the cluster's facts come from: a facts file, the cluster itself, hosts.toml, or nowhere (l2_selection.py).

Without the cluster the segment can still be probed; missing facts are reported, and never taken for "no".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioner.cli.l2_selection import Selection, missing_kubeconfig
from provisioner.cli.options import Options
from provisioner.cli.session import open_session
from provisioner.errors import ClusterError, Inconclusive, ProvisionerError
from provisioner.kube import ApiState, ClusterView
from provisioner.l2 import facts_doubts, facts_file
from provisioner.l2.collect import collector
from provisioner.l2.collect.offline import site_facts
from provisioner.l2.facts import Facts, Metrics
from provisioner.site import load_site
from provisioner.ssh import Host

if TYPE_CHECKING:
    from provisioner.site import Site


@dataclass(frozen=True)
class OpenCluster:
    """A cluster to read. hosts: reached over SSH, None without; name: of a kubeconfig's context, for messages."""

    cluster: ClusterView
    hosts: Mapping[str, Host] | None = None
    site: Site | None = None
    name: str = ""
    settle: Callable[[], None] = lambda: None


@dataclass
class Source:
    """The cluster's facts. facts: None if nothing is known. notes: what is missing without being a fault.

    problems: what should have been read but could not; with any, the exit status is 2. metrics: reads the speakers'
    counters, None without a cluster. settle: clears the live line before output is printed.
    """

    facts: Facts | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    metrics: Callable[[], Metrics | None] | None = None
    settle: Callable[[], None] = lambda: None

    @contextmanager
    def blame_missing_facts(self) -> Iterator[None]:
        """Replace an error about an argument by the reason why facts are missing, if they are."""
        try:
            yield
        except ProvisionerError as error:
            if self.problems:
                raise Inconclusive("; ".join(self.problems)) from error
            raise

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes:
            self.notes.append(text)


@contextmanager
def open_cluster(options: Options, command: str, selection: Selection) -> Iterator[OpenCluster | None]:
    """Provide the cluster that is asked about; None if there is neither hosts.toml nor a kubeconfig."""
    if selection.site(options):
        with open_session(options, command) as session:
            yield OpenCluster(session.cluster, session.hosts, session.site, settle=lambda: session.report.emit("idle"))
        return
    kubeconfig = selection.load_kubeconfig()
    if kubeconfig is None:
        yield None
        return
    cluster = ClusterView.of_kubeconfig(kubeconfig)
    name = f"context {kubeconfig.context} of {kubeconfig.files} ({kubeconfig.server})"
    try:
        yield OpenCluster(cluster, name=name)
    finally:
        cluster.disconnect()


@contextmanager
def open_source(options: Options, command: str, selection: Selection) -> Iterator[Source]:
    """Provide the cluster's facts, from the source that is selected; offline, from hosts.toml alone.

    Raises ProvisionerError for an invalid file; an unreachable cluster is added to `problems`.
    """
    if selection.facts is not None:
        facts = facts_file.load(selection.facts)
        yield Source(facts, notes=list(facts_doubts.doubts(facts)))
        return
    if selection.offline:
        if selection.site(options):
            yield Source(site_facts(load_site(options.file)), notes=["the cluster was not contacted (--offline)"])
        else:
            yield Source(notes=["no cluster was contacted (--offline), and there is no hosts.toml"])
        return
    with open_cluster(options, command, selection) as opened:
        if opened is None:
            without = "no kubeconfig" if options.plugin else "neither hosts.toml nor a kubeconfig"
            yield Source(notes=[f"{without}, so nothing is known about the cluster; {missing_kubeconfig()}"])
            return
        source = _cluster_source(opened)
        if opened.name and not selection.explicit and not source.problems:
            source.note(f"the cluster is {opened.name}")
        source.settle()
        yield source


def _cluster_source(opened: OpenCluster) -> Source:
    source = Source(settle=opened.settle)
    hosts = opened.hosts
    known = site_facts(opened.site) if opened.site is not None else None
    try:
        state = opened.cluster.state()
        if state is ApiState.ABSENT:
            source.facts = known
            source.note("there is no cluster yet, so only hosts.toml is known")
            return source
        if state is ApiState.UNREACHABLE:
            raise ClusterError(opened.cluster.api_error or "the API does not answer")
        source.facts = collector.from_cluster(opened.cluster, hosts, opened.site, metrics=False, note=source.note)
    except ProvisionerError as error:
        source.facts = known
        where = f" ({opened.name}; --offline probes without it)" if opened.name else ""
        source.problems.append(f"cannot read the cluster{where}: {error}")
        return source

    def metrics() -> Metrics | None:
        if source.problems:
            return None  # do not wait again for a cluster that is gone
        try:
            return collector.metrics(opened.cluster, hosts, note=source.note)
        except ProvisionerError as error:
            # The replies on the segment are still worth showing.
            source.problems.append(f"lost the cluster during the run: {error}")
            return None

    source.metrics = metrics
    return source

"""Where the cluster's facts come from: a facts file, the cluster itself, hosts.toml, or nowhere.

Without the cluster the segment can still be probed; missing facts are reported, and never taken for "no".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.cli.options import Options
from provisioner.cli.session import Session, open_session
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.kube import ApiState
from provisioner.l2 import facts_file
from provisioner.l2.collect import collector
from provisioner.l2.facts import Facts, Metrics, Node, Pool
from provisioner.site import Site, load_site

DEFAULT = Path("hosts.toml")


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
def open_source(
    options: Options, command: str, file: Path | None = None, *, offline: bool = False
) -> Iterator[Source]:
    """Provide the cluster's facts: from `file`, else from the cluster of hosts.toml, else from hosts.toml alone.

    offline: do not contact the cluster. Raises ProvisionerError for an invalid file; an unreachable cluster is added
    to `problems`.
    """
    if file is not None:
        yield Source(facts_file.load(file))
        return
    if options.file == DEFAULT and not options.file.exists():
        yield Source(notes=["neither --facts nor hosts.toml, so nothing is known about the cluster"])
        return
    if offline:
        yield Source(site_facts(load_site(options.file)), notes=["the cluster was not contacted (--offline)"])
        return

    with open_session(options, command) as session:
        source = _cluster_source(session)
        source.settle()
        yield source


def _cluster_source(session: Session) -> Source:
    source = Source(settle=lambda: session.report.emit("idle"))
    try:
        state = session.cluster.state()
        if state is ApiState.ABSENT:
            source.facts = site_facts(session.site)
            source.note("there is no cluster yet, so only hosts.toml is known")
            return source
        if state is ApiState.UNREACHABLE:
            raise ProvisionerError(session.cluster.api_error or "the API does not answer")
        source.facts = collector.from_cluster(
            session.cluster, session.hosts, session.site, metrics=False, note=source.note
        )
    except ProvisionerError as error:
        source.facts = site_facts(session.site)
        source.problems.append(f"cannot read the cluster: {error}")
        return source

    def metrics() -> Metrics | None:
        if source.problems:
            return None  # do not wait again for a cluster that is gone
        try:
            return collector.metrics(session.cluster, session.hosts, note=source.note)
        except ProvisionerError as error:
            # The replies on the segment are still worth showing.
            source.problems.append(f"lost the cluster during the run: {error}")
            return None

    source.metrics = metrics
    return source


def site_facts(site: Site) -> Facts:
    """Return the facts in hosts.toml: the nodes' addresses and the pools. All others are unknown."""
    return Facts(
        nodes=tuple(Node(name=host.name, internal_ips=(host.address,)) for host in site.hosts),
        pools=tuple(
            Pool(
                name=pool.name,
                addresses=pool.addresses,
                auto_assign=pool.auto_assign,
                avoid_buggy_ips=pool.avoid_buggy_ips,
            )
            for pool in site.metallb.pools
        ),
    )

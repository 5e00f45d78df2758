"""Where the cluster's side of a diagnosis comes from: a facts file, the cluster itself, hosts.toml, or nowhere.

Without the cluster the wire can still be asked; what is missing then is said, and never taken for "no".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.cli import session as sessions
from provisioner.cli.options import Options
from provisioner.cli.session import Session
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.kube import ApiState
from provisioner.l2 import facts_file
from provisioner.l2.collect import collector
from provisioner.l2.facts import Facts, Metrics, Node, Pool
from provisioner.site import Site, load_site

DEFAULT = Path("hosts.toml")


@dataclass
class Source:
    """The cluster's side. facts: None when nothing is known. notes: what is left out, and that this is no fault.

    problems: what could not be read although it should have been; with one, a run is never all well. metrics: reads
    the speakers' counters now, None where there is nobody to ask. settle: clears a live line before one is printed.
    """

    facts: Facts | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    metrics: Callable[[], Metrics | None] | None = None
    settle: Callable[[], None] = lambda: None

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Let a word that means nothing for want of facts end with the reason why they are missing."""
        try:
            yield
        except ProvisionerError as error:
            if self.problems:
                raise Inconclusive("; ".join(self.problems)) from error
            raise

    def note(self, text: str) -> None:
        """Keep a note, once."""
        if text not in self.notes:
            self.notes.append(text)


@contextmanager
def opened(options: Options, command: str, file: Path | None = None, *, offline: bool = False) -> Iterator[Source]:
    """Give the cluster's side: from `file`, else from the cluster of hosts.toml, else from hosts.toml alone.

    offline: do not ask the cluster. Raises ProvisionerError for a broken file; a cluster that does not answer is
    told in `problems`.
    """
    if file is not None:
        yield Source(facts_file.load(file))
        return
    if options.file == DEFAULT and not options.file.exists():
        yield Source(notes=["there is neither --facts nor hosts.toml, so nothing is known of the cluster"])
        return
    if offline:
        yield Source(of_site(load_site(options.file)), notes=["the cluster was not asked (--offline)"])
        return

    with sessions.open_session(options, command) as session:
        source = _online(session)
        source.settle()
        yield source


def _online(session: Session) -> Source:

    source = Source(settle=lambda: session.report.emit("idle"))
    try:
        state = session.cluster.state()
        if state is ApiState.ABSENT:
            source.facts = of_site(session.site)
            source.note("there is no cluster yet, so it is only known what hosts.toml says")
            return source
        if state is ApiState.UNREACHABLE:
            raise ProvisionerError(session.cluster.api_error or "the API does not answer")
        source.facts = collector.from_cluster(
            session.cluster, session.hosts, session.site, metrics=False, note=source.note
        )
    except ProvisionerError as error:
        source.facts = of_site(session.site)
        source.problems.append(f"the cluster could not be asked: {error}")
        return source

    def metrics() -> Metrics | None:
        if source.problems:
            return None  # it is gone, and would be waited for once more
        try:
            return collector.metrics(session.cluster, session.hosts, note=source.note)
        except ProvisionerError as error:
            # What was heard on the wire is still worth showing.
            source.problems.append(f"the cluster was lost in the middle: {error}")
            return None

    source.metrics = metrics
    return source


def of_site(site: Site) -> Facts:
    """Return what hosts.toml alone tells: the nodes' addresses and the pools. Everything else is unknown."""
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

"""What a step is: a generator that reads facts and yields only the changes that are missing.

Plan, apply and the check after an apply drain the same generators. A plan never calls `Change.do`; an apply
calls it as soon as the change is yielded; afterwards a step that still yields something has not converged. What
can only be seen from outside the hosts is a step's proof: an apply looks at it, a plan does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from provisioner.kube import Cluster
from provisioner.site import HostSpec, Site
from provisioner.ssh import FactQuery, Host


@dataclass(frozen=True)
class Change:
    """One thing to do: a sentence for people, a thunk, and a unified diff without any secret in it.

    waits: it only waits for what others do, so that it may be needed again a moment later.
    """

    summary: str
    do: Callable[[], None] = field(repr=False)
    diff: str = ""
    waits: bool = False


class Scope(Enum):
    """Where a step runs: on which hosts, or once for the cluster (its host is then the first control plane)."""

    ALL = "every host"
    FIRST = "the first control plane"
    JOINING = "every host but the first control plane"
    NFS_SERVER = "the NFS server"
    CLUSTER = "the cluster"

    def hosts(self, site: Site) -> tuple[HostSpec, ...]:
        """Return the hosts that a step of this scope visits, in the order of hosts.toml."""
        if self is Scope.ALL:
            return site.hosts
        if self is Scope.JOINING:
            return tuple(host for host in site.hosts if host.name != site.first.name)
        if self is Scope.NFS_SERVER:
            return (site.nfs_server,)
        return (site.first,)


@dataclass(frozen=True)
class Step:
    """A named stretch of the road.

    changes: the generator `(host, cluster, site) -> Iterator[Change]`.
    query: the facts it reads of a host, for a given site.
    after: names of earlier steps without whose changes a plan of this step would be a guess; while one of them
        has changes pending, a plan says "after: STEP".
    reads_only: the step looks and refuses but never changes anything (preflight).
    enabled: whether the site wants the step at all.
    only_on: names of hosts, where only these of the scope's are visited; empty for all of them.
    proof: looks from outside whether the step's work does what it is for, after every apply, changed or not; the
        sentences are shown, and what it raises stops the run. A sentence may say that nothing can be told from here.
    """

    name: str
    summary: str
    scope: Scope
    changes: Callable[[Host, Cluster, Site], Iterator[Change]]
    query: Callable[[Site], FactQuery] = lambda site: FactQuery()
    after: tuple[str, ...] = ()
    reads_only: bool = False
    enabled: Callable[[Site], bool] = lambda site: True
    only_on: tuple[str, ...] = ()
    proof: Callable[[Host, Cluster, Site], Iterable[str]] = lambda host, cluster, site: ()

"""A step: a generator that reads facts and yields only the changes that are missing.

Plan, apply, and the verification after an apply drain the same generators. A plan never calls `Change.do`; an apply
calls it as soon as the change is yielded; a step that still yields changes afterwards has not converged. What is
visible only from outside the hosts belongs in a step's proof, which an apply runs and a plan does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from provisioner.kube import Cluster
from provisioner.ssh import FactQuery, Host

if TYPE_CHECKING:
    from provisioner.site import HostSpec, Site


@dataclass(frozen=True)
class Change:
    """One thing to do: a one-line summary, a callable, and a unified diff without secrets.

    waits: the change only waits for something that others do, so it may become pending again at any time.
    by_hand: what a person has to do about a difference that no apply settles, because it is not ours to decide; an
        apply then leaves `do` uncalled. Empty for all others.
    """

    summary: str
    do: Callable[[], None] = field(repr=False)
    diff: str = ""
    waits: bool = False
    by_hand: str = ""


class Scope(Enum):
    """Where a step runs: on which hosts, or once for the cluster (then on the first control plane)."""

    ALL = "every host"
    FIRST = "the first control plane"
    CONTROL_PLANES = "the control planes"
    JOINING = "every host but the first control plane"
    NFS_SERVER = "the NFS server"
    CLUSTER = "the cluster"

    def hosts(self, site: Site) -> tuple[HostSpec, ...]:
        """Return the hosts that a step of this scope runs on, in the order of hosts.toml."""
        if self is Scope.ALL:
            return site.hosts
        if self is Scope.CONTROL_PLANES:
            return site.control_planes
        if self is Scope.JOINING:
            return tuple(host for host in site.hosts if host.name != site.first.name)
        if self is Scope.NFS_SERVER:
            return (site.nfs_server,)
        return (site.first,)


@dataclass(frozen=True)
class Step:
    """A named part of an apply.

    changes: the generator `(host, cluster, site) -> Iterator[Change]`.
    query: the facts that it reads, for a given site.
    after: names of the earlier steps without which this step may not be possible to look at. A plan looks anyway, and
        shows "after: STEP" only if it gets no answer (NotYet, ApiUnreachable) and one of them is not done.
    undone_by: names of the earlier steps whose changes make what is seen now meaningless, as a reset does to what a
        host has; while one of them has pending changes, a plan does not look.
    reads_only: the step checks and refuses but never yields a change (preflight).
    enabled: whether the site uses the step at all.
    validate: raises ProvisionerError for a mistake that can be seen without any host, such as a file that is missing.
    only_on: names of hosts that restrict the scope; empty for no restriction.
    proof: verifies from outside the hosts that the step serves its purpose, after every apply, changed or not. Its
        sentences are shown (one may say that the vantage point allows no conclusion); an exception stops the run.
    """

    name: str
    summary: str
    scope: Scope
    changes: Callable[[Host, Cluster, Site], Iterator[Change]]
    query: Callable[[Site], FactQuery] = lambda site: FactQuery()
    after: tuple[str, ...] = ()
    undone_by: tuple[str, ...] = ()
    reads_only: bool = False
    enabled: Callable[[Site], bool] = lambda site: True
    validate: Callable[[Site], object] = lambda site: None
    only_on: tuple[str, ...] = ()
    proof: Callable[[Host, Cluster, Site], Iterable[str]] = lambda host, cluster, site: ()

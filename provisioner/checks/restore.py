"""Restore what a check changed, for every check that changes something: outlast an API outage, report a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from provisioner.errors import ClusterError, ProvisionerError
from provisioner.kube import Cluster

PATIENCE = 180.0  # seconds, scaled: a control plane that restarts is back within one or two minutes
APPLY = "provisioner apply restores it"


class NotRestored(ClusterError):
    """Report what could not be restored, and the state it is in."""


@contextmanager
def restoring(
    cluster: Cluster, what: str, do: Callable[[], object], remains: Callable[[], str], remedy: str = APPLY
) -> Iterator[None]:
    """Call `restore` however the block exits; an exception of the block is kept when restoring fails too."""
    try:
        yield
    except BaseException as first:
        restore(cluster, what, do, remains, remedy, first=first)
        raise
    restore(cluster, what, do, remains, remedy)


def restore(
    cluster: Cluster,
    what: str,
    do: Callable[[], object],
    remains: Callable[[], str],
    remedy: str = APPLY,
    *,
    first: BaseException | None = None,
) -> None:
    """Call `do` until the API accepts it.

    what: completes "waiting for WHAT". remains: called when time is up; returns what may remain. first: the exception
    being handled. Raises NotRestored with all of that, from `first`; but a `first` that is no ProvisionerError
    (Ctrl-C, a defect) propagates unchanged, with a note on what remains.
    """

    def done() -> bool:
        do()
        return True

    patience = 0 if isinstance(first, NotRestored) else PATIENCE  # the API has been waited for already
    try:
        cluster.wait(what, done, patience)
    except ClusterError as error:
        message = f"{remains()}: {error.message}"
        cluster.progress(message)  # for the log: after Ctrl-C nobody reads findings
        if first is None:
            raise NotRestored(message, remedy, tail=error.tail) from error
        if isinstance(first, ProvisionerError):
            remedies = "; ".join(part for part in (remedy, first.remedy) if part)
            tail = str(getattr(first, "tail", ""))
            raise NotRestored(f"{message}; and before that: {first.message}", remedies, tail=tail) from first
        first.add_note(f"{message}; {remedy}")

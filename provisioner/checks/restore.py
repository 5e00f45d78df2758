"""Put back what a check changed: for long enough to outlast an API that is away, and if it fails, not in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from provisioner.errors import ClusterError, ProvisionerError
from provisioner.kube import Cluster

PATIENCE = 180.0  # seconds, scaled: a control plane that restarts is back within one or two minutes
APPLY = "provisioner apply puts it back"


class NotRestored(ClusterError):
    """Report what could not be put back, and how it was left."""


@contextmanager
def restoring(
    cluster: Cluster, what: str, do: Callable[[], object], left: Callable[[], str], remedy: str = APPLY
) -> Iterator[None]:
    """Run `do` however the block ends, as `now` does; an error of the block is not lost when that fails, too."""
    try:
        yield
    except BaseException as first:
        restore(cluster, what, do, left, remedy, first=first)
        raise
    restore(cluster, what, do, left, remedy)


def restore(
    cluster: Cluster,
    what: str,
    do: Callable[[], object],
    left: Callable[[], str],
    remedy: str = APPLY,
    *,
    first: BaseException | None = None,
) -> None:
    """Do what puts something back, again and again until the API takes it.

    what: for "waiting for WHAT". left: called when time is up; says what is left and how. first: the error that is
    under way. Raises NotRestored with all of that, from `first`. What is no error of ours (Ctrl-C, a defect) goes on
    as it is: only a note says what is left.
    """

    def done() -> bool:
        do()
        return True

    patience = 0 if isinstance(first, NotRestored) else PATIENCE  # the API has been waited for already
    try:
        cluster.wait(what, done, patience)
    except ClusterError as error:
        said = f"{left()}: {error.message}"
        cluster.progress(said)  # into the log: after Ctrl-C nobody reads findings
        if first is None:
            raise NotRestored(said, remedy, tail=error.tail) from error
        if isinstance(first, ProvisionerError):
            both = "; ".join(part for part in (remedy, first.remedy) if part)
            tail = str(getattr(first, "tail", ""))
            raise NotRestored(f"{said}; and before that: {first.message}", both, tail=tail) from first
        first.add_note(f"{said}; {remedy}")

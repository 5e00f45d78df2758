"""What `verify` runs: the checks in their order, each a proof of one thing that a user of the cluster needs.

A check runs on the operator's machine, reads the API, and behaves as a client from outside; a new one is a module
with a `CHECK` and a line here.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from queue import SimpleQueue

from provisioner.checks import (
    certificates,
    configmap,
    daemonset,
    dns,
    freed,
    hpa,
    ingress,
    loadbalancer,
    nodeport,
    nodes,
    retained,
    statefulset,
    storage,
    system,
)
from provisioner.checks.check import Check, Context, Finding, failed, passed
from provisioner.errors import ClusterError, HostError, Inconclusive, ProvisionerError

__all__ = ["CHECKS", "Check", "Context", "Finding", "choose", "run"]

CHECKS: tuple[Check, ...] = (
    nodes.CHECK,
    certificates.CHECK,
    system.CHECK,
    dns.CHECK,
    storage.CHECK,
    retained.CHECK,
    loadbalancer.CHECK,
    freed.CHECK,
    ingress.CHECK,
    nodeport.CHECK,
    daemonset.CHECK,
    configmap.CHECK,
    hpa.CHECK,
    statefulset.CHECK,
)


def choose(names: Sequence[str]) -> tuple[Check, ...]:
    """Return the checks of these names in their own order, all for no names; ProvisionerError for an unknown one."""
    known = {check.name: check for check in CHECKS}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise ProvisionerError(f"there is no check {name!r}", f"{meant}the checks are {', '.join(known)}")
    return tuple(check for check in CHECKS if not names or check.name in names)


def run(context: Context, names: Sequence[str] = ()) -> Generator[tuple[Check, Finding], None, None]:
    """Yield each finding with its check, in the checks' order; neighbours that may run side by side do.

    Not on a slow site: machines without headroom take longer for all at once than for one after the other.
    Closed early, it waits until all checks have put back what they changed.

    A check that the site gives nothing to do says NOT_ENABLED: ok when all checks run, not when it was named. An
    error that ends a check early is a finding too, and the next check runs; without the API only those that need none.
    """
    chosen = choose(names)
    if not context.cluster.reachable():
        why = context.cluster.why or "there is no control plane yet"
        yield (
            chosen[0],
            failed("API_UNREACHABLE", "the Kubernetes API", f"does not answer: {why}", "provisioner status"),
        )
        chosen = tuple(check for check in chosen if check.without_api)
    for beside, group in groupby(chosen, lambda check: check.parallel_safe):
        if beside:
            neighbours = tuple(group)
            for some in [(check,) for check in neighbours] if context.site.slow else [neighbours]:
                yield from _together(context, some, bool(names))
        else:
            for check in group:
                with closing(_findings(context, check, bool(names))) as found:
                    for finding in found:
                        yield check, finding


def _together(context: Context, group: Sequence[Check], named: bool) -> Iterator[tuple[Check, Finding]]:
    """Run checks in a thread each; yield what they find in their order, the first one's as it is made."""
    found: dict[str, SimpleQueue[Finding | BaseException | None]] = {check.name: SimpleQueue() for check in group}

    def work(check: Check) -> None:
        try:
            for finding in _findings(context, check, named):
                found[check.name].put(finding)
            found[check.name].put(None)
        except BaseException as error:
            found[check.name].put(error)

    threads = [threading.Thread(target=work, args=(check,), daemon=True) for check in group]
    for thread in threads:
        thread.start()
    try:
        for check in group:
            while (finding := found[check.name].get()) is not None:
                if isinstance(finding, BaseException):
                    raise finding
                yield check, finding
    except BaseException:
        context.stop.set()
        context.cluster.progress("putting back what the checks changed")
        raise
    finally:
        for thread in threads:
            thread.join()


def _findings(context: Context, check: Check, named: bool) -> Generator[Finding, None, None]:
    why = check.skip_reason(context.site)
    if why:
        made = failed if named else passed
        yield made("NOT_ENABLED", check.name, f"is not checked: {why}", "change hosts.toml to have it")
        return
    try:
        yield from check.run(context)
    except ProvisionerError as error:
        if _closing(error):  # nobody takes another finding: what could not be put back is told as an error
            raise
        yield _ended(check, error)


def _closing(error: BaseException | None) -> bool:
    """Tell whether the error came up while the check was being closed (Ctrl-C, or a reader that has gone)."""
    while error is not None and not isinstance(error, GeneratorExit):
        error = error.__context__
    return error is not None


def _ended(check: Check, error: ProvisionerError) -> Finding:
    codes = {Inconclusive: "INCONCLUSIVE", ClusterError: "API_ERROR", HostError: "HOST_ERROR"}
    code = next((code for kind, code in codes.items() if isinstance(error, kind)), "ERROR")
    subject = f"{error.host}" if isinstance(error, HostError) else f"check {check.name}"
    return failed(code, subject, f"ended early: {error.message}", error.remedy, getattr(error, "tail", ""))

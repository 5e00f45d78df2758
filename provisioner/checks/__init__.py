"""What `verify` runs: the checks in their order, each a proof of one thing that a user of the cluster needs.

A check runs on the operator's machine, reads the API, and behaves as a client from outside; a new one is a module
with a `CHECK` and a line here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from provisioner.checks import (
    dns,
    hpa,
    ingress,
    loadbalancer,
    nodeport,
    nodes,
    statefulset,
    storage,
    system,
)
from provisioner.checks.check import Check, Context, Finding, bad, good
from provisioner.errors import ClusterError, HostError, Inconclusive, ProvisionerError

__all__ = ["CHECKS", "Check", "Context", "Finding", "choose", "run"]

CHECKS: tuple[Check, ...] = (
    nodes.CHECK,
    system.CHECK,
    dns.CHECK,
    storage.CHECK,
    nodeport.CHECK,
    loadbalancer.CHECK,
    ingress.CHECK,
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


def run(context: Context, names: Sequence[str] = ()) -> Iterator[tuple[Check, Finding]]:
    """Yield each finding as it is made, with its check.

    A check that the site gives nothing to do says NOT_ENABLED: ok when all checks run, not when it was named. An
    error that ends a check early is a finding too, and the next check runs; only without the API nothing does.
    """
    chosen = choose(names)
    if not context.cluster.reachable():
        why = context.cluster.why or "there is no control plane yet"
        yield chosen[0], bad("API_UNREACHABLE", "the Kubernetes API", f"does not answer: {why}", "provisioner status")
        return
    for check in chosen:
        why = check.not_for(context.site)
        if why:
            made = bad if names else good
            yield check, made("NOT_ENABLED", check.name, f"is not checked: {why}", "change hosts.toml to have it")
            continue
        try:
            for finding in check.run(context):
                yield check, finding
        except ProvisionerError as error:
            yield check, _ended(check, error)


def _ended(check: Check, error: ProvisionerError) -> Finding:
    codes = {Inconclusive: "INCONCLUSIVE", ClusterError: "API_ERROR", HostError: "HOST_ERROR"}
    code = next((code for kind, code in codes.items() if isinstance(error, kind)), "ERROR")
    subject = f"{error.host}" if isinstance(error, HostError) else f"check {check.name}"
    return bad(code, subject, f"ended early: {error.message}", error.remedy, getattr(error, "tail", ""))

"""Prove from the wire what the road was for: each external IP is answered by the node that should, and serves.

Changes nothing. What cannot be told from the operator's machine is said and does not stop an apply; a fault does, and
so does an external IP that nobody answers for, whether or not its cause is found.
"""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.engine import Change, Scope, Step
from provisioner.errors import ClusterError
from provisioner.kube import Cluster
from provisioner.l2 import verdicts
from provisioner.l2.result import Result
from provisioner.site import Site
from provisioner.ssh import Host


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield nothing: there is only something to prove."""
    del host, cluster, site
    yield from ()


def proof(host: Host, cluster: Cluster, site: Site) -> Iterator[str]:
    """Yield a sentence for each external IP. Raises ClusterError with verdict, evidence and remedy of each fault."""
    results = verdicts.verdicts(site, cluster, host.fleet, progress=cluster.progress)
    yield from map(sentence, results)
    faults = [result for result in results if not result.ok and not result.inconclusive]
    if faults:
        raise ClusterError(
            "; ".join(f"{verdicts.subject(fault)}: {_short(fault)}" for fault in faults),
            " ".join(dict.fromkeys(fault.remedy for fault in faults if fault.remedy)) + " Look: provisioner l2 check",
            tail="\n".join(line for fault in faults for line in fault.evidence),
        )


def _short(fault: Result) -> str:
    """Return a fault in a word; UNKNOWN alone would not say that there is one."""
    return "nobody answers, and nothing tells why (UNKNOWN)" if fault.verdict == "UNKNOWN" else fault.verdict


def sentence(result: Result) -> str:
    """Return a verdict in one line: what is proven, or why nothing is."""
    warned = f" ({', '.join(result.warnings)})" if result.warnings else ""
    said = result.evidence[0] if result.evidence else ""
    if result.inconclusive:
        return f"{verdicts.subject(result)} is not proven from here: {said} {result.remedy}".rstrip()
    return f"{verdicts.subject(result)} {result.verdict}{warned}: {said}".rstrip(" :")


STEP = Step(
    name="announcements",
    summary="each external IP, proven on the wire",
    scope=Scope.CLUSTER,
    changes=changes,
    reads_only=True,
    enabled=lambda site: site.metallb.enabled,
    proof=proof,
)

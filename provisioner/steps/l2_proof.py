"""Prove on the wire that each external IP is answered by the right node and serves.

Changes nothing. A fault stops the apply, and so does an external IP that nobody answers for, with or without a known
cause. An address that cannot be judged from the operator's machine is reported, and does not stop it.
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
    """Yield nothing; the step consists of its proof."""
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
            " ".join(dict.fromkeys(fault.remedy for fault in faults if fault.remedy)) + " See provisioner l2 check",
            tail="\n".join(line for fault in faults for line in fault.evidence),
        )


def _short(fault: Result) -> str:
    """Return a fault's verdict; UNKNOWN alone would not say that there is a fault."""
    return "nobody answers, for an unknown reason (UNKNOWN)" if fault.verdict == "UNKNOWN" else fault.verdict


def sentence(result: Result) -> str:
    """Return a verdict in one line: what is proven, or why it cannot be."""
    warned = f" ({', '.join(result.warnings)})" if result.warnings else ""
    evidence = result.evidence[0] if result.evidence else ""
    if result.inconclusive:
        return f"{verdicts.subject(result)} cannot be proven from here: {evidence} {result.remedy}".rstrip()
    return f"{verdicts.subject(result)} {result.verdict}{warned}: {evidence}".rstrip(" :")


STEP = Step(
    name="announcements",
    summary="each external IP, proven on the wire",
    scope=Scope.CLUSTER,
    changes=changes,
    reads_only=True,
    enabled=lambda site: site.metallb.enabled,
    proof=proof,
)

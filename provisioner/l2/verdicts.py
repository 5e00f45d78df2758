"""A verdict for every external IP, for `verify` and the end of an apply: the cluster's facts against a capture.

A cluster that has just changed may need a moment to settle, so only faults that last are reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address

from provisioner.errors import Inconclusive
from provisioner.kube import Cluster
from provisioner.l2 import check, targets
from provisioner.l2.collect import collector
from provisioner.l2.probe import interfaces
from provisioner.l2.result import Result
from provisioner.l2.scan import sweep
from provisioner.site import Site
from provisioner.ssh import Host

# Seconds, scaled: memberlist notices a dead speaker within 24, and endpoints follow a rollout even later.
PATIENCE = 30.0
PAUSE = 2.0


def verdicts(
    site: Site,
    cluster: Cluster,
    hosts: Mapping[str, Host],
    *,
    progress: Callable[[str], None] = lambda text: None,
    patience: float = PATIENCE,
) -> tuple[Result, ...]:
    """Return a verdict for every external IP of the cluster and every Service without one yet.

    Faults are checked again for up to `patience` seconds (scaled). If this machine cannot tell (it is a node, is not
    on the segment, or lacks CAP_NET_RAW), every verdict says so. Raises ClusterError.
    """
    deadline = time.monotonic() + site.timeout(patience)
    while True:
        results = _check(site, cluster, hosts)
        faults = [result for result in results if not result.ok and not result.inconclusive]
        if not faults or time.monotonic() > deadline:
            return results
        progress(f"checking {', '.join(subject(result) for result in faults)} again: {faults[0].verdict}")
        time.sleep(min(PAUSE, max(0.0, deadline - time.monotonic())))


def answering_macs(site: Site, cluster: Cluster, hosts: Mapping[str, Host], ip: str) -> Callable[[], tuple[str, ...]]:
    """Return a function that asks the segment for an address and returns the MACs that answer. Raises Inconclusive."""
    wanted = ip_address(ip)
    facts = collector.from_cluster(cluster, hosts, site, metrics=False)
    where = check.choose_interface(interfaces.read(), (wanted,), facts)
    return lambda: sweep.sweep((wanted,), where, tail=min(4.0, site.timeout(1))).macs(wanted)


def subject(result: Result) -> str:
    """Return the subject of a verdict: the address and its Service."""
    return f"{result.ip} ({result.service})" if result.ip and result.service else result.ip or result.service


def _check(site: Site, cluster: Cluster, hosts: Mapping[str, Host]) -> tuple[Result, ...]:
    facts = collector.from_cluster(cluster, hosts, site, metrics=False)
    wanted = targets.for_check((), facts)
    try:
        where = check.choose_interface(interfaces.read(), wanted.ips, facts) if wanted.ips else None
        _, results = check.run(
            facts, wanted, where, metrics=lambda: collector.metrics(cluster, hosts), timeout=min(4.0, site.timeout(1))
        )
    except Inconclusive as error:
        return check.off_segment(error, facts, wanted)
    return results

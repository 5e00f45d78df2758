"""Every external IP's verdict, for `verify` and the end of an apply: the cluster's facts beside what the wire says.

A cluster that has just changed may need a moment: a fault is only told when it has lasted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from provisioner.errors import Inconclusive
from provisioner.kube import Cluster
from provisioner.l2 import check, targets
from provisioner.l2.collect import collector
from provisioner.l2.probe import interfaces
from provisioner.l2.result import Result
from provisioner.l2.scan import sweep
from provisioner.site import Site
from provisioner.ssh import Host

# Seconds, scaled: memberlist notices a dead speaker within 24, and a rollout its endpoints later still.
PATIENCE = 30.0
PAUSE = 2.0


def verdicts(
    site: Site, cluster: Cluster, hosts: Mapping[str, Host], *, progress: Callable[[str], None] = lambda text: None
) -> tuple[Result, ...]:
    """Return a verdict for every external IP of the cluster, and for every Service that waits for one.

    Looked at again while one is at fault, for `PATIENCE` at most. Where nothing can be told from this machine (it is a
    node, it is not on the segment, it lacks CAP_NET_RAW) every verdict says so. Raises ClusterError.
    """
    deadline = time.monotonic() + site.timeout(PATIENCE)
    while True:
        results = _look(site, cluster, hosts)
        faults = [result for result in results if not result.ok and not result.inconclusive]
        if not faults or time.monotonic() > deadline:
            return results
        progress(f"looking again at {', '.join(subject(result) for result in faults)}: {faults[0].verdict}")
        time.sleep(min(PAUSE, max(0.0, deadline - time.monotonic())))


def answering_macs(site: Site, cluster: Cluster, hosts: Mapping[str, Host], ip: str) -> Callable[[], tuple[str, ...]]:
    """Return what asks the segment for an address and gives the MACs that answer. Raises Inconclusive."""
    from ipaddress import ip_address

    wanted = ip_address(ip)
    facts = collector.from_cluster(cluster, hosts, site, metrics=False)
    where = check.choose_interface(interfaces.read(), (wanted,), facts)
    return lambda: sweep.sweep((wanted,), where, tail=min(4.0, site.timeout(1))).macs(wanted)


def subject(result: Result) -> str:
    """Return what a verdict is about: the address and its Service."""
    return f"{result.ip} ({result.service})" if result.ip and result.service else result.ip or result.service


def _look(site: Site, cluster: Cluster, hosts: Mapping[str, Host]) -> tuple[Result, ...]:

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

"""Roll out the workloads that hosts.toml enables, each a file under workloads/, and remove those it names no more."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import objects
from provisioner.engine.rollout import wait_for_rollout
from provisioner.kube import Cluster, Object, templates
from provisioner.kube.objects import order, scale_probes
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps import pruning


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield removals, then each workload's objects that are missing or differ, then the waits for all of them.

    On a slow site each workload is waited for before the next: twenty pods that start at once on one emulated core run
    into the runtime's own time limits, and what was half made is made again.
    """
    del host
    files = {name: wanted(site, name) for name in site.workloads.enabled}
    yield from pruning.changes(cluster, files)
    for manifests in files.values():
        yield from objects(cluster, manifests)
        if site.slow:
            yield from wait_for_rollout(cluster, manifests)
    if not site.slow:
        for manifests in files.values():
            yield from wait_for_rollout(cluster, manifests)


def wanted(site: Site, name: str) -> list[Object]:
    """Return a workload's objects; on a slow site its probes wait longer than its file says."""
    return order(
        scale_probes(item, site.cluster.timeout_scale) for item in templates.read(site, f"workloads/{name}.yaml")
    )


STEP = Step(
    name="workloads",
    summary="the workloads that hosts.toml enables",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "nodes", "storage", "pools", "ingress", "metrics-server"),
)

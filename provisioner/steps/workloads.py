"""Roll out the workloads that hosts.toml enables, each one file under workloads/."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from provisioner import site_manifests
from provisioner.changes import objects
from provisioner.objects import order
from provisioner.step import Change, Scope, Step
from provisioner.steps.rollout import rolled_out

if TYPE_CHECKING:
    from provisioner.host import Host
    from provisioner.kube import Cluster
    from provisioner.site import Site


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield each workload's objects that are missing or differ, then the waits for all of them."""
    del host
    files = [order(site_manifests.read(site, f"workloads/{name}.yaml")) for name in site.workloads.enabled]
    for manifests in files:
        yield from objects(cluster, manifests)
    for manifests in files:
        yield from rolled_out(cluster, manifests)


STEP = Step(
    name="workloads",
    summary="the workloads that hosts.toml enables",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "nodes", "storage", "pools", "ingress", "metrics-server"),
    enabled=lambda site: bool(site.workloads.enabled),
)

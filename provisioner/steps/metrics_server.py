"""Install metrics-server, which the autoscaler and `kubectl top` read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from provisioner.catalogue import release
from provisioner.changes import objects
from provisioner.manifests import released
from provisioner.objects import order, patient
from provisioner.step import Change, Scope, Step
from provisioner.steps.rollout import rolled_out

if TYPE_CHECKING:
    from provisioner.host import Host
    from provisioner.kube import Cluster
    from provisioner.site import Site


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield metrics-server's objects that are missing or differ, then the wait for it."""
    del host
    chosen = release("metrics_server", str(site.version), site.metrics.version)
    manifests = order(
        patient(item, site.cluster.timeout_scale) for download in chosen.manifests for item in released(site, download)
    )
    yield from objects(cluster, manifests)
    yield from rolled_out(cluster, manifests)


STEP = Step(
    name="metrics-server",
    summary="metrics-server",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "nodes", "kubelet-certificates"),
    enabled=lambda site: site.metrics.enabled,
)

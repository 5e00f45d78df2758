"""Install MetalLB from its released manifest and wait until its webhook answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from provisioner.catalogue import release
from provisioner.changes import objects
from provisioner.manifests import released
from provisioner.objects import Object, order, patient, without_ca_bundles
from provisioner.step import Change, Scope, Step
from provisioner.steps.rollout import rolled_out

if TYPE_CHECKING:
    from provisioner.host import Host
    from provisioner.kube import Cluster
    from provisioner.site import Site


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield MetalLB's objects that are missing or differ, then the wait for controller and speakers."""
    del host
    manifests = wanted(site)
    yield from objects(cluster, manifests)
    yield from rolled_out(cluster, manifests)


def wanted(site: Site) -> list[Object]:
    """Return the released manifest's objects; its controller writes the webhooks' CA bundles itself."""
    chosen = release("metallb", str(site.version), site.metallb.version)
    return order(
        patient(without_ca_bundles(item), site.cluster.timeout_scale)
        for download in chosen.manifests
        for item in released(site, download)
    )


STEP = Step(
    name="metallb",
    summary="MetalLB's controller and speakers",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "nodes"),
    enabled=lambda site: site.metallb.enabled,
)

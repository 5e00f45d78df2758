"""Roll out the workloads that hosts.toml enables, and delete those that it no longer enables."""

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
    """Yield the deletions, then each workload's objects that are missing or differ, then the waits for all rollouts.

    On a slow site, wait for each workload before the next: twenty pods that start at once on one emulated core exceed
    the container runtime's timeouts and are started over.
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
    """Return a workload's objects; on a slow site with longer probe timeouts than in its file."""
    return order(
        scale_probes(item, site.cluster.timeout_scale) for item in templates.read(site, f"workloads/{name}.yaml")
    )


def validate(site: Site) -> None:
    """Raise ProvisionerError, with the closest name, for a workload that has no file."""
    for name in site.workloads.enabled:
        templates.find(site, f"workloads/{name}.yaml")


STEP = Step(
    name="workloads",
    summary="workloads that hosts.toml enables",
    scope=Scope.CLUSTER,
    changes=changes,
    validate=validate,
    after=("control-plane", "nodes", "storage", "pools", "ingress", "metrics-server"),
)

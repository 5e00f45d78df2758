"""Mark a node as schedulable again."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.engine import Change, Scope, Step
from provisioner.errors import ClusterError
from provisioner.kube import Cluster
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps.drain import cordon


def step(name: str) -> Step:
    """Return the step for one node."""
    return Step(
        name="uncordon",
        summary=f"{name} is schedulable",
        scope=Scope.CLUSTER,
        changes=lambda host, cluster, site: changes(host, cluster, site, name),
    )


def changes(host: Host, cluster: Cluster, site: Site, name: str) -> Iterator[Change]:
    """Yield the uncordon of a cordoned node. Raises ClusterError if there is no such node."""
    del host, site
    node = cluster.get("Node", name)
    if node is None:
        raise ClusterError(f"the cluster has no node {name}", "provisioner status lists the nodes")
    if node["spec"].get("unschedulable"):
        yield Change(f"uncordon {name}", lambda: cordon(cluster, name, False))

"""Let a node take pods again."""

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
        summary=f"pods may come to {name}",
        scope=Scope.CLUSTER,
        changes=lambda host, cluster, site: changes(host, cluster, site, name),
    )


def changes(host: Host, cluster: Cluster, site: Site, name: str) -> Iterator[Change]:
    """Yield the end of the cordon, where there is one. Raises ClusterError for a node that is not there."""
    del host, site
    node = cluster.get("Node", name)
    if node is None:
        raise ClusterError(f"{name} is no node of the cluster", "provisioner status lists the nodes")
    if node["spec"].get("unschedulable"):
        yield Change(f"uncordon {name}", lambda: cordon(cluster, name, False))

"""Take nodes that have left out of the API; what it still has on them, it then gives up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from provisioner.engine import Change, Scope, Step
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, kubeadm
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps.nodes import ready


def step(names: Collection[str], *, gone: bool = False, after: tuple[str, ...] = ()) -> Step:
    """Return the step. gone: nobody has looked at the machines, so a node whose kubelet still reports is refused."""
    return Step(
        name="forget",
        summary="no such node in the API",
        scope=Scope.CLUSTER,
        changes=lambda host, cluster, site: changes(host, cluster, site, names, gone=gone),
        after=after,
    )


def changes(host: Host, cluster: Cluster, site: Site, names: Collection[str], *, gone: bool) -> Iterator[Change]:
    """Yield the deletion of each node that is still there."""
    del host, site
    nodes = cluster.nodes()
    for name in names:
        node = nodes.get(name)
        if node is None:
            continue
        if gone and ready(node):
            raise ClusterError(
                f"node {name} is Ready: its machine is not gone",
                f"provisioner node remove {name}, without --gone, takes it out in good order",
            )
        if gone and any(key in node["metadata"].get("labels", {}) for key in kubeadm.CONTROL_PLANE_KEYS):
            raise ClusterError(
                f"node {name} is a control plane, and its etcd would go on counting as a member",
                "take the member out first: etcdctl member remove, in an etcd pod of another control plane",
            )
        yield Change(f"take node {name} out of the API", _deleting(cluster, name))


def _deleting(cluster: Cluster, name: str) -> Callable[[], None]:
    return lambda: cluster.delete("Node", name)

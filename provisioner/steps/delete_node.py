"""Delete removed nodes from the API; their pods are then garbage-collected."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from provisioner.engine import Change, Scope, Step
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, kubeadm
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps.nodes import ready


def step(names: Collection[str], *, gone: bool = False, after: tuple[str, ...] = ()) -> Step:
    """Return the step. gone: the machines were not reset, so a node whose kubelet still reports is refused."""
    return Step(
        name="forget",
        summary="removed nodes are not in the API",
        scope=Scope.CLUSTER,
        changes=lambda host, cluster, site: changes(host, cluster, site, names, gone=gone),
        undone_by=after,
    )


def changes(host: Host, cluster: Cluster, site: Site, names: Collection[str], *, gone: bool) -> Iterator[Change]:
    """Yield the deletion of each node that the API still has."""
    del host, site
    nodes = cluster.nodes()
    for name in names:
        node = nodes.get(name)
        if node is None:
            continue
        if gone and ready(node):
            raise ClusterError(
                f"node {name} is Ready: its machine is not gone",
                f"provisioner node remove {name}, without --gone, drains and resets it first",
            )
        if gone and any(key in node["metadata"].get("labels", {}) for key in kubeadm.CONTROL_PLANE_KEYS):
            raise ClusterError(
                f"node {name} is a control plane, and etcd would still count it as a member",
                "remove the member first: etcdctl member remove, in an etcd pod of another control plane",
            )
        yield Change(f"delete node {name} from the API", _deleting(cluster, name))


def _deleting(cluster: Cluster, name: str) -> Callable[[], None]:
    return lambda: cluster.delete("Node", name)

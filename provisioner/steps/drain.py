"""Drain a node: cordon it, evict its pods as their disruption budgets allow, and wait until they have terminated.

Like `kubectl drain`, leave the pods of DaemonSets and static pods. A pod without a controller would be lost: it is
refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from provisioner.engine import Change, Scope, Step
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object, kubeadm_state
from provisioner.kube.objects import namespaced_name
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host
from provisioner.steps.nodes import ready

MIRROR = "kubernetes.io/config.mirror"  # annotates a static pod's mirror pod in the API
FINISHED = ("Succeeded", "Failed")


def step(name: str, *, removing: bool = False) -> Step:
    """Return the step for one node. removing: the node is reset next, so do not insist on a working kubelet."""
    return Step(
        name="drain",
        summary=f"only DaemonSet pods on {name}",
        scope=Scope.CLUSTER,
        changes=lambda host, cluster, site: changes(host, cluster, site, name, removing=removing),
        query=lambda site: FactQuery(exists=(kubeadm_state.KUBELET_CONF,)),
    )


def changes(host: Host, cluster: Cluster, site: Site, name: str, *, removing: bool) -> Iterator[Change]:
    """Yield the cordon and the evictions that are due. Raises ClusterError for pods that a drain would lose."""
    del site
    node = cluster.get("Node", name)
    if node is None:
        if removing:
            return
        raise ClusterError(f"the cluster has no node {name}", "provisioner status lists the nodes")
    if removing and name in host.fleet and not kubeadm_state.exists(host.fleet[name], kubeadm_state.KUBELET_CONF):
        return  # the machine was reinstalled: the pods that the API still has on it are long gone
    if not ready(node) and not removing:
        raise ClusterError(
            f"node {name} is not Ready: its kubelet cannot terminate pods",
            f"provisioner apply repairs it, provisioner node rebuild {name} resets it and joins it again",
        )
    unmanaged = [pod for pod in _pods(cluster, name) if _unmanaged(pod)]
    if unmanaged:
        first = unmanaged[0]["metadata"]
        raise ClusterError(
            f"draining {name} would lose {_names(unmanaged)}: no controller would replace it",
            f"delete it first: kubectl -n {first['namespace']} delete pod {first['name']}; then run this again",
        )
    if not node["spec"].get("unschedulable"):
        yield Change(f"cordon {name}", lambda: cordon(cluster, name, True))
    pods = to_evict(_pods(cluster, name)) if ready(node) else []
    if pods:
        yield Change(
            f"evict from {name}: {_names(pods)}",
            lambda: _evict(cluster, name),
            "".join(f"- {namespaced_name(pod)}{_emptydir_note(pod)}\n" for pod in pods),
        )


def cordon(cluster: Cluster, name: str, on: bool) -> None:
    """Mark the node as unschedulable, or as schedulable again."""
    cluster.merge("Node", name, {"spec": {"unschedulable": True if on else None}})


def to_evict(pods: Sequence[Object]) -> list[Object]:
    """Return the pods that have to leave the node, including those that are terminating already."""
    return [
        pod
        for pod in pods
        if MIRROR not in (pod["metadata"].get("annotations") or {}) and _controller(pod) != "DaemonSet"
    ]


def _unmanaged(pod: Object) -> bool:
    """Return whether the pod runs and no controller would replace it on another node."""
    return bool(
        to_evict([pod])
        and not _controller(pod)
        and not pod["metadata"].get("deletionTimestamp")
        and pod.get("status", {}).get("phase") not in FINISHED
    )


def _controller(pod: Object) -> str:
    """Return the kind of the pod's controller, "" for none."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return next((str(owner["kind"]) for owner in owners if owner.get("controller")), "")


def _evict(cluster: Cluster, name: str) -> None:
    """Request every eviction until it is granted, and wait until the pods have terminated."""
    refused: dict[str, str] = {}

    def all_left() -> bool:
        left = to_evict(_pods(cluster, name))
        refused.clear()
        for pod in left:
            if not pod["metadata"].get("deletionTimestamp"):
                refusal = cluster.evict(pod["metadata"]["namespace"], pod["metadata"]["name"])
                if refusal:
                    refused[namespaced_name(pod)] = refusal
        return not left

    def why() -> str:
        left = map(namespaced_name, to_evict(_pods(cluster, name)))
        lines = [f"{pod} is terminating" for pod in left if pod not in refused]
        return "\n".join([*lines, *(f"{pod}: {refusal}" for pod, refusal in refused.items())])

    cluster.wait(f"the pods to leave {name}", all_left, 600, why)


def _pods(cluster: Cluster, name: str) -> list[Object]:
    return cluster.list("Pod", fields=f"spec.nodeName={name}")


def _names(pods: Sequence[Object]) -> str:
    return ", ".join(sorted(map(namespaced_name, pods)))


def _emptydir_note(pod: Object) -> str:
    """Return a note for a pod with emptyDir volumes, whose data is deleted with it."""
    has = any("emptyDir" in volume for volume in pod["spec"].get("volumes") or ())
    return " (deletes its emptyDir data)" if has else ""

"""Empty a node: cordon it, evict its pods as their disruption budgets allow, and wait until they have ended.

What stays is what `kubectl drain` leaves: the pods of DaemonSets and the kubelet's own static pods. A pod that nothing
would make anew is not touched but named.
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

MIRROR = "kubernetes.io/config.mirror"  # the annotation of a static pod's image in the API
ENDED = ("Succeeded", "Failed")


def step(name: str, *, leaves: bool = False) -> Step:
    """Return the step for one node. leaves: it is about to leave, so a kubelet that ends no pods is not waited for."""
    return Step(
        name="drain",
        summary=f"no pods on {name} but those of DaemonSets",
        scope=Scope.CLUSTER,
        changes=lambda host, cluster, site: changes(host, cluster, site, name, leaves=leaves),
        query=lambda site: FactQuery(exists=(kubeadm_state.KUBELET_CONF,)),
    )


def changes(host: Host, cluster: Cluster, site: Site, name: str, *, leaves: bool) -> Iterator[Change]:
    """Yield the cordon and the evictions that are missing. Raises ClusterError for what a drain would lose."""
    del site
    node = cluster.get("Node", name)
    if node is None:
        if leaves:
            return
        raise ClusterError(f"{name} is no node of the cluster", "provisioner status lists the nodes")
    if leaves and name in host.fleet and not kubeadm_state.exists(host.fleet[name], kubeadm_state.KUBELET_CONF):
        return  # the machine was made anew: what the API still has on it has ended long ago
    if not ready(node) and not leaves:
        raise ClusterError(
            f"node {name} is not Ready: its kubelet would end no pod",
            f"provisioner apply mends it, provisioner node rebuild {name} joins it anew",
        )
    alone = [pod for pod in _pods(cluster, name) if _of_nobody(pod)]
    if alone:
        first = alone[0]["metadata"]
        raise ClusterError(
            f"on {name}, {_listed(alone)} would be gone for good: no controller would make a new one",
            f"delete it by hand: kubectl -n {first['namespace']} delete pod {first['name']}; then again",
        )
    if not node["spec"].get("unschedulable"):
        yield Change(f"cordon {name}", lambda: cordon(cluster, name, True))
    going = to_evict(_pods(cluster, name)) if ready(node) else []
    if going:
        yield Change(
            f"evict from {name}: {_listed(going)}",
            lambda: _evict(cluster, name),
            "".join(f"- {namespaced_name(pod)}{_lost(pod)}\n" for pod in going),
        )


def cordon(cluster: Cluster, name: str, on: bool) -> None:
    """Keep new pods off the node, or let them come again."""
    cluster.merge("Node", name, {"spec": {"unschedulable": True if on else None}})


def to_evict(pods: Sequence[Object]) -> list[Object]:
    """Return the pods that a drain has to see gone, those that are leaving already among them."""
    return [
        pod
        for pod in pods
        if MIRROR not in (pod["metadata"].get("annotations") or {}) and _controller(pod) != "DaemonSet"
    ]


def _of_nobody(pod: Object) -> bool:
    """Tell whether the pod runs and would not be made again elsewhere."""
    return bool(
        to_evict([pod])
        and not _controller(pod)
        and not pod["metadata"].get("deletionTimestamp")
        and pod.get("status", {}).get("phase") not in ENDED
    )


def _controller(pod: Object) -> str:
    """Return the kind of the pod's controller, "" for none."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return next((str(owner["kind"]) for owner in owners if owner.get("controller")), "")


def _evict(cluster: Cluster, name: str) -> None:
    """Ask for every eviction until each is granted, and wait for the pods' end."""
    refused: dict[str, str] = {}

    def look() -> bool:
        left = to_evict(_pods(cluster, name))
        refused.clear()
        for pod in left:
            if not pod["metadata"].get("deletionTimestamp"):
                because = cluster.evict(pod["metadata"]["namespace"], pod["metadata"]["name"])
                if because:
                    refused[namespaced_name(pod)] = because
        return not left

    def why() -> str:
        ending = [pod for pod in map(namespaced_name, to_evict(_pods(cluster, name))) if pod not in refused]
        lines = [f"{pod} is being ended" for pod in ending]
        return "\n".join([*lines, *(f"{pod}: {because}" for pod, because in refused.items())])

    cluster.wait(f"the pods of {name} to go", look, 600, why)


def _pods(cluster: Cluster, name: str) -> list[Object]:
    return cluster.list("Pod", fields=f"spec.nodeName={name}")


def _listed(pods: Sequence[Object]) -> str:
    return ", ".join(sorted(map(namespaced_name, pods)))


def _lost(pod: Object) -> str:
    """Return a note where a pod's own scratch space ends with it."""
    has = any("emptyDir" in volume for volume in pod["spec"].get("volumes") or ())
    return " (its emptyDir goes with it)" if has else ""

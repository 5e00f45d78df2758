"""Wait until the pods of drained and removed nodes have successors: what follows judges the cluster that stays.

Changes nothing. The node is gone whatever becomes of its pods: what has no successor is reported, and does not stop
the command.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from provisioner.engine import Change, Scope, Step
from provisioner.engine.rollout import complete
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object
from provisioner.kube.objects import object_name
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.text import pluralize

# Seconds, scaled. The pod garbage collector needs a minute to notice that a node is gone (gc_controller.go), then the
# images are pulled.
PATIENCE = 300.0
# Reasons of waiting containers that do not pass by themselves (kubelet, images/types.go and kuberuntime).
STUCK = (
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
)


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield nothing; the step consists of its proof."""
    del host, cluster, site
    yield from ()


def proof(host: Host, cluster: Cluster, site: Site) -> Iterator[str]:
    """Wait while successors are on their way, then yield a sentence for each workload that lacks pods."""
    del host, site
    last: list[Object] = []

    def arrived() -> bool:
        workloads, pods, nodes = _workloads(cluster), cluster.list("Pod"), cluster.nodes()
        last[:] = [workload for workload in workloads if not complete(workload)]
        return not any(on_its_way(workload, pods, nodes) for workload in workloads)

    try:
        cluster.wait(
            "the pods to run on other nodes", arrived, PATIENCE, lambda: "\n".join(_lacking(one) for one in last)
        )
    except ClusterError as error:
        yield str(error)
    yield from (f"{_lacking(workload)}; see: kubectl get pods -A -o wide" for workload in last)


def on_its_way(workload: Object, pods: list[Object], nodes: Mapping[str, Object]) -> bool:
    """Return whether a workload lacks pods, and will have them without anybody's help.

    A pod on a node that the API no longer has is about to be replaced, even if it still counts as ready.
    """
    labels = workload["spec"]["selector"].get("matchLabels") or {}
    own = [
        pod
        for pod in pods
        if pod["metadata"].get("namespace") == workload["metadata"].get("namespace")
        and labels.items() <= (pod["metadata"].get("labels") or {}).items()
    ]
    if any(_node_gone(pod, nodes) for pod in own):
        return True
    if complete(workload):
        return False
    if any(pod["metadata"].get("deletionTimestamp") for pod in own):
        return True
    missing = len(own) < workload["spec"].get("replicas", 1)
    return (missing and not any(map(_stuck, own))) or any(not _ready(pod) and not _stuck(pod) for pod in own)


def _workloads(cluster: Cluster) -> list[Object]:
    """Return the workloads whose pods move to other nodes; the items of a list have no kind."""
    return [
        {**workload, "kind": kind}
        for kind in ("Deployment", "StatefulSet")
        for workload in cluster.list(kind, api_version="apps/v1")
        if workload["spec"].get("replicas", 1)
    ]


def _node_gone(pod: Object, nodes: Mapping[str, Object]) -> bool:
    name = pod["spec"].get("nodeName")
    return bool(name) and name not in nodes


def _ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _stuck(pod: Object) -> bool:
    """Return whether a pod cannot be scheduled, or a container of it waits for something that does not come."""
    status = pod.get("status", {})
    if any(one["type"] == "PodScheduled" and one["status"] == "False" for one in status.get("conditions") or ()):
        return True
    states = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    return any(one.get("state", {}).get("waiting", {}).get("reason") in STUCK for one in states)


def _lacking(workload: Object) -> str:
    wanted, ready = workload["spec"].get("replicas", 1), workload.get("status", {}).get("readyReplicas", 0)
    return f"{object_name(workload)} has {ready} of {pluralize(wanted, 'pod')} ready"


STEP = Step(
    name="successors",
    summary="pods of removed nodes run elsewhere",
    scope=Scope.CLUSTER,
    changes=changes,
    reads_only=True,
    proof=proof,
)

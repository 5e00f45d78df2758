"""Read pod objects, for every check: which are ready, which match a selector, why one is not running."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from provisioner.checks import restore
from provisioner.kube import Cluster, Object
from provisioner.kube.objects import object_name

LOG_LINES = 8
EVENTS = 5


def terminating(pod: Object) -> bool:
    """Tell whether the pod is being deleted."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def ready(pod: Object) -> bool:
    """Tell whether the pod is running, Ready and not being deleted."""
    status = pod.get("status", {})
    return status.get("phase") == "Running" and not terminating(pod) and condition(pod, "Ready") == "True"


def running(pod: Object) -> bool:
    """Tell whether the pod is running, ready or not."""
    return bool(pod.get("status", {}).get("phase") == "Running")


def healthy(pod: Object) -> bool:
    """Tell whether nothing is wrong with the pod: it is ready, or completed."""
    return ready(pod) or pod.get("status", {}).get("phase") == "Succeeded"


def condition(item: Object, kind: str, field: str = "status") -> str:
    """Return a field of the condition of that type, "" without one."""
    for entry in item.get("status", {}).get("conditions") or ():
        if entry.get("type") == kind:
            return str(entry.get(field, ""))
    return ""


def matching(pods: Iterable[Object], selector: Mapping[str, str]) -> list[Object]:
    """Return the pods whose labels match the selector; an empty selector matches none, as in a Service."""
    wanted = selector.items()
    return [pod for pod in pods if wanted and wanted <= (pod["metadata"].get("labels") or {}).items()]


def ready_by_node(pods: Iterable[Object]) -> dict[str, Object]:
    """Return one ready pod for each node that has one, sorted by node."""
    found: dict[str, Object] = {}
    for pod in pods:
        if ready(pod):
            found.setdefault(pod["spec"]["nodeName"], pod)
    return dict(sorted(found.items()))


def why_not_ready(pod: Object) -> str:
    """Return briefly why the pod is not ready: what a container waits for or exited with, else its phase."""
    status = pod.get("status", {})
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for container in containers:
        reason = _container_reason(container)
        if reason:
            return reason
    unscheduled = condition(pod, "PodScheduled", "message")
    if condition(pod, "PodScheduled") == "False" and unscheduled:
        return f"not scheduled: {unscheduled}"
    if terminating(pod):
        return "being deleted"
    phase = str(status.get("phase", "unknown"))
    return "running but not ready" if phase == "Running" else phase.lower()


@contextmanager
def restoring_replicas(cluster: Cluster, workload: Object) -> Iterator[Callable[[int], None]]:
    """Provide a function that scales a Deployment or StatefulSet; restore its replicas however the block exits.

    Raises NotRestored, with the number that may remain, when that fails.
    """
    before = int(workload["spec"].get("replicas", 1))
    name = object_name(workload)
    present = "another number of"

    def to(replicas: int) -> None:
        nonlocal present
        if replicas != before:
            present = str(replicas)  # set before the request: an API that did not respond may have done it
        scale(cluster, workload, replicas)

    with restore.restoring(
        cluster,
        f"{name} to be scaled back to {before}",
        lambda: scale(cluster, workload, before),
        lambda: f"{name} was not scaled back, and may have {present} replicas instead of {before}",
    ):
        yield to


def scale(cluster: Cluster, workload: Object, replicas: int) -> None:
    """Set the number of replicas, as `kubectl scale` does, without waiting for it."""
    metadata = workload["metadata"]
    cluster.merge(
        workload["kind"],
        metadata["name"],
        {"spec": {"replicas": replicas}},
        namespace=metadata["namespace"],
        api_version=workload["apiVersion"],
        subresource="scale",
    )


def _container_reason(container: Mapping[str, Any]) -> str:
    state = container.get("state") or {}
    name = container.get("name", "")
    if waiting := state.get("waiting"):
        message = f": {waiting['message']}" if waiting.get("message") else ""
        return f"container {name} is waiting, {waiting.get('reason', 'without a reason')}{message}"
    terminated = state.get("terminated")
    if terminated and terminated.get("exitCode"):
        return f"container {name} exited with status {terminated['exitCode']} ({terminated.get('reason', '')})"
    if not container.get("ready") and container.get("restartCount"):
        return f"container {name} is not ready and was restarted {container['restartCount']} times"
    return ""


def explain(cluster: Cluster, pod: Object) -> tuple[str, ...]:
    """Return the last events about a pod, and the last log lines of its first container that is not ready.

    When all are ready, the log is that of the first one: the pod is ready and yet does not do what it should.
    """
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    lines = list(cluster.events(namespace, name)[-EVENTS:])
    containers = pod.get("status", {}).get("containerStatuses") or []
    for container in [one for one in containers if not one.get("ready")][:1] or containers[:1]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        crashed = waiting.get("reason") == "CrashLoopBackOff"
        if container.get("restartCount") or not waiting:
            text = cluster.logs(namespace, name, container["name"], LOG_LINES, previous=crashed)
            lines += [f"{container['name']}: {line}" for line in text.splitlines()[-LOG_LINES:]]
    return tuple(lines)


def explain_named(cluster: Cluster, own: Iterable[Object], names: Collection[str], most: int = 2) -> tuple[str, ...]:
    """Return what explains the first `most` pods with these names."""
    found = [pod for pod in own if pod["metadata"]["name"] in names]
    return tuple(f"{pod['metadata']['name']}: {line}" for pod in found[:most] for line in explain(cluster, pod))


def explain_or_events(cluster: Cluster, pod: Object, namespace: str, workload: str) -> tuple[str, ...]:
    """Return what explains a pod; without one ({}), the last events about its workload."""
    return explain(cluster, pod) if pod else tuple(cluster.events(namespace, workload)[-EVENTS:])

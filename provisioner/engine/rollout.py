"""Wait for rollouts; a rollout that does not complete in time is explained with events and log lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from provisioner.engine.step import Change
from provisioner.kube import Cluster, Object
from provisioner.kube.objects import object_name

KINDS = ("Deployment", "DaemonSet", "StatefulSet")


def wait_for_rollout(cluster: Cluster, manifests: Sequence[Object], timeout: float = 300) -> Iterator[Change]:
    """Yield one wait for each workload among `manifests` whose rollout is not complete."""
    for manifest in manifests:
        if manifest["kind"] not in KINDS:
            continue
        if not complete(_live(cluster, manifest)):
            yield Change(f"wait for {object_name(manifest)}", _wait_later(cluster, manifest, timeout), waits=True)


def complete(live: Object | None) -> bool:
    """Return whether a workload's controller has observed its last change and all its pods are updated and ready.

    A Deployment's `readyReplicas` includes old pods until they are gone, so this waits for that as well (like kubectl,
    polymorphichelpers/rollout_status.go).
    """
    if live is None:
        return False
    status, spec = live.get("status", {}), live["spec"]
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return False
    if live["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        updated, ready = status.get("updatedNumberScheduled", 0), status.get("numberReady", 0)
        return bool(wanted > 0 and updated >= wanted and ready >= wanted)
    wanted, updated = spec.get("replicas", 1), status.get("updatedReplicas", 0)
    if status.get("replicas", 0) > updated:
        return False
    return bool(updated >= wanted and status.get("readyReplicas", 0) >= wanted)


def explain(cluster: Cluster, live: Object | None) -> str:
    """Explain why a rollout is not complete: events, states of the pods that are not ready, their last log lines."""
    if live is None:
        return "it does not exist"
    namespace = live["metadata"]["namespace"]
    labels = live["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    lines = cluster.events(namespace, live["metadata"]["name"])[-3:]
    for pod in cluster.list("Pod", namespace, labels=selector):
        name = pod["metadata"]["name"]
        states = pod.get("status", {}).get("containerStatuses", [])
        if states and all(state.get("ready") for state in states):
            continue
        node = pod["spec"].get("nodeName")
        lines.append(f"pod {name} {f'on {node}' if node else '(not scheduled)'}: {_states(states)}")
        lines += cluster.events(namespace, name)[-4:]
        for state in states:
            if state.get("restartCount"):
                lines += cluster.logs(namespace, name, state["name"], 5, previous=True).splitlines()
    return "\n".join(lines)


def _live(cluster: Cluster, manifest: Object) -> Object | None:
    metadata = manifest["metadata"]
    return cluster.get(manifest["kind"], metadata["name"], metadata.get("namespace"), manifest["apiVersion"])


def _wait_later(cluster: Cluster, manifest: Object, timeout: float) -> Callable[[], None]:
    def wait() -> None:
        cluster.wait(
            f"{object_name(manifest)} to run",
            lambda: complete(_live(cluster, manifest)),
            timeout,
            lambda: explain(cluster, _live(cluster, manifest)),
        )

    return wait


def _states(states: Sequence[Object]) -> str:
    sentences = []
    for state in states:
        now: dict[str, Any] = state.get("state", {})
        kind = next(iter(now), "unknown")
        reason = now.get(kind, {}).get("reason", "")
        sentences.append(
            f"{state['name']} {kind}{f' ({reason})' if reason else ''}, {state.get('restartCount', 0)} restarts"
        )
    return "; ".join(sentences) or "no container has started"

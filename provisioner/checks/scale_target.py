"""The workload that a HorizontalPodAutoscaler scales, for the hpa check: how many pods are desired, how many ready.

The autoscaler's own status says what it wants, not what exists: its currentReplicas is the Deployment's spec.
"""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.checks import pods, workload_manifests
from provisioner.checks.check import NAMESPACE, Context, wait_for
from provisioner.engine import rollout
from provisioner.kube import Object

WORKLOAD = "hpa-pods"
START = 120.0  # seconds for the desired pods to become ready
# After a load: two scrapes without it, one sync of the autoscaler, and the start of the last pod it added.
REST = 180.0
TARGET = 80  # percent: the API server's default for an autoscaling/v1 object without a target


@dataclass(frozen=True)
class ScaleTarget:
    """An autoscaler, its scaleTargetRef's workload ({} without one), and that workload's pods, none terminating."""

    scaler: Object
    workload: Object
    pods: tuple[Object, ...]

    @property
    def ready(self) -> int:
        """Return how many pods are ready."""
        return sum(map(pods.ready, self.pods))

    @property
    def not_ready(self) -> list[Object]:
        """Return the pods that are not ready."""
        return [pod for pod in self.pods if not pods.healthy(pod)]

    @property
    def desired(self) -> int:
        """Return how many pods the autoscaler wants, even if it has not updated the workload yet."""
        status = self.scaler.get("status", {})
        replicas = int(self.workload.get("spec", {}).get("replicas", 1)) if self.workload else 0
        return max(replicas, int(status.get("desiredReplicas") or 0))

    @property
    def complete(self) -> bool:
        """Tell whether all desired pods are ready and the rollout is complete, which a plan would wait for."""
        return self.ready >= self.desired and rollout.complete(self.workload or None)

    @property
    def stable(self) -> bool:
        """Tell whether the autoscaler has no reason to add pods."""
        spec, percent = self.scaler["spec"], current_percent(self.scaler)
        below = percent is not None and percent <= int(spec.get("targetCPUUtilizationPercentage") or TARGET)
        return below or self.desired >= int(spec["maxReplicas"])


def read(context: Context, scaler: Object) -> ScaleTarget:
    """Return the autoscaler as it is now (as given, if it was deleted), its workload and that workload's pods."""
    scaler = next((one for one in scalers(context) if _name(one) == _name(scaler)), scaler)
    target = scaler["spec"]["scaleTargetRef"]
    version = target.get("apiVersion", "apps/v1")
    workload = context.cluster.get(target["kind"], target["name"], NAMESPACE, version) or {}
    labels = workload.get("spec", {}).get("selector", {}).get("matchLabels") or {}
    own = pods.matching(context.cluster.list("Pod", NAMESPACE), labels)
    return ScaleTarget(scaler, workload, tuple(pod for pod in own if not pods.terminating(pod)))


def wait_ready(context: Context, scaler: Object) -> ScaleTarget:
    """Return the workload once all desired pods are ready, or as it is when time is up."""
    return wait_for(
        context,
        f"the pods of {WORKLOAD} to be ready",
        lambda: read(context, scaler),
        lambda target: target.complete,
        timeout=START,
    )


def wait_stable(context: Context, scaler: Object) -> ScaleTarget:
    """Return the workload once the autoscaler adds no more pods after a load and those it added are ready.

    Its metrics are some seconds old, so it may add another pod after the load has ended.
    """
    return wait_for(
        context,
        f"{WORKLOAD} to be stable after the load",
        lambda: read(context, scaler),
        lambda target: target.stable and target.complete,
        timeout=REST,
    )


def explain(context: Context, target: ScaleTarget) -> tuple[str, ...]:
    """Return what explains the first pods that are not ready; without any, the workload's last events."""
    if target.not_ready:
        names = [_name(pod) for pod in target.not_ready]
        return pods.explain_named(context.cluster, target.not_ready, names)
    return tuple(context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :])


def scalers(context: Context) -> list[Object]:
    """Return the autoscalers of the shipped workload, as autoscaling/v1 objects."""
    names = {_name(one) for one in workload_manifests.objects(context.site, "HorizontalPodAutoscaler", "hpa")}
    found = context.cluster.list("HorizontalPodAutoscaler", NAMESPACE, api_version="autoscaling/v1")
    return [one for one in found if _name(one) in names]


def current_percent(scaler: Object) -> int | None:
    """Return the CPU use in percent of the requests, None while it is unknown; 0 is a value."""
    percent = scaler.get("status", {}).get("currentCPUUtilizationPercentage")
    return None if percent is None else int(percent)


def _name(item: Object) -> str:
    return str(item["metadata"]["name"])

"""A workload that an autoscaler sizes: how many pods it asked for, and how many of them are ready.

The autoscaler's own status says what it wants, not what there is: its currentReplicas is the Deployment's spec.
"""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.checks import pods, workload_manifests
from provisioner.checks.check import NAMESPACE, Context, wait_for
from provisioner.engine import rollout
from provisioner.kube import Object

WORKLOAD = "hpa-pods"
START = 120.0  # seconds for the pods that were asked for to be ready
# After a load: two scrapes that see none of it, a round of the autoscaler, and the start of what it asked for last.
REST = 180.0
TARGET = 80  # percent, what the API server takes for a target that an autoscaling/v1 object does not name


@dataclass(frozen=True)
class ScaleTarget:
    """One look: the autoscaler, the workload that it sizes ({} for none), and the pods of that which stay."""

    scaler: Object
    workload: Object
    pods: tuple[Object, ...]

    @property
    def ready(self) -> int:
        """Return how many pods are ready."""
        return sum(map(pods.ready, self.pods))

    @property
    def waiting(self) -> list[Object]:
        """Return the pods that are not ready."""
        return [pod for pod in self.pods if not pods.healthy(pod)]

    @property
    def asked(self) -> int:
        """Return how many pods the autoscaler asked for, whether or not the workload has been told yet."""
        status = self.scaler.get("status", {})
        told = int(self.workload.get("spec", {}).get("replicas", 1)) if self.workload else 0
        return max(told, int(status.get("desiredReplicas") or 0))

    @property
    def complete(self) -> bool:
        """Tell whether every pod that was asked for is ready, for us as for the plan, which waits for it else."""
        return self.ready >= self.asked and rollout.complete(self.workload or None)

    @property
    def quiet(self) -> bool:
        """Tell whether the autoscaler has no reason to ask for more."""
        spec, percent = self.scaler["spec"], current(self.scaler)
        calm = percent is not None and percent <= int(spec.get("targetCPUUtilizationPercentage") or TARGET)
        return calm or self.asked >= int(spec["maxReplicas"])


def look(context: Context, scaler: Object) -> ScaleTarget:
    """Return the autoscaler as it is now (as given, when it is gone), its workload and the pods of that."""
    scaler = next((one for one in scalers(context) if _name(one) == _name(scaler)), scaler)
    target = scaler["spec"]["scaleTargetRef"]
    version = target.get("apiVersion", "apps/v1")
    workload = context.cluster.get(target["kind"], target["name"], NAMESPACE, version) or {}
    labels = workload.get("spec", {}).get("selector", {}).get("matchLabels") or {}
    own = pods.selected(context.cluster.list("Pod", NAMESPACE), labels)
    return ScaleTarget(scaler, workload, tuple(pod for pod in own if not pods.terminating(pod)))


def wait_ready(context: Context, scaler: Object) -> ScaleTarget:
    """Return the workload once all pods that were asked for are ready, or as it is by then."""
    return wait_for(
        context,
        f"the pods of {WORKLOAD} to be ready",
        lambda: look(context, scaler),
        lambda seen: seen.complete,
        timeout=START,
    )


def wait_stable(context: Context, scaler: Object) -> ScaleTarget:
    """Return the workload once the autoscaler asks for no more after a load and what it asked for runs.

    It learns of the load's end from figures that are some seconds old, and may ask for another pod until then.
    """
    return wait_for(
        context,
        f"{WORKLOAD} to come to rest after the load",
        lambda: look(context, scaler),
        lambda seen: seen.quiet and seen.complete,
        timeout=REST,
    )


def explain(context: Context, seen: ScaleTarget) -> tuple[str, ...]:
    """Return what explains the first pods that wait; where there is none, the last events about the workload."""
    if seen.waiting:
        names = [_name(pod) for pod in seen.waiting]
        return pods.explain_named(context.cluster, seen.waiting, names)
    return tuple(context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :])


def scalers(context: Context) -> list[Object]:
    """Return the autoscalers of the shipped workload, as autoscaling/v1 shows them."""
    names = {_name(one) for one in workload_manifests.objects(context.site, "HorizontalPodAutoscaler", "hpa")}
    found = context.cluster.list("HorizontalPodAutoscaler", NAMESPACE, api_version="autoscaling/v1")
    return [one for one in found if _name(one) in names]


def current(scaler: Object) -> int | None:
    """Return the CPU use in percent of the requests; None while it is unknown. 0 is a figure."""
    percent = scaler.get("status", {}).get("currentCPUUtilizationPercentage")
    return None if percent is None else int(percent)


def _name(item: Object) -> str:
    return str(item["metadata"]["name"])

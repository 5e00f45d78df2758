"""The pods behind a Service, for the nodeport and loadbalancer checks: how many are ready, and how many should be.

The Deployment says how many should be, not the number that happens to be ready.
"""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.checks import pods
from provisioner.checks.check import NAMESPACE, Context, Finding, failed, wait_for
from provisioner.kube import Object
from provisioner.kube.objects import namespaced_name, object_name

_COMPLETED = ("Succeeded", "Failed")  # such pods remain, as an evicted one does, and others replace them


@dataclass(frozen=True)
class ServiceBackends:
    """A Service's pods, without those that are terminating or completed, and the Deployments that manage them.

    wanted: how many pods there should be.
    """

    pods: tuple[Object, ...]
    deployments: tuple[Object, ...]
    wanted: int

    @property
    def ready(self) -> set[str]:
        """Return the names of the ready pods."""
        return {pod["metadata"]["name"] for pod in self.pods if pods.ready(pod)}

    @property
    def not_ready(self) -> list[Object]:
        """Return the pods that are not ready."""
        return [pod for pod in self.pods if not pods.ready(pod)]

    @property
    def complete(self) -> bool:
        """Tell whether all wanted pods exist and are ready."""
        return bool(self.pods) and not self.not_ready and len(self.pods) >= self.wanted


def read(context: Context, service: Object) -> ServiceBackends:
    """Return the pods behind a Service now; without a Deployment, the existing pods are the wanted ones."""
    selector = service["spec"].get("selector") or {}
    found = pods.matching(context.cluster.list("Pod", NAMESPACE), selector)
    own = tuple(
        pod for pod in found if not pods.terminating(pod) and pod.get("status", {}).get("phase") not in _COMPLETED
    )
    deployments = tuple(
        one
        for one in context.cluster.list("Deployment", NAMESPACE, "apps/v1")
        if selector and selector.items() <= _labels(one).items()
    )
    wanted = sum(int(one["spec"].get("replicas", 1)) for one in deployments) if deployments else len(own)
    return ServiceBackends(own, deployments, wanted)


def wait_ready(context: Context, service: Object) -> ServiceBackends:
    """Return the pods behind a Service once all are ready, or as they are when time is up."""
    return wait_for(
        context,
        f"the pods of {namespaced_name(service)}",
        lambda: read(context, service),
        lambda backends: backends.complete,
        timeout=120,
    )


def judge(context: Context, prefix: str, service: Object, backends: ServiceBackends) -> Finding | None:
    """Return a finding on pods that are missing or not ready, None without any. prefix: of the finding's code."""
    if backends.complete:
        return None
    why = "; ".join(f"{pod['metadata']['name']}: {pods.why_not_ready(pod)}" for pod in backends.not_ready)
    detail = f"has {len(backends.ready)} of {max(backends.wanted, len(backends.pods))} pods ready"
    return failed(
        f"{prefix}_PODS_NOT_READY" if backends.ready else f"{prefix}_NO_PODS",
        object_name(service),
        detail + (f" ({why})" if why else ""),
        f"kubectl -n {NAMESPACE} get deployments,pods -o wide",
        *explain(context, service, backends),
    )


def explain(context: Context, service: Object, backends: ServiceBackends) -> tuple[str, ...]:
    """Return what explains the first pods that are not ready; without any, events of what should create more."""
    if backends.not_ready:
        return tuple(line for pod in backends.not_ready[:2] for line in pods.explain(context.cluster, pod))
    name = (backends.deployments or (service,))[0]["metadata"]["name"]
    return tuple(context.cluster.events(NAMESPACE, name)[-pods.EVENTS :])


def _labels(deployment: Object) -> dict[str, str]:
    return (deployment["spec"].get("template", {}).get("metadata") or {}).get("labels") or {}

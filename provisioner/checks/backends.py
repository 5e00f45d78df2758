"""The pods behind a Service, and how many there should be: what its Deployment says, not what happens to be ready."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.checks import pods
from provisioner.checks.check import NAMESPACE, Context, Finding, failed, wait_for
from provisioner.kube import Object
from provisioner.kube.objects import namespaced_name, object_name

_DONE = ("Succeeded", "Failed")  # such pods stay behind, as an evicted one does, and others take their place


@dataclass(frozen=True)
class ServiceBackends:
    """The pods of a Service, but for those that go or are done; the Deployments that make them, and their number."""

    pods: tuple[Object, ...]
    deployments: tuple[Object, ...]
    wanted: int

    @property
    def ready(self) -> set[str]:
        """Return the names of the pods that are ready."""
        return {pod["metadata"]["name"] for pod in self.pods if pods.ready(pod)}

    @property
    def waiting(self) -> list[Object]:
        """Return the pods that are not ready."""
        return [pod for pod in self.pods if not pods.ready(pod)]

    @property
    def complete(self) -> bool:
        """Tell whether all pods that should be there are, and all are ready."""
        return bool(self.pods) and not self.waiting and len(self.pods) >= self.wanted


def look(context: Context, service: Object) -> ServiceBackends:
    """Return the pods behind a Service now. Pods that no Deployment makes are wanted as they are."""
    selector = service["spec"].get("selector") or {}
    found = pods.selected(context.cluster.list("Pod", NAMESPACE), selector)
    own = tuple(pod for pod in found if not pods.terminating(pod) and pod.get("status", {}).get("phase") not in _DONE)
    makers = tuple(
        one
        for one in context.cluster.list("Deployment", NAMESPACE, "apps/v1")
        if selector and selector.items() <= _labels(one).items()
    )
    wanted = sum(int(one["spec"].get("replicas", 1)) for one in makers) if makers else len(own)
    return ServiceBackends(own, makers, wanted)


def wait_ready(context: Context, service: Object) -> ServiceBackends:
    """Return the pods behind a Service once all are there and ready, or what there is by then."""
    return wait_for(
        context,
        f"the pods of {namespaced_name(service)}",
        lambda: look(context, service),
        lambda now: now.complete,
        timeout=120,
    )


def judge(context: Context, prefix: str, service: Object, now: ServiceBackends) -> Finding | None:
    """Return a finding on the pods that are missing or not ready, None when all is well. prefix: of its code."""
    if now.complete:
        return None
    why = "; ".join(f"{pod['metadata']['name']}: {pods.why_not_ready(pod)}" for pod in now.waiting)
    said = f"has {len(now.ready)} of {max(now.wanted, len(now.pods))} pods ready behind it"
    return failed(
        f"{prefix}_PODS_NOT_READY" if now.ready else f"{prefix}_NO_PODS",
        object_name(service),
        said + (f" ({why})" if why else ""),
        f"kubectl -n {NAMESPACE} get deployments,pods -o wide",
        *explain(context, service, now),
    )


def explain(context: Context, service: Object, now: ServiceBackends) -> tuple[str, ...]:
    """Return what explains the first pods that are not ready; where all are, events about who should make more."""
    if now.waiting:
        return tuple(line for pod in now.waiting[:2] for line in pods.explain(context.cluster, pod))
    name = (now.deployments or (service,))[0]["metadata"]["name"]
    return tuple(context.cluster.events(NAMESPACE, name)[-pods.EVENTS :])


def _labels(deployment: Object) -> dict[str, str]:
    return (deployment["spec"].get("template", {}).get("metadata") or {}).get("labels") or {}

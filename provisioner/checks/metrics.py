"""What the metrics API says of the pods, as `kubectl top pods` shows it, and of which it says nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from provisioner.checks import pods
from provisioner.checks.check import NAMESPACE, Context, wait_for
from provisioner.errors import ClusterError
from provisioner.kube import Object

PATH = f"/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods"
# metrics-server has figures of a pod after two of its scrapes: a pod that is ready now has had them by then.
TIMEOUT = 120.0
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
SUFFIXES = {"n": "1e-9", "u": "1e-6", "m": "1e-3", "": "1", "k": "1e3", "M": "1e6", "G": "1e9"} | {
    f"{letter}i": str(1024**power) for power, letter in enumerate("KMGT", start=1)
}


@dataclass(frozen=True)
class Figures:
    """One look. use: of each pod, by name. refusal: why there are none. missing: the pods that should have some."""

    use: Mapping[str, str]
    refusal: str
    missing: Sequence[Object]


def wait_complete(context: Context) -> Figures:
    """Return the figures once each pod that is ready now has some, or what there is by then.

    A pod that goes meanwhile is not missed, and neither is one that comes: other checks delete and scale beside this.
    """
    wanted = {_uid(pod) for pod in _ready(context)}
    return wait_for(
        context,
        "the metrics API to have figures for each pod",
        lambda: look(context, wanted),
        lambda seen: bool(seen.use) and not seen.missing,
        timeout=TIMEOUT,
    )


def look(context: Context, wanted: set[str]) -> Figures:
    """Return the figures as they are. wanted: the uids of the pods that should have some, for as long as they stay."""
    use, refusal = pod_metrics(context)
    missing = [pod for pod in _ready(context) if _uid(pod) in wanted and pod["metadata"]["name"] not in use]
    return Figures(use, refusal, missing)


def pod_metrics(context: Context) -> tuple[dict[str, str], str]:
    """Return what `kubectl top pods` shows by pod, and why there is nothing when the metrics API refuses."""
    try:
        answer = context.cluster.raw(PATH, patience=0)
    except ClusterError as error:
        return {}, error.message
    items = answer.get("items") or [] if isinstance(answer, dict) else []
    return {item["metadata"]["name"]: use(item["containers"]) for item in items if item.get("containers")}, ""


def use(containers: Sequence[Mapping[str, Any]]) -> str:
    """Return the CPU and memory use of a pod's containers together, as `kubectl top` writes it."""
    usages = [container.get("usage") or {} for container in containers]
    cpu = sum((quantity(usage.get("cpu", "0")) for usage in usages), Decimal(0))
    memory = sum((quantity(usage.get("memory", "0")) for usage in usages), Decimal(0))
    return f"{math.ceil(cpu * 1000)}m {memory // 2**20}Mi"


def quantity(text: str) -> Decimal:
    """Return a Kubernetes quantity as a number.

    >>> quantity("15m"), quantity("12Mi")
    (Decimal('0.015'), Decimal('12582912'))
    """
    number = text.rstrip("numkMGTKi")
    return Decimal(number) * Decimal(SUFFIXES[text[len(number) :]])


def explain(context: Context) -> list[str]:
    """Return what the API says of metrics-server, and what that says itself."""
    cluster = context.cluster
    service = cluster.get("APIService", "v1beta1.metrics.k8s.io", api_version="apiregistration.k8s.io/v1")
    lines = ["there is no APIService v1beta1.metrics.k8s.io"]
    if service is not None:
        message = pods.condition(service, "Available", "message")
        lines = [f"APIService v1beta1.metrics.k8s.io: Available {pods.condition(service, 'Available')}: {message}"]
    for pod in cluster.list("Pod", "kube-system", labels="k8s-app=metrics-server"):
        if not pods.ready(pod):
            lines.append(f"{pod['metadata']['name']}: {pods.why_not_ready(pod)}")
        lines += cluster.logs("kube-system", pod["metadata"]["name"], lines=pods.LOG_LINES).splitlines()
    return lines


def _ready(context: Context) -> list[Object]:
    return [pod for pod in context.cluster.list("Pod", NAMESPACE) if pods.ready(pod)]


def _uid(pod: Object) -> str:
    return str(pod["metadata"]["uid"])

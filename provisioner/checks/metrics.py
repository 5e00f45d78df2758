"""Pod metrics from the metrics API, for the hpa check: as `kubectl top pods` shows them, and which are missing."""

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
# metrics-server reports a pod after two scrapes, which every pod that is ready now has had by then.
TIMEOUT = 120.0
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
SUFFIXES = {"n": "1e-9", "u": "1e-6", "m": "1e-3", "": "1", "k": "1e3", "M": "1e6", "G": "1e9"} | {
    f"{letter}i": str(1024**power) for power, letter in enumerate("KMGT", start=1)
}


@dataclass(frozen=True)
class PodMetrics:
    """CPU and memory use by pod name; error: why there is none; missing: the pods that should have metrics."""

    usage: Mapping[str, str]
    error: str
    missing: Sequence[Object]


def wait_complete(context: Context) -> PodMetrics:
    """Return the metrics once every pod that is ready now has some, or what there is when time is up.

    Pods that come or go meanwhile do not count: other checks delete and scale at the same time.
    """
    wanted = {_uid(pod) for pod in _ready(context)}
    return wait_for(
        context,
        "the metrics API to have metrics for every pod",
        lambda: read(context, wanted),
        lambda metrics: bool(metrics.usage) and not metrics.missing,
        timeout=TIMEOUT,
    )


def read(context: Context, wanted: set[str]) -> PodMetrics:
    """Return the metrics as they are now. wanted: the uids of the pods that should have some while they exist."""
    usage, error = _usage(context)
    missing = [pod for pod in _ready(context) if _uid(pod) in wanted and pod["metadata"]["name"] not in usage]
    return PodMetrics(usage, error, missing)


def _usage(context: Context) -> tuple[dict[str, str], str]:
    try:
        answer = context.cluster.raw(PATH, retry_for=0)
    except ClusterError as error:
        return {}, error.message
    items = answer.get("items") or [] if isinstance(answer, dict) else []
    return {item["metadata"]["name"]: total(item["containers"]) for item in items if item.get("containers")}, ""


def total(containers: Sequence[Mapping[str, Any]]) -> str:
    """Return the CPU and memory use of all containers of a pod, formatted as `kubectl top` does."""
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
    """Return the state of metrics-server's APIService and the last log lines of its pods."""
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

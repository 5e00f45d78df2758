"""The autoscaler has a figure to decide by: the metrics API lists pods, and each HPA knows its current CPU use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from provisioner.checks import pods
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, bad, good, settle
from provisioner.errors import ClusterError

if TYPE_CHECKING:
    from provisioner.objects import Object
    from provisioner.site import Site

METRICS = f"/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods"


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding for the metrics API, and one for each HorizontalPodAutoscaler of the workloads."""
    # metrics-server needs two of its scrapes, the autoscaler then one of its own rounds of 15 s.
    figures, refusal = settle(
        context, "the metrics API", lambda: pod_metrics(context), lambda seen: bool(seen[0]), timeout=120
    )
    if figures:
        shown = ", ".join(sorted(figures)[:3]) + (", …" if len(figures) > 3 else "")
        yield good("METRICS_PODS", "metrics API", f"has figures for {len(figures)} pods of {NAMESPACE} ({shown})")
    else:
        yield bad(
            "METRICS_MISSING",
            "metrics API",
            f"has no figures for the pods of {NAMESPACE}" + (f": {refusal}" if refusal else ""),
            "kubectl get apiservice v1beta1.metrics.k8s.io; kubectl -n kube-system logs -l k8s-app=metrics-server",
            *_metrics_server(context),
        )
        return
    scalers = settle(
        context,
        "a current metric of each HorizontalPodAutoscaler",
        lambda: context.cluster.list("HorizontalPodAutoscaler", NAMESPACE, api_version="autoscaling/v1"),
        lambda seen: bool(seen) and all(current(one) is not None for one in seen),
        timeout=120,
    )
    if not scalers:
        yield bad("HPA_NONE", NAMESPACE, "has no HorizontalPodAutoscaler", "provisioner apply")
    for scaler in scalers:
        yield _judge(context, scaler)


def _judge(context: Context, scaler: Object) -> Finding:
    name, spec = scaler["metadata"]["name"], scaler["spec"]
    subject = f"HorizontalPodAutoscaler {pods.name_of(scaler)}"
    percent = current(scaler)
    if percent is None:
        return bad(
            "HPA_NO_METRIC",
            subject,
            "does not know the CPU use of its pods",
            f"kubectl -n {NAMESPACE} describe hpa {name}; its pods need CPU requests",
            *context.cluster.events(NAMESPACE, name)[-pods.EVENTS :],
        )
    replicas = scaler["status"].get("currentReplicas", 0)
    return good(
        "HPA_METRIC",
        subject,
        f"sees {percent} % CPU of a target of {spec.get('targetCPUUtilizationPercentage')} %, {replicas} of "
        f"{spec.get('minReplicas', 1)} to {spec['maxReplicas']} pods",
    )


def current(scaler: Object) -> int | None:
    """Return the CPU use in percent of the requests; None while it is unknown. 0 is a figure."""
    percent = scaler.get("status", {}).get("currentCPUUtilizationPercentage")
    return None if percent is None else int(percent)


def pod_metrics(context: Context) -> tuple[list[str], str]:
    """Return the pods that the metrics API has figures for, and why there are none when it refuses."""
    try:
        answer = context.cluster.raw(METRICS, patience=0)
    except ClusterError as error:
        return [], error.message
    items = answer.get("items") or [] if isinstance(answer, dict) else []
    return [item["metadata"]["name"] for item in items if item.get("containers")], ""


def _metrics_server(context: Context) -> list[str]:
    cluster = context.cluster
    service = cluster.get("APIService", "v1beta1.metrics.k8s.io", api_version="apiregistration.k8s.io/v1")
    lines = ["there is no APIService v1beta1.metrics.k8s.io"]
    if service is not None:
        message = pods.condition(service, "Available", "message")
        lines = [f"APIService v1beta1.metrics.k8s.io: Available {pods.condition(service, 'Available')}: {message}"]
    for pod in cluster.list("Pod", "kube-system", labels="k8s-app=metrics-server"):
        if not pods.ready(pod):
            lines.append(f"{pod['metadata']['name']}: {pods.trouble(pod)}")
        lines += cluster.logs("kube-system", pod["metadata"]["name"], lines=pods.LOG_LINES).splitlines()
    return lines


def _not_for(site: Site) -> str:
    if not site.metrics.enabled:
        return "[metrics] is not enabled"
    return "" if "hpa" in site.workloads.enabled else '[workloads] enabled has no "hpa"'


CHECK = Check("hpa", "The metrics API lists pods, and the autoscaler has a current metric.", run, _not_for)

"""The autoscaler has figures to decide by, adds pods under load, and takes them away when it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from provisioner.addresses import host_port
from provisioner.checks import load, pods, shipped, web
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, bad, good, settle, untried
from provisioner.errors import ClusterError

if TYPE_CHECKING:
    from provisioner.objects import Object
    from provisioner.site import Site

WORKLOAD = "hpa-pods"
METRICS = f"/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods"
RISE = 240.0  # two scrapes, two rounds of the autoscaler, the start of a pod; then once more as long
# kube-controller-manager's --horizontal-pod-autoscaler-downscale-stabilization is five minutes unless it is set.
FALL = 480.0
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
SUFFIXES = {"n": "1e-9", "u": "1e-6", "m": "1e-3", "": "1", "k": "1e3", "M": "1e6", "G": "1e9"} | {
    f"{letter}i": str(1024**power) for power, letter in enumerate("KMGT", start=1)
}


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding for the metrics API and one for each autoscaler; then put load on ours and watch it."""
    # metrics-server needs two of its scrapes, the autoscaler then one of its own rounds of 15 s.
    figures, refusal = settle(
        context, "the metrics API", lambda: pod_metrics(context), lambda seen: bool(seen[0]), timeout=120
    )
    if not figures:
        yield bad(
            "METRICS_MISSING",
            "metrics API",
            f"has no figures for the pods of {NAMESPACE}" + (f": {refusal}" if refusal else ""),
            "kubectl get apiservice v1beta1.metrics.k8s.io; kubectl -n kube-system logs -l k8s-app=metrics-server",
            *_metrics_server(context),
        )
        return
    shown = ", ".join(f"{name} {use}" for name, use in sorted(figures.items())[:3])
    more = ", …" if len(figures) > 3 else ""
    yield good("METRICS_PODS", "metrics API", f"has figures for {len(figures)} pods of {NAMESPACE} ({shown}{more})")
    found = settle(
        context,
        "a current metric of each HorizontalPodAutoscaler",
        lambda: scalers(context),
        lambda seen: bool(seen) and all(current(one) is not None for one in seen),
        timeout=120,
    )
    if not found:
        yield bad("HPA_NONE", NAMESPACE, "has no HorizontalPodAutoscaler", "provisioner apply")
    for scaler in found:
        yield _judge(context, scaler)
    for scaler in found:
        if scaler["metadata"]["name"] == WORKLOAD and current(scaler) is not None:
            yield from _moves(context, scaler)


def _judge(context: Context, scaler: Object) -> Finding:
    name, spec = scaler["metadata"]["name"], scaler["spec"]
    percent = current(scaler)
    if percent is None:
        return bad(
            "HPA_NO_METRIC",
            subject(scaler),
            "does not know the CPU use of its pods",
            f"kubectl -n {NAMESPACE} describe hpa {name}; its pods need CPU requests",
            *context.cluster.events(NAMESPACE, name)[-pods.EVENTS :],
        )
    return good(
        "HPA_METRIC",
        subject(scaler),
        f"sees {percent} % CPU of a target of {spec.get('targetCPUUtilizationPercentage')} %, {replicas(scaler)} of "
        f"{spec.get('minReplicas', 1)} to {spec['maxReplicas']} pods",
    )


def _moves(context: Context, scaler: Object) -> Iterator[Finding]:
    """Yield whether the pods get more under load and, with --full, fewer when it ends."""
    most = int(scaler["spec"]["maxReplicas"])
    if replicas(scaler) >= most and context.full:
        fallen = _falls(context, most)
        if not fallen.ok:
            yield fallen
            return
        scaler = ours(context, scaler)
    before = replicas(scaler)
    if before >= most:
        yield untried(
            subject(scaler),
            f"has all its {most} pods already, as in the minutes after a load: that it adds pods was not tried "
            "(with --full, it is waited for first)",
        )
        return
    if not context.thorough:
        yield untried(subject(scaler), "under load, when it adds pods: not tried without --full")
        return
    door = entrance(context)
    if door is None:
        yield bad(
            "HPA_NO_ENTRANCE",
            subject(scaler),
            "cannot be put under load: no address of its Service answers from here",
            f"kubectl -n {NAMESPACE} get service,endpoints {WORKLOAD}",
            *context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :],
        )
        return
    began = time.monotonic()
    with load.on(*door, limit=context.site.timeout(RISE), timeout=context.site.timeout(10)) as sent:
        scaler = settle(
            context,
            f"{WORKLOAD} to get more pods than {before} under load",
            lambda: ours(context, scaler),
            lambda seen: replicas(seen) > before,
            timeout=RISE,
        )
    seconds = time.monotonic() - began
    if replicas(scaler) <= before:
        yield bad(
            "HPA_NOT_RISEN",
            subject(scaler),
            f"has {replicas(scaler)} pods as before after {seconds:.0f} s of load, and sees {current(scaler)} % CPU",
            f"kubectl -n {NAMESPACE} describe hpa {WORKLOAD}; kubectl -n {NAMESPACE} top pods",
            f"load on {host_port(*door)}: {sent}",
            *context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :],
        )
        return
    yield good(
        "HPA_RISES",
        subject(scaler),
        f"went from {before} to {replicas(scaler)} pods after {seconds:.0f} s of load ({sent})",
    )
    if not context.full:
        yield untried(
            subject(scaler),
            f"goes back to {before} about five minutes after the load: not waited for without --full",
        )
        return
    yield _falls(context, replicas(scaler))


def _falls(context: Context, risen: int) -> Finding:
    began = time.monotonic()
    scaler = _fallen(context, risen)
    seconds = f"{time.monotonic() - began:.0f} s"
    if replicas(scaler) < risen:
        return good("HPA_FALLS", subject(scaler), f"went down to {replicas(scaler)} pods {seconds} after the load")
    return bad(
        "HPA_NOT_FALLEN",
        subject(scaler),
        f"has {replicas(scaler)} pods still, {seconds} after the load, and sees {current(scaler)} % CPU",
        f"kubectl -n {NAMESPACE} describe hpa {WORKLOAD}",
        *context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :],
    )


def _fallen(context: Context, below: int) -> Object:
    return settle(
        context,
        f"{WORKLOAD} to get fewer pods than {below}, which takes five minutes",
        lambda: ours(context, {}),
        lambda seen: bool(seen) and replicas(seen) < below,
        timeout=FALL,
        pause=5,
    )


def scalers(context: Context) -> list[Object]:
    """Return the autoscalers of the shipped workload, as autoscaling/v1 shows them."""
    names = {one["metadata"]["name"] for one in shipped.objects(context.site, "HorizontalPodAutoscaler", "hpa")}
    found = context.cluster.list("HorizontalPodAutoscaler", NAMESPACE, api_version="autoscaling/v1")
    return [one for one in found if one["metadata"]["name"] in names]


def ours(context: Context, otherwise: Object) -> Object:
    """Return our autoscaler as it is now."""
    return next((one for one in scalers(context) if one["metadata"]["name"] == WORKLOAD), otherwise)


def subject(scaler: Object) -> str:
    """Return how a finding names an autoscaler."""
    return f"HorizontalPodAutoscaler {pods.name_of(scaler)}" if scaler else f"HorizontalPodAutoscaler {WORKLOAD}"


def replicas(scaler: Object) -> int:
    """Return how many pods the autoscaler has seen."""
    return int(scaler.get("status", {}).get("currentReplicas", 0))


def current(scaler: Object) -> int | None:
    """Return the CPU use in percent of the requests; None while it is unknown. 0 is a figure."""
    percent = scaler.get("status", {}).get("currentCPUUtilizationPercentage")
    return None if percent is None else int(percent)


def entrance(context: Context) -> tuple[str, int] | None:
    """Return the first address and port of the workload's Service that answers here: an external IP, else a node."""
    service = context.cluster.get("Service", WORKLOAD, NAMESPACE)
    if service is None:
        return None
    port = service["spec"]["ports"][0]
    balancers = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    doors = [(str(entry["ip"]), int(port["port"])) for entry in balancers if entry.get("ip")]
    if port.get("nodePort"):
        doors += [(host.address, int(port["nodePort"])) for host in context.site.hosts]
    timeout = context.site.timeout(5)
    return next((door for door in doors if web.get(*door, "/hostname", timeout=timeout).status == 200), None)


def pod_metrics(context: Context) -> tuple[dict[str, str], str]:
    """Return what `kubectl top pods` shows by pod, and why there is nothing when the metrics API refuses."""
    try:
        answer = context.cluster.raw(METRICS, patience=0)
    except ClusterError as error:
        return {}, error.message
    items = answer.get("items") or [] if isinstance(answer, dict) else []
    return {item["metadata"]["name"]: use(item["containers"]) for item in items if item.get("containers")}, ""


def use(containers: list[Mapping[str, Any]]) -> str:
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


CHECK = Check(
    "hpa", "The metrics API has figures, and an autoscaler adds pods under load.", run, _not_for, beside=True
)

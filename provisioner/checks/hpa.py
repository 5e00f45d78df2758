"""An autoscaler has metrics, adds pods under load, and removes them afterwards.

More and fewer pods means ready pods: what the autoscaler requests proves nothing by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from provisioner.addresses import host_port
from provisioner.checks import http_client, load_generator, metrics, pods, scale_target
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, skipped, wait_for
from provisioner.checks.scale_target import WORKLOAD, ScaleTarget, current_percent
from provisioner.kube import Object
from provisioner.kube.objects import object_name
from provisioner.site import Site
from provisioner.text import pluralize

SCALE_UP = 240.0  # seconds for two scrapes, two syncs of the autoscaler and the start of a pod, doubled
# kube-controller-manager's --horizontal-pod-autoscaler-downscale-stabilization is five minutes unless it is set.
SCALE_DOWN = 480.0


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding on the metrics API and one on each autoscaler, then on the shipped one under load."""
    pod_metrics = metrics.wait_complete(context)
    yield _metrics(context, pod_metrics)
    if not pod_metrics.usage:
        return
    # metrics-server has had its two scrapes; the autoscaler needs one sync, every 15 s.
    found = wait_for(
        context,
        "a current metric of every HorizontalPodAutoscaler",
        lambda: scale_target.scalers(context),
        lambda scalers: bool(scalers) and all(current_percent(one) is not None for one in scalers),
        timeout=120,
    )
    if not found:
        yield failed("HPA_NONE", NAMESPACE, "has no HorizontalPodAutoscaler", "provisioner apply")
    for scaler in found:
        yield _metric(context, scaler)
    for scaler in found:
        if scaler["metadata"]["name"] == WORKLOAD and current_percent(scaler) is not None:
            yield from _scaling(context, scaler)


def _metrics(context: Context, found: metrics.PodMetrics) -> Finding:
    subject, logs = "metrics API", "kubectl -n kube-system logs -l k8s-app=metrics-server"
    if not found.usage:
        return failed(
            "METRICS_MISSING",
            subject,
            f"has no metrics for the pods of {NAMESPACE}" + (f": {found.error}" if found.error else ""),
            f"kubectl get apiservice v1beta1.metrics.k8s.io; {logs}",
            *metrics.explain(context),
        )
    have = f"has metrics for {pluralize(len(found.usage), 'pod')} of {NAMESPACE}"
    if found.missing:
        names = [f"{pod['metadata']['name']} on {pod['spec'].get('nodeName')}" for pod in found.missing]
        return failed(
            "METRICS_PODS_MISSING",
            subject,
            f"{have} and none for {', '.join(sorted(names))}",
            f"kubectl -n {NAMESPACE} top pods; {logs} names the kubelet that did not answer",
            *metrics.explain(context),
        )
    shown = ", ".join(f"{name} {usage}" for name, usage in sorted(found.usage.items())[:3])
    more = ", …" if len(found.usage) > 3 else ""
    return passed("METRICS_PODS", subject, f"{have} ({shown}{more})")


def _metric(context: Context, scaler: Object) -> Finding:
    name, spec = scaler["metadata"]["name"], scaler["spec"]
    percent = current_percent(scaler)
    if percent is None:
        return failed(
            "HPA_NO_METRIC",
            object_name(scaler),
            "does not know the CPU use of its pods",
            f"kubectl -n {NAMESPACE} describe hpa {name}; its pods need CPU requests",
            *context.cluster.events(NAMESPACE, name)[-pods.EVENTS :],
        )
    return passed(
        "HPA_METRIC",
        object_name(scaler),
        f"sees {percent}% CPU, has a target of {spec.get('targetCPUUtilizationPercentage')}%, and wants "
        f"{scaler.get('status', {}).get('desiredReplicas', 0)} of {spec.get('minReplicas', 1)} to "
        f"{spec['maxReplicas']} pods",
    )


def _scaling(context: Context, scaler: Object) -> Iterator[Finding]:
    """Yield whether more pods are ready under load and, with --full, fewer afterwards."""
    most = int(scaler["spec"]["maxReplicas"])
    target = scale_target.wait_ready(context, scaler)
    if not target.complete:
        yield _not_ready(context, target, "before any load")
        return
    if target.ready >= most and context.full:
        finding, target = _scale_down(context, scaler, most, time.monotonic())
        if not finding.ok:
            yield finding
            return
    if target.ready >= most:
        yield skipped(
            object_name(scaler),
            f"still has its maximum of {most} pods, as for minutes after a load; scaling up was not tried "
            "(--full waits first)",
        )
        return
    if not context.thorough:
        yield skipped(object_name(scaler), "scaling up under load needs --full")
        return
    yield from _under_load(context, scaler, target.ready)


def _under_load(context: Context, scaler: Object, before: int) -> Iterator[Finding]:
    """Put load on the workload, `before` pods of which are ready; yield what it did, then what its end did."""
    endpoint = _endpoint(context)
    if endpoint is None:
        yield failed(
            "HPA_NO_ENTRANCE",
            object_name(scaler),
            "cannot be put under load: no address of its Service answers here",
            f"kubectl -n {NAMESPACE} get service,endpoints {WORKLOAD}",
            *context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :],
        )
        return
    scaled_up, loaded = _scale_up(context, scaler, before, endpoint)
    ended = time.monotonic()
    stable = scale_target.wait_stable(context, scaler)  # also after a failure, or the next plan waits for these pods
    yield scaled_up
    if not scaled_up.ok:
        return
    if not stable.complete:
        yield _not_ready(context, stable, "after the load")
    if context.full:
        yield _scale_down(context, scaler, max(loaded.ready, stable.ready), ended)[0]
        return
    yield skipped(
        object_name(scaler), f"scaling back down to {before}, about five minutes after the load, needs --full"
    )


def _scale_up(context: Context, scaler: Object, before: int, endpoint: tuple[str, int]) -> tuple[Finding, ScaleTarget]:
    """Return what load did to the number of ready pods, and the workload at its end.

    The load lasts until more pods are ready, their start included, for SCALE_UP at most.
    """
    start = time.monotonic()
    limit, timeout = context.site.timeout(SCALE_UP), context.site.timeout(10)
    with load_generator.running(*endpoint, limit=limit, timeout=timeout) as load:
        target = wait_for(
            context,
            f"more ready pods of {WORKLOAD} than {before} under load",
            lambda: scale_target.read(context, scaler),
            lambda target: target.ready > before,
            timeout=SCALE_UP,
        )
    duration = f"{time.monotonic() - start:.0f} s of load"
    if target.ready > before:
        detail = f"went from {before} to {target.ready} ready pods after {duration} ({load})"
        return passed("HPA_RISES", object_name(scaler), detail), target
    evidence = f"load on {host_port(*endpoint)}: {load}"
    if target.desired > before:
        return _not_ready(context, target, f"after {duration}", evidence), target
    finding = failed(
        "HPA_NOT_RISEN",
        object_name(scaler),
        f"has {pluralize(target.ready, 'ready pod')}, no more than before, after {duration}, and sees "
        f"{current_percent(target.scaler)}% CPU",
        f"kubectl -n {NAMESPACE} describe hpa {WORKLOAD}; kubectl -n {NAMESPACE} top pods",
        evidence,
        *context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :],
    )
    return finding, target


def _not_ready(context: Context, target: ScaleTarget, when: str, *evidence: str) -> Finding:
    why = "; ".join(f"{pod['metadata']['name']}: {pods.why_not_ready(pod)}" for pod in target.not_ready)
    if not target.workload:
        why = "its scale target does not exist"
    return failed(
        "HPA_PODS_NOT_READY",
        object_name(target.scaler),
        f"wants {pluralize(target.desired, 'pod')}, {target.ready} of which are ready {when}"
        + (f" ({why})" if why else ""),
        f"kubectl -n {NAMESPACE} get deployments,pods -o wide",
        *evidence,
        *scale_target.explain(context, target),
    )


def _scale_down(context: Context, scaler: Object, before: int, ended: float) -> tuple[Finding, ScaleTarget]:
    """Return whether pods were removed after a load, and the workload then.

    before: how many were ready. ended: when the load did (time.monotonic).
    """
    target = wait_for(
        context,
        f"fewer pods of {WORKLOAD} than {before}, which takes five minutes",
        lambda: scale_target.read(context, scaler),
        lambda target: target.ready < before and target.complete,
        timeout=SCALE_DOWN,
        pause=5,
    )
    when = f"{time.monotonic() - ended:.0f} s after the load"
    subject = object_name(target.scaler)
    if target.ready < before and target.complete:
        return passed("HPA_FALLS", subject, f"went down to {pluralize(target.ready, 'ready pod')} {when}"), target
    if target.ready < before:
        return _not_ready(context, target, when), target
    finding = failed(
        "HPA_NOT_FALLEN",
        subject,
        f"still wants {pluralize(target.desired, 'pod')}, {target.ready} of which are ready, {when}, and sees "
        f"{current_percent(target.scaler)}% CPU",
        f"kubectl -n {NAMESPACE} describe hpa {WORKLOAD}",
        *context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :],
    )
    return finding, target


def _endpoint(context: Context) -> tuple[str, int] | None:
    """Return the first address and port of the workload's Service that answers here: an external IP, else a node."""
    service = context.cluster.get("Service", WORKLOAD, NAMESPACE)
    if service is None:
        return None
    port = service["spec"]["ports"][0]
    entries = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    endpoints = [(str(entry["ip"]), int(port["port"])) for entry in entries if entry.get("ip")]
    if port.get("nodePort"):
        endpoints += [(host.address, int(port["nodePort"])) for host in context.site.hosts]
    timeout = context.site.timeout(5)
    return next((one for one in endpoints if http_client.get(*one, "/hostname", timeout=timeout).status == 200), None)


def _skip_reason(site: Site) -> str:
    if not site.metrics.enabled:
        return "[metrics] is not enabled"
    return "" if "hpa" in site.workloads.enabled else '[workloads] enabled has no "hpa"'


CHECK = Check(
    "hpa",
    "The metrics API has pod metrics, and an autoscaler adds pods under load.",
    run,
    _skip_reason,
    parallel_safe=True,
)

"""The autoscaler has figures to decide by, adds pods under load, and takes them away when it ends.

More and fewer pods are pods that are ready: what the autoscaler asks for alone proves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from provisioner.addresses import host_port
from provisioner.checks import http_client, load_generator, metrics, pods, scale_target
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, skipped, wait_for
from provisioner.checks.scale_target import WORKLOAD, ScaleTarget, current
from provisioner.kube import Object
from provisioner.kube.objects import object_name
from provisioner.site import Site
from provisioner.text import pluralize

RISE = 240.0  # two scrapes, two rounds of the autoscaler, the start of a pod; then once more as long
# kube-controller-manager's --horizontal-pod-autoscaler-downscale-stabilization is five minutes unless it is set.
FALL = 480.0


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding for the metrics API and one for each autoscaler; then put load on ours and watch it."""
    figures = metrics.wait_complete(context)
    yield _figures(context, figures)
    if not figures.use:
        return
    # metrics-server has figures, which takes it two scrapes; the autoscaler needs one of its own rounds of 15 s.
    found = wait_for(
        context,
        "a current metric of each HorizontalPodAutoscaler",
        lambda: scale_target.scalers(context),
        lambda seen: bool(seen) and all(current(one) is not None for one in seen),
        timeout=120,
    )
    if not found:
        yield failed("HPA_NONE", NAMESPACE, "has no HorizontalPodAutoscaler", "provisioner apply")
    for scaler in found:
        yield _judge(context, scaler)
    for scaler in found:
        if scaler["metadata"]["name"] == WORKLOAD and current(scaler) is not None:
            yield from _moves(context, scaler)


def _figures(context: Context, figures: metrics.Figures) -> Finding:
    subject, logs = "metrics API", "kubectl -n kube-system logs -l k8s-app=metrics-server"
    if not figures.use:
        return failed(
            "METRICS_MISSING",
            subject,
            f"has no figures for the pods of {NAMESPACE}" + (f": {figures.refusal}" if figures.refusal else ""),
            f"kubectl get apiservice v1beta1.metrics.k8s.io; {logs}",
            *metrics.explain(context),
        )
    if figures.missing:
        named = [f"{pod['metadata']['name']} on {pod['spec'].get('nodeName')}" for pod in figures.missing]
        return failed(
            "METRICS_PODS_MISSING",
            subject,
            f"has figures for {len(figures.use)} pods of {NAMESPACE} and none for {', '.join(sorted(named))}",
            f"kubectl -n {NAMESPACE} top pods; {logs}: which kubelet did not answer?",
            *metrics.explain(context),
        )
    shown = ", ".join(f"{name} {use}" for name, use in sorted(figures.use.items())[:3])
    more = ", …" if len(figures.use) > 3 else ""
    return passed("METRICS_PODS", subject, f"has figures for {len(figures.use)} pods of {NAMESPACE} ({shown}{more})")


def _judge(context: Context, scaler: Object) -> Finding:
    name, spec = scaler["metadata"]["name"], scaler["spec"]
    percent = current(scaler)
    if percent is None:
        return failed(
            "HPA_NO_METRIC",
            subject(scaler),
            "does not know the CPU use of its pods",
            f"kubectl -n {NAMESPACE} describe hpa {name}; its pods need CPU requests",
            *context.cluster.events(NAMESPACE, name)[-pods.EVENTS :],
        )
    return passed(
        "HPA_METRIC",
        subject(scaler),
        f"sees {percent} % CPU of a target of {spec.get('targetCPUUtilizationPercentage')} %, and wants "
        f"{scaler.get('status', {}).get('desiredReplicas', 0)} of {spec.get('minReplicas', 1)} to "
        f"{spec['maxReplicas']} pods",
    )


def _moves(context: Context, scaler: Object) -> Iterator[Finding]:
    """Yield whether more pods are ready under load and, with --full, fewer when it ends."""
    most = int(scaler["spec"]["maxReplicas"])
    now = scale_target.wait_ready(context, scaler)
    if not now.complete:
        yield _not_ready(context, now, "before any load")
        return
    if now.ready >= most and context.full:
        fallen, now = _falls(context, scaler, most, time.monotonic())
        if not fallen.ok:
            yield fallen
            return
    if now.ready >= most:
        yield skipped(
            subject(scaler),
            f"has all its {most} pods already, as in the minutes after a load: that it adds pods was not tried "
            "(with --full, it is waited for first)",
        )
        return
    if not context.thorough:
        yield skipped(subject(scaler), "under load, when it adds pods: not tried without --full")
        return
    yield from _loaded(context, scaler, now.ready)


def _loaded(context: Context, scaler: Object, before: int) -> Iterator[Finding]:
    """Put load on the `before` pods that are ready; yield what came of it, then what its end did."""
    door = entrance(context)
    if door is None:
        yield failed(
            "HPA_NO_ENTRANCE",
            subject(scaler),
            "cannot be put under load: no address of its Service answers from here",
            f"kubectl -n {NAMESPACE} get service,endpoints {WORKLOAD}",
            *context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :],
        )
        return
    risen, loaded = _rises(context, scaler, before, door)
    ended = time.monotonic()
    now = scale_target.wait_stable(context, scaler)  # in any case: else the plan has to wait for what still starts
    yield risen
    if not risen.ok:
        return
    if not now.complete:
        yield _not_ready(context, now, "after the load")
    if context.full:
        yield _falls(context, scaler, max(loaded.ready, now.ready), ended)[0]
        return
    yield skipped(
        subject(scaler),
        f"goes back to {before} about five minutes after the load: not waited for without --full",
    )


def _rises(context: Context, scaler: Object, before: int, door: tuple[str, int]) -> tuple[Finding, ScaleTarget]:
    """Return what load did to the number of ready pods, and the workload at its end.

    The load goes on until there are more, which includes their start: RISE is for all of that.
    """
    began = time.monotonic()
    with load_generator.running(*door, limit=context.site.timeout(RISE), timeout=context.site.timeout(10)) as sent:
        now = wait_for(
            context,
            f"more ready pods of {WORKLOAD} than {before} under load",
            lambda: scale_target.look(context, scaler),
            lambda seen: seen.ready > before,
            timeout=RISE,
        )
    spent = f"{time.monotonic() - began:.0f} s of load"
    if now.ready > before:
        said = f"went from {before} to {now.ready} ready pods after {spent} ({sent})"
        return passed("HPA_RISES", subject(scaler), said), now
    sending = f"load on {host_port(*door)}: {sent}"
    if now.asked > before:
        return _not_ready(context, now, f"after {spent}", sending), now
    finding = failed(
        "HPA_NOT_RISEN",
        subject(scaler),
        f"has {pluralize(now.ready, 'ready pod')}, not more than before, after {spent}, and sees "
        f"{current(now.scaler)} % CPU",
        f"kubectl -n {NAMESPACE} describe hpa {WORKLOAD}; kubectl -n {NAMESPACE} top pods",
        sending,
        *context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :],
    )
    return finding, now


def _not_ready(context: Context, seen: ScaleTarget, when: str, *evidence: str) -> Finding:
    why = "; ".join(f"{pod['metadata']['name']}: {pods.why_not_ready(pod)}" for pod in seen.waiting)
    if not seen.workload:
        why = "what it should size does not exist"
    return failed(
        "HPA_PODS_NOT_READY",
        subject(seen.scaler),
        f"has asked for {seen.asked} pods, of which {seen.ready} are ready {when}" + (f" ({why})" if why else ""),
        f"kubectl -n {NAMESPACE} get deployments,pods -o wide",
        *evidence,
        *scale_target.explain(context, seen),
    )


def _falls(context: Context, scaler: Object, risen: int, ended: float) -> tuple[Finding, ScaleTarget]:
    """Return whether pods went after a load, and the workload then.

    risen: how many were ready. ended: when the load did (time.monotonic).
    """
    now = wait_for(
        context,
        f"{WORKLOAD} to get fewer pods than {risen}, which takes five minutes",
        lambda: scale_target.look(context, scaler),
        lambda seen: seen.ready < risen and seen.complete,
        timeout=FALL,
        pause=5,
    )
    when = f"{time.monotonic() - ended:.0f} s after the load"
    if now.ready < risen and now.complete:
        return passed(
            "HPA_FALLS", subject(now.scaler), f"went down to {pluralize(now.ready, 'ready pod')} {when}"
        ), now
    if now.ready < risen:
        return _not_ready(context, now, when), now
    finding = failed(
        "HPA_NOT_FALLEN",
        subject(now.scaler),
        f"wants {now.asked} pods still, of which {now.ready} are ready, {when}, and sees {current(now.scaler)} % CPU",
        f"kubectl -n {NAMESPACE} describe hpa {WORKLOAD}",
        *context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :],
    )
    return finding, now


def subject(scaler: Object) -> str:
    """Return how a finding names an autoscaler."""
    return object_name(scaler)


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
    return next((door for door in doors if http_client.get(*door, "/hostname", timeout=timeout).status == 200), None)


def _skip_reason(site: Site) -> str:
    if not site.metrics.enabled:
        return "[metrics] is not enabled"
    return "" if "hpa" in site.workloads.enabled else '[workloads] enabled has no "hpa"'


CHECK = Check(
    "hpa",
    "The metrics API has figures, and an autoscaler adds pods under load.",
    run,
    _skip_reason,
    parallel_safe=True,
)

"""Every pod in the system namespaces is ready, and no component that the site needs is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from provisioner.checks import pods
from provisioner.checks.check import Check, Context, Finding, failed, passed, wait_for
from provisioner.kube import Object
from provisioner.kube.objects import namespaced_name, object_name
from provisioner.site import Site
from provisioner.steps import ingress
from provisioner.text import join_words, pluralize

KUBE_SYSTEM = "kube-system"
METALLB = "metallb-system"
FLANNEL = "kube-flannel"


@dataclass(frozen=True)
class SystemState:
    """The pods of the system namespaces, without those that are terminating, and their Deployments and DaemonSets."""

    pods: tuple[Object, ...]
    workloads: tuple[Object, ...]

    def unhealthy_pods(self) -> list[Object]:
        """Return the pods that are neither ready nor completed."""
        return [pod for pod in self.pods if not pods.healthy(pod)]

    def incomplete(self) -> list[Object]:
        """Return the workloads with fewer ready or current pods than they should have."""
        return [workload for workload in self.workloads if shortage(workload)]


def run(context: Context) -> Iterator[Finding]:
    """Yield one finding per healthy namespace, and one for each pod, workload or component that is not."""
    wanted = expected(context.site)
    state = wait_for(
        context,
        "the system pods to be ready",
        lambda: read(context),
        lambda state: (
            not (
                state.unhealthy_pods()
                or state.incomplete()
                or missing(wanted, state)
                or nodes_without_speaker(context.site, state)
            )
        ),
        timeout=120,
    )
    for namespace, name in missing(wanted, state):
        yield failed(
            "SYSTEM_PART_MISSING",
            f"{namespace}/{name}",
            "does not exist, but this site needs it",
            "provisioner apply",
            *context.cluster.events(namespace)[-pods.EVENTS :],
        )
    unhealthy = set()
    for pod in state.unhealthy_pods():
        unhealthy.add(pod["metadata"]["namespace"])
        where = pod["spec"].get("nodeName", "no node")
        yield failed(
            "SYSTEM_POD_NOT_READY",
            f"pod {namespaced_name(pod)}",
            f"on {where} is not ready: {pods.why_not_ready(pod)}",
            f"kubectl -n {pod['metadata']['namespace']} describe pod {pod['metadata']['name']}",
            *pods.explain(context.cluster, pod),
        )
    for workload in state.incomplete():
        namespace, name = workload["metadata"]["namespace"], workload["metadata"]["name"]
        unhealthy.add(namespace)
        yield failed(
            "SYSTEM_WORKLOAD_INCOMPLETE",
            object_name(workload),
            shortage(workload),
            f"kubectl -n {namespace} describe {workload['kind'].lower()} {name}",
            *context.cluster.events(namespace, name)[-pods.EVENTS :],
        )
    if context.site.metallb.enabled and (METALLB, "speaker") not in missing(wanted, state):
        yield from _speakers(context, state)
    for namespace in sorted({pod["metadata"]["namespace"] for pod in state.pods} - unhealthy):
        running = sum(pod["metadata"]["namespace"] == namespace for pod in state.pods)
        complete = [one["metadata"]["name"] for one in state.workloads if one["metadata"]["namespace"] == namespace]
        parts = f"; complete: {', '.join(sorted(complete))}" if complete else ""
        ready = f"{pluralize(running, 'pod')} {'is' if running == 1 else 'are'} ready"
        yield passed("SYSTEM_READY", namespace, f"{ready}{parts}")


def _speakers(context: Context, state: SystemState) -> Iterator[Finding]:
    """Yield whether exactly one speaker runs on each node of the site.

    The DaemonSet's own count does not show that: it excludes nodes whose taints it does not tolerate.
    """
    subject = f"DaemonSet {METALLB}/speaker"
    lacking = nodes_without_speaker(context.site, state)
    doubled = sorted(node for node, number in speakers(state).items() if number > 1)
    twice = [pod for pod in running_speakers(state) if pod["spec"].get("nodeName", "") in doubled]
    for node in lacking:
        live = context.cluster.nodes().get(node, {})
        taints = ", ".join(_taint(taint) for taint in live.get("spec", {}).get("taints") or ())
        yield failed(
            "SYSTEM_NO_SPEAKER",
            subject,
            f"has no running pod on {node}, which therefore announces no external IP"
            + (f"; the node's taints are {taints}" if taints else ""),
            f"remove the taint (taints of {node} in hosts.toml), or see: kubectl describe node {node}; "
            f"kubectl -n {METALLB} get pods -o wide",
            *context.cluster.events(METALLB, "speaker")[-pods.EVENTS :],
        )
    if doubled:
        yield failed(
            "SYSTEM_SPEAKERS_TWICE",
            subject,
            f"has more than one running pod on {join_words(doubled)}",
            f"kubectl -n {METALLB} get pods -o wide",
            *context.cluster.events(METALLB, "speaker")[-pods.EVENTS :],
            *pods.explain_named(context.cluster, twice, {pod["metadata"]["name"] for pod in twice}),
        )
    if not lacking and not doubled:
        yield passed("SYSTEM_SPEAKERS", subject, f"has exactly one pod on each of {len(context.site.hosts)} nodes")


def speakers(state: SystemState) -> Counter[str]:
    """Return how many speakers run on each node that has any, ready or not."""
    return Counter(str(pod["spec"].get("nodeName", "")) for pod in running_speakers(state))


def running_speakers(state: SystemState) -> list[Object]:
    """Return the running speaker pods, ready or not."""
    own = [pod for pod in state.pods if pod["metadata"]["namespace"] == METALLB and pods.running(pod)]
    return [pod for pod in own if (pod["metadata"].get("labels") or {}).get("component") == "speaker"]


def nodes_without_speaker(site: Site, state: SystemState) -> list[str]:
    """Return the nodes on which a speaker should run and none does."""
    return [host.name for host in site.hosts if host.name not in speakers(state)] if site.metallb.enabled else []


def _taint(taint: Mapping[str, str]) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint.get('key', '')}{value}:{taint.get('effect', '')}"


def read(context: Context) -> SystemState:
    """Return the pods, Deployments and DaemonSets of the system namespaces, in three requests."""
    cluster = context.cluster
    namespaces = {KUBE_SYSTEM, METALLB, FLANNEL, *ingress.NAMESPACES.values()}

    def of_system(kind: str, api_version: str) -> list[Object]:
        found = cluster.list(kind, api_version=api_version)
        return [item for item in found if item["metadata"]["namespace"] in namespaces]

    return SystemState(
        tuple(pod for pod in of_system("Pod", "v1") if not pods.terminating(pod)),
        (*of_system("Deployment", "apps/v1"), *of_system("DaemonSet", "apps/v1")),
    )


def expected(site: Site) -> list[tuple[str, str]]:
    """Return the components that the site needs, each as namespace and name prefix."""
    wanted = [(KUBE_SYSTEM, "coredns"), (KUBE_SYSTEM, "kube-proxy")]
    if site.cluster.network == "flannel":
        wanted.append((FLANNEL, "kube-flannel"))
    if site.metallb.enabled:
        wanted += [(METALLB, "controller"), (METALLB, "speaker")]
    if site.metrics.enabled:
        wanted.append((KUBE_SYSTEM, "metrics-server"))
    if site.ingress.enabled:
        wanted.append((ingress.NAMESPACES[site.ingress_controller], ingress.SERVICES[site.ingress_controller]))
    return wanted


def missing(wanted: list[tuple[str, str]], state: SystemState) -> list[tuple[str, str]]:
    """Return the components without a Deployment or DaemonSet."""
    return [
        (namespace, prefix)
        for namespace, prefix in wanted
        if not any(
            one["metadata"]["namespace"] == namespace and one["metadata"]["name"].startswith(prefix)
            for one in state.workloads
        )
    ]


def shortage(workload: Object) -> str:
    """Return what a Deployment or DaemonSet lacks, "" when it is complete and up to date."""
    status = workload.get("status", {})
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return "was changed, and its controller has not observed that yet"
    if workload["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        current, ready = status.get("updatedNumberScheduled", 0), status.get("numberReady", 0)
    else:
        wanted = workload["spec"].get("replicas", 1)
        current, ready = status.get("updatedReplicas", 0), status.get("readyReplicas", 0)
    if ready < wanted:
        return f"has {ready} of {wanted} pods ready"
    if current < wanted:
        return f"has {current} of {wanted} pods up to date"
    return ""


CHECK = Check(
    "system", "Every pod in the system namespaces is ready, and no component is missing.", run, reads_only=True
)

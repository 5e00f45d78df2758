"""What the cluster itself needs runs: every pod of the system's namespaces, and every part that the site wants."""

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
class Seen:
    """One look at the system: pods (those being deleted left out), Deployments and DaemonSets of its namespaces."""

    pods: tuple[Object, ...]
    workloads: tuple[Object, ...]

    def sick_pods(self) -> list[Object]:
        """Return the pods with which something is wrong."""
        return [pod for pod in self.pods if not pods.healthy(pod)]

    def incomplete(self) -> list[Object]:
        """Return the workloads that have fewer pods than they should, or old ones."""
        return [workload for workload in self.workloads if shortage(workload)]


def run(context: Context) -> Iterator[Finding]:
    """Yield one finding a namespace that is well, and one for each pod, workload or part that is not."""
    wanted = expected(context.site)
    seen = wait_for(
        context,
        "the system's pods to be ready",
        lambda: look(context),
        lambda now: not (now.sick_pods() or now.incomplete() or missing(wanted, now) or unserved(context.site, now)),
        timeout=120,
    )
    for namespace, name in missing(wanted, seen):
        yield failed(
            "SYSTEM_PART_MISSING",
            f"{namespace}/{name}",
            "is not there, and this site needs it",
            "provisioner apply",
            *context.cluster.events(namespace)[-pods.EVENTS :],
        )
    troubled = set()
    for pod in seen.sick_pods():
        troubled.add(pod["metadata"]["namespace"])
        where = pod["spec"].get("nodeName", "no node")
        yield failed(
            "SYSTEM_POD_NOT_READY",
            f"pod {namespaced_name(pod)}",
            f"on {where} is not ready: {pods.why_not_ready(pod)}",
            f"kubectl -n {pod['metadata']['namespace']} describe pod {pod['metadata']['name']}",
            *pods.explain(context.cluster, pod),
        )
    for workload in seen.incomplete():
        namespace, name = workload["metadata"]["namespace"], workload["metadata"]["name"]
        troubled.add(namespace)
        yield failed(
            "SYSTEM_WORKLOAD_INCOMPLETE",
            object_name(workload),
            shortage(workload),
            f"kubectl -n {namespace} describe {workload['kind'].lower()} {name}",
            *context.cluster.events(namespace, name)[-pods.EVENTS :],
        )
    if context.site.metallb.enabled and (METALLB, "speaker") not in missing(wanted, seen):
        yield from _speakers(context, seen)
    for namespace in sorted({pod["metadata"]["namespace"] for pod in seen.pods} - troubled):
        running = sum(pod["metadata"]["namespace"] == namespace for pod in seen.pods)
        complete = [one["metadata"]["name"] for one in seen.workloads if one["metadata"]["namespace"] == namespace]
        parts = f"; complete: {', '.join(sorted(complete))}" if complete else ""
        ready = f"{pluralize(running, 'pod')} {'is' if running == 1 else 'are'} ready"
        yield passed("SYSTEM_READY", namespace, f"{ready}{parts}")


def _speakers(context: Context, seen: Seen) -> Iterator[Finding]:
    """Yield whether exactly one speaker runs on each node of the site.

    The DaemonSet counts the nodes that it tolerates the taints of; a node that it does not is complete by its count.
    """
    subject = f"DaemonSet {METALLB}/speaker"
    lacking = unserved(context.site, seen)
    doubled = sorted(node for node, number in speakers(seen).items() if number > 1)
    twice = [pod for pod in running_speakers(seen) if pod["spec"].get("nodeName", "") in doubled]
    for node in lacking:
        live = context.cluster.nodes().get(node, {})
        taints = ", ".join(_taint(taint) for taint in live.get("spec", {}).get("taints") or ())
        yield failed(
            "SYSTEM_NO_SPEAKER",
            subject,
            f"has no running pod on {node}, which therefore announces no external IP"
            + (f"; the node's taints are {taints}" if taints else ""),
            f"take the taint away (taints of {node} in hosts.toml), or look why: kubectl describe node {node}; "
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


def speakers(seen: Seen) -> Counter[str]:
    """Return how many speakers run on each node that has any; whether they are ready is told pod by pod."""
    return Counter(str(pod["spec"].get("nodeName", "")) for pod in running_speakers(seen))


def running_speakers(seen: Seen) -> list[Object]:
    """Return the speakers that run, ready or not."""
    own = [pod for pod in seen.pods if pod["metadata"]["namespace"] == METALLB and pods.running(pod)]
    return [pod for pod in own if (pod["metadata"].get("labels") or {}).get("component") == "speaker"]


def unserved(site: Site, seen: Seen) -> list[str]:
    """Return the nodes that should have a speaker and have none that runs."""
    return [host.name for host in site.hosts if host.name not in speakers(seen)] if site.metallb.enabled else []


def _taint(taint: Mapping[str, str]) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint.get('key', '')}{value}:{taint.get('effect', '')}"


def look(context: Context) -> Seen:
    """Read pods, Deployments and DaemonSets of the system's namespaces in three requests."""
    cluster = context.cluster
    namespaces = {KUBE_SYSTEM, METALLB, FLANNEL, *ingress.NAMESPACES.values()}

    def ours(kind: str, api_version: str) -> list[Object]:
        found = cluster.list(kind, api_version=api_version)
        return [item for item in found if item["metadata"]["namespace"] in namespaces]

    return Seen(
        tuple(pod for pod in ours("Pod", "v1") if not pods.terminating(pod)),
        (*ours("Deployment", "apps/v1"), *ours("DaemonSet", "apps/v1")),
    )


def expected(site: Site) -> list[tuple[str, str]]:
    """Return the parts that the site wants: the namespace of each, and what its name begins with."""
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


def missing(wanted: list[tuple[str, str]], seen: Seen) -> list[tuple[str, str]]:
    """Return the parts that no Deployment or DaemonSet stands for."""
    return [
        (namespace, begins)
        for namespace, begins in wanted
        if not any(
            one["metadata"]["namespace"] == namespace and one["metadata"]["name"].startswith(begins)
            for one in seen.workloads
        )
    ]


def shortage(workload: Object) -> str:
    """Return what a Deployment or DaemonSet lacks, "" when it is complete and current."""
    status = workload.get("status", {})
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return "has been changed and its controller has not seen it yet"
    if workload["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        current, ready = status.get("updatedNumberScheduled", 0), status.get("numberReady", 0)
    else:
        wanted = workload["spec"].get("replicas", 1)
        current, ready = status.get("updatedReplicas", 0), status.get("readyReplicas", 0)
    if ready < wanted:
        return f"has {ready} of {wanted} pods ready"
    if current < wanted:
        return f"has {current} of {wanted} pods of its current version"
    return ""


CHECK = Check("system", "Every pod of the system's namespaces is ready, and no part is missing.", run, reads_only=True)

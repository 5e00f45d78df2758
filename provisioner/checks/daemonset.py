"""A DaemonSet has exactly one ready pod on every node on which its pods can run, including nodes added later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provisioner.checks import pods
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, wait_for
from provisioner.kube import Object
from provisioner.site import Site
from provisioner.text import join_words

WORKLOAD = "ds-pods"
# Taints that the DaemonSet controller tolerates for every pod (pkg/controller/daemon/util,
# AddOrUpdateDaemonPodTolerations): a node that is cordoned, not ready or under pressure has its pod all the same.
BUILT_IN = "node.kubernetes.io/"


@dataclass(frozen=True)
class Placement:
    """The DaemonSet, the nodes, and the DaemonSet's pods by node, without those that are terminating."""

    workload: Object
    nodes: Mapping[str, Object]
    pods: Mapping[str, Sequence[Object]]

    def wrong(self) -> dict[str, Sequence[Object]]:
        """Return the nodes without exactly one ready pod, or with one that should not be there, and their pods."""
        wanted = self.nodes_to_run_on()
        return {
            name: self.pods.get(name, ())
            for name in sorted({*wanted, *self.pods})
            if name not in wanted or len(self.pods.get(name, ())) != 1 or not pods.ready(self.pods[name][0])
        }

    def nodes_to_run_on(self) -> list[str]:
        """Return the nodes whose taints the pods tolerate and whose labels match their nodeSelector."""
        spec = self.workload["spec"]["template"]["spec"]
        selector = (spec.get("nodeSelector") or {}).items()
        return [
            name
            for name, node in self.nodes.items()
            if selector <= (node["metadata"].get("labels") or {}).items()
            and all(tolerated(taint, spec.get("tolerations") or ()) for taint in node["spec"].get("taints") or ())
        ]


def run(context: Context) -> Iterator[Finding]:
    """Yield one finding when all nodes have their pod, else one for each node that does not."""
    cluster = context.cluster
    if cluster.get("DaemonSet", WORKLOAD, NAMESPACE, "apps/v1") is None:
        yield failed("DAEMONSET_NONE", f"DaemonSet {NAMESPACE}/{WORKLOAD}", "does not exist", "provisioner apply")
        return
    placement = wait_for(context, f"a {WORKLOAD} pod on every node", lambda: read(context), _complete, timeout=120)
    subject = f"DaemonSet {NAMESPACE}/{WORKLOAD}"
    wanted, wrong = placement.nodes_to_run_on(), placement.wrong()
    if wanted and not wrong:
        others = sorted(placement.nodes.keys() - set(wanted))
        excluded = f"; not on {join_words(others)}, whose taints it does not tolerate" if others else ""
        yield passed("DAEMONSET_ONE_EACH", subject, f"has exactly one pod on {join_words(sorted(wanted))}{excluded}")
        return
    if not wanted:
        yield failed(
            "DAEMONSET_NO_NODE",
            subject,
            f"can run on no node ({', '.join(sorted(placement.nodes)) or 'the cluster has none'})",
            "compare its tolerations and nodeSelector with the nodes: kubectl describe nodes",
        )
    for name, own in wrong.items():
        yield _wrong(context, placement, name, own)


def _wrong(context: Context, placement: Placement, name: str, own: Sequence[Object]) -> Finding:
    if name not in placement.nodes_to_run_on():
        detail = "has a pod that should not be there"
    elif not own:
        detail = "has no pod"
    elif len(own) > 1:
        detail = f"has {len(own)} pods: {join_words(sorted(pod['metadata']['name'] for pod in own))}"
    else:
        detail = f"has a pod that is not ready: {pods.why_not_ready(own[0])}"
    explained = pods.explain_or_events(context.cluster, own[0] if own else {}, NAMESPACE, WORKLOAD)
    return failed(
        "DAEMONSET_WRONG",
        f"DaemonSet {NAMESPACE}/{WORKLOAD} on {name}",
        detail,
        f"kubectl -n {NAMESPACE} describe daemonset {WORKLOAD}; kubectl describe node {name}",
        *explained[-pods.EVENTS - pods.LOG_LINES :],
    )


def read(context: Context) -> Placement:
    """Return the DaemonSet, the nodes and its pods as they are now."""
    cluster = context.cluster
    workload = cluster.get("DaemonSet", WORKLOAD, NAMESPACE, "apps/v1") or {"spec": {"template": {"spec": {}}}}
    labels = (workload["spec"].get("selector") or {}).get("matchLabels") or {}
    by_node: dict[str, list[Object]] = {}
    for pod in pods.matching(cluster.list("Pod", NAMESPACE), labels):
        if not pods.terminating(pod):
            # A pod that the scheduler has not bound to its node yet has no nodeName.
            by_node.setdefault(pod["spec"].get("nodeName") or "no node", []).append(pod)
    return Placement(workload, cluster.nodes(), by_node)


def tolerated(taint: Mapping[str, Any], tolerations: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a pod with these tolerations can run in spite of a taint; PreferNoSchedule never prevents that."""
    if taint["effect"] == "PreferNoSchedule" or taint["key"].startswith(BUILT_IN):
        return True
    return any(
        one.get("effect") in (None, "", taint["effect"])
        and (
            (one.get("operator") == "Exists" and one.get("key") in (None, "", taint["key"]))
            or (one.get("key") == taint["key"] and (one.get("value") or "") == (taint.get("value") or ""))
        )
        for one in tolerations
    )


def _complete(placement: Placement) -> bool:
    return bool(placement.nodes_to_run_on()) and not placement.wrong()


def _skip_reason(site: Site) -> str:
    return "" if "daemonset" in site.workloads.enabled else '[workloads] enabled has no "daemonset"'


CHECK = Check(
    "daemonset",
    "A DaemonSet has exactly one ready pod on every node.",
    run,
    _skip_reason,
    parallel_safe=True,
    reads_only=True,
)

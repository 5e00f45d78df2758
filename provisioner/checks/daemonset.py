"""A DaemonSet has exactly one ready pod on every node that its pods may run on, those added later included."""

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
# What the DaemonSet controller tolerates for each (pkg/controller/daemon/util, AddOrUpdateDaemonPodTolerations): a
# node that is cordoned, not ready or short of something has its pod all the same.
BUILT_IN = "node.kubernetes.io/"


@dataclass(frozen=True)
class Seen:
    """One look: the DaemonSet, the nodes, and the pods that stay, by node."""

    workload: Object
    nodes: Mapping[str, Object]
    pods: Mapping[str, Sequence[Object]]

    def wrong(self) -> dict[str, Sequence[Object]]:
        """Return the nodes that have not exactly one ready pod, or have one that they should not, with their pods."""
        wanted = self.wanted()
        return {
            name: self.pods.get(name, ())
            for name in sorted({*wanted, *self.pods})
            if name not in wanted or len(self.pods.get(name, ())) != 1 or not pods.ready(self.pods[name][0])
        }

    def wanted(self) -> list[str]:
        """Return the nodes whose taints the pods tolerate and whose labels they ask for."""
        spec = self.workload["spec"]["template"]["spec"]
        selector = (spec.get("nodeSelector") or {}).items()
        return [
            name
            for name, node in self.nodes.items()
            if selector <= (node["metadata"].get("labels") or {}).items()
            and all(tolerated(taint, spec.get("tolerations") or ()) for taint in node["spec"].get("taints") or ())
        ]


def run(context: Context) -> Iterator[Finding]:
    """Yield one finding when all is as it should be, else one for each node where it is not."""
    cluster = context.cluster
    if cluster.get("DaemonSet", WORKLOAD, NAMESPACE, "apps/v1") is None:
        yield failed("DAEMONSET_NONE", f"DaemonSet {NAMESPACE}/{WORKLOAD}", "does not exist", "provisioner apply")
        return
    seen = wait_for(context, f"a {WORKLOAD} pod on every node", lambda: look(context), _settled, timeout=120)
    subject = f"DaemonSet {NAMESPACE}/{WORKLOAD}"
    wanted, wrong = seen.wanted(), seen.wrong()
    if wanted and not wrong:
        others = sorted(seen.nodes.keys() - set(wanted))
        left_out = f"; not on {join_words(others)}, whose taints it does not tolerate" if others else ""
        yield passed("DAEMONSET_ONE_EACH", subject, f"has exactly one pod on {join_words(sorted(wanted))}{left_out}")
        return
    if not wanted:
        yield failed(
            "DAEMONSET_NO_NODE",
            subject,
            f"may run on none of {', '.join(sorted(seen.nodes)) or 'no nodes'}",
            "kubectl describe nodes: which of their taints does it not tolerate?",
        )
    for name, own in wrong.items():
        yield _wrong(context, seen, name, own)


def _wrong(context: Context, seen: Seen, name: str, own: Sequence[Object]) -> Finding:
    if name not in seen.wanted():
        what = "has a pod that it should not have"
    elif not own:
        what = "has no pod"
    elif len(own) > 1:
        what = f"has {len(own)} pods: {join_words(sorted(pod['metadata']['name'] for pod in own))}"
    else:
        what = f"has a pod that is not ready: {pods.why_not_ready(own[0])}"
    explained = pods.explain_or_events(context.cluster, own[0] if own else {}, NAMESPACE, WORKLOAD)
    return failed(
        "DAEMONSET_WRONG",
        f"DaemonSet {NAMESPACE}/{WORKLOAD} on {name}",
        what,
        f"kubectl -n {NAMESPACE} describe daemonset {WORKLOAD}; kubectl describe node {name}",
        *explained[-pods.EVENTS - pods.LOG_LINES :],
    )


def look(context: Context) -> Seen:
    """Read the DaemonSet, the nodes, and its pods but for those that are being deleted."""
    cluster = context.cluster
    workload = cluster.get("DaemonSet", WORKLOAD, NAMESPACE, "apps/v1") or {"spec": {"template": {"spec": {}}}}
    labels = (workload["spec"].get("selector") or {}).get("matchLabels") or {}
    places: dict[str, list[Object]] = {}
    for pod in pods.matching(cluster.list("Pod", NAMESPACE), labels):
        if not pods.terminating(pod):
            # A pod of a DaemonSet is bound to its node by an affinity before the scheduler has put it there.
            places.setdefault(pod["spec"].get("nodeName") or "no node", []).append(pod)
    return Seen(workload, cluster.nodes(), places)


def tolerated(taint: Mapping[str, Any], tolerations: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a taint keeps no pod with these tolerations away (a preference never does)."""
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


def _settled(seen: Seen) -> bool:
    return bool(seen.wanted()) and not seen.wrong()


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

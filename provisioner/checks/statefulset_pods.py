"""The pods of the shipped StatefulSet, for the statefulset check: which exist, and a finding on one not ready."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.checks import pods
from provisioner.checks.check import NAMESPACE, Context, Finding, failed, wait_for
from provisioner.kube import Object

WORKLOAD = "ss-pods"
SUBJECT = f"StatefulSet {NAMESPACE}/{WORKLOAD}"


def own(context: Context) -> dict[str, Object]:
    """Return the pods by name."""
    found = context.cluster.list("Pod", NAMESPACE, labels=f"app.kubernetes.io/name={WORKLOAD}")
    return {pod["metadata"]["name"]: pod for pod in found}


def wait_ready(context: Context, names: Sequence[str]) -> dict[str, Object]:
    """Return the pods once all with these names are ready, or those that exist when time is up."""
    return wait_for(
        context,
        f"the pods of {WORKLOAD} to be ready",
        lambda: own(context),
        lambda found: all(pods.ready(found.get(name, {})) for name in names),
        timeout=120,
    )


def not_ready(context: Context, code: str, what: str, name: str, pod: Object) -> Finding:
    """Return a finding on a pod that is not ready, or does not exist ({})."""
    why = pods.why_not_ready(pod) if pod else "it does not exist"
    return failed(
        code,
        f"pod {NAMESPACE}/{name}",
        f"{what}: {why}",
        f"kubectl -n {NAMESPACE} describe pod {name}; kubectl -n {NAMESPACE} get pvc",
        *pods.explain_or_events(context.cluster, pod, NAMESPACE, WORKLOAD),
    )

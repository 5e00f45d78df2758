"""A change of a ConfigMap reaches a pod's mounted file while it runs, and its environment at a restart."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from provisioner.checks import pods
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, bad, good, settle
from provisioner.steps.rollout import complete

if TYPE_CHECKING:
    from provisioner.objects import Object
    from provisioner.site import Site

WORKLOAD = "cm-pods"
KEY, FILE, VARIABLE = "greeting", "/etc/course/greeting", "GREETING"
# By the shell: printenv is not in every busybox.
PRINT = ("sh", "-c", f'printf "%s\\n" "${VARIABLE}"')
# Changing a pod's annotation has its kubelet look at the pod at once (Kubernetes' own documentation of ConfigMaps
# names this way); by itself it looks about once a minute, and less often where `syncFrequency` says so.
NUDGE = "provisioner/looked-at"


def run(context: Context) -> Iterator[Finding]:
    """Yield what the file and the environment say before, after a change, and after a restart; put it back."""
    cluster = context.cluster
    subject = f"ConfigMap {NAMESPACE}/{WORKLOAD}"
    config = cluster.get("ConfigMap", WORKLOAD, NAMESPACE)
    before = ((config or {}).get("data") or {}).get(KEY)
    if before is None:
        yield bad("CONFIGMAP_NONE", subject, f"does not exist, or has no {KEY}", "provisioner apply")
        return
    pod = _ready(context)
    if not pods.ready(pod):
        yield _not_ready(context, pod)
        return
    token = f"hello-{secrets.token_hex(4)}"
    try:
        write(context, token)
        yield from _reaches(context, pod, before, token)
    finally:
        write(context, before)
        fresh = _renewed(context)  # its environment would keep the token
    if not pods.ready(fresh):
        yield _not_ready(context, fresh)


def _reaches(context: Context, pod: Object, before: str, token: str) -> Iterator[Finding]:
    cluster, name = context.cluster, pod["metadata"]["name"]
    subject = f"ConfigMap {NAMESPACE}/{WORKLOAD}"
    how = "by itself" if context.full else "at once when the kubelet is nudged, by itself within about a minute"
    if not context.full:
        annotations = {"metadata": {"annotations": {NUDGE: token}}}
        cluster.merge("Pod", name, annotations, namespace=NAMESPACE)
    said = settle(
        context,
        f"{FILE} in pod {name} to change",
        lambda: ask(context, name, "cat", FILE),
        lambda seen: seen == token,
        timeout=180,
    )
    if said != token:
        yield bad(
            "CONFIGMAP_FILE_OLD",
            subject,
            f"was changed, and {FILE} in pod {name} still says {said!r}",
            f"provisioner ssh {pod['spec'].get('nodeName')} -- sudo journalctl -u kubelet -n 30",
            *pods.explain(cluster, pod),
        )
        return
    yield good("CONFIGMAP_FILE", subject, f"was changed, and {FILE} in pod {name} says so ({how})")
    said = ask(context, name, *PRINT)
    if said == token:
        yield bad(
            "CONFIGMAP_ENV_CHANGED",
            subject,
            f"was changed, and {VARIABLE} in pod {name} with it: the pod was restarted meanwhile",
            f"kubectl -n {NAMESPACE} describe pod {name}",
            *pods.explain(cluster, pod),
        )
        return
    yield good(
        "CONFIGMAP_ENV_OLD",
        subject,
        f"was changed, and ${VARIABLE} in pod {name} still says {said!r}, as it was before ({before!r}): the "
        f"environment needs a restart (kubectl -n {NAMESPACE} rollout restart deployment {WORKLOAD})",
    )
    fresh = _renewed(context)
    if not pods.ready(fresh):  # `run` says so, when it has put all back and it is still so
        return
    name = fresh["metadata"]["name"]
    said = ask(context, name, *PRINT)
    if said == token:
        yield good("CONFIGMAP_ENV_RESTARTED", subject, f"is in ${VARIABLE} after a restart (pod {name})")
    else:
        yield bad(
            "CONFIGMAP_ENV_STALE",
            subject,
            f"is not in ${VARIABLE} even after a restart: pod {name} says {said!r}",
            f"kubectl -n {NAMESPACE} describe pod {name}",
            *pods.explain(cluster, fresh),
        )


def ask(context: Context, pod: str, *command: str) -> str:
    """Return what a command in the pod says, without the line's end. Raises ClusterError: a failure is no answer."""
    return context.cluster.exec(NAMESPACE, pod, command).rstrip("\n")


def write(context: Context, value: str) -> None:
    """Give the ConfigMap another value, as `kubectl edit` does."""
    context.cluster.merge("ConfigMap", WORKLOAD, {"data": {KEY: value}}, namespace=NAMESPACE)


def _own(context: Context) -> list[Object]:
    own = context.cluster.list("Pod", NAMESPACE, labels=f"app.kubernetes.io/name={WORKLOAD}")
    return [pod for pod in own if not pods.leaving(pod)]


def _renewed(context: Context) -> Object:
    """Delete the workload's pods; return one that came instead, or what there is when none gets ready in time.

    The Deployment's own count is waited for too: a plan goes by it.
    """
    old = _own(context)
    for pod in old:
        context.cluster.delete("Pod", pod["metadata"]["name"], NAMESPACE)
    fresh = _ready(context, other_than={pod["metadata"]["uid"] for pod in old})
    if pods.ready(fresh):
        settle(
            context,
            f"Deployment {WORKLOAD} to count its new pod",
            lambda: context.cluster.get("Deployment", WORKLOAD, NAMESPACE, "apps/v1"),
            complete,
            timeout=60,
        )
    return fresh


def _ready(context: Context, other_than: Collection[str] = ()) -> Object:
    """Return a ready pod of the workload other than some, the first there is when none gets ready, {} for none."""

    def look() -> Object:
        own = [pod for pod in _own(context) if pod["metadata"]["uid"] not in other_than]
        return next(iter(sorted(own, key=lambda pod: not pods.ready(pod))), {})

    return settle(context, f"a ready {WORKLOAD} pod", look, pods.ready, timeout=120)


def _not_ready(context: Context, pod: Object) -> Finding:
    return bad(
        "CONFIGMAP_NO_POD",
        f"Deployment {NAMESPACE}/{WORKLOAD}",
        f"has no ready pod: {pods.trouble(pod) if pod else 'there is none'}",
        f"kubectl -n {NAMESPACE} describe deployment {WORKLOAD}",
        *pods.explain_or_events(context.cluster, pod, NAMESPACE, WORKLOAD),
    )


def _not_for(site: Site) -> str:
    return "" if "configmap" in site.workloads.enabled else '[workloads] enabled has no "configmap"'


CHECK = Check(
    "configmap",
    "A ConfigMap's change reaches a pod's file while it runs, and its environment at a restart.",
    run,
    _not_for,
    beside=True,
)

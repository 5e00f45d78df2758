"""A change of a ConfigMap reaches a pod's mounted file while it runs, and its environment at a restart."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from provisioner.checks import pods, restore
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, skipped, wait_for
from provisioner.engine.rollout import complete
from provisioner.kube import Object
from provisioner.site import Site

WORKLOAD = "cm-pods"
SUBJECT = f"ConfigMap {NAMESPACE}/{WORKLOAD}"
KEY, FILE, VARIABLE = "greeting", "/etc/course/greeting", "GREETING"
# By the shell: printenv is not in every busybox.
PRINT = ("sh", "-c", f'printf "%s\\n" "${VARIABLE}"')
# Changing a pod's annotation has its kubelet look at the pod at once (Kubernetes' own documentation of ConfigMaps
# names this way); by itself it looks about once a minute, and less often where `syncFrequency` says so.
NUDGE = "provisioner/looked-at"


def run(context: Context) -> Iterator[Finding]:
    """Yield what the file and the environment say before, after a change, and after a restart; put it back."""
    config = context.cluster.get("ConfigMap", WORKLOAD, NAMESPACE)
    before = ((config or {}).get("data") or {}).get(KEY)
    if before is None:
        yield failed("CONFIGMAP_NONE", SUBJECT, f"does not exist, or has no {KEY}", "provisioner apply")
        return
    plain = before.rstrip("\n")  # as `ask` has it
    pod = _ready(context)
    if pods.ready(pod) and (said := ask(context, pod["metadata"]["name"], *PRINT)) != plain:
        older, pod = pod["metadata"]["name"], _renewed(context)
        if pods.ready(pod):
            begun = _begun_anew(context, pod, plain, f"${VARIABLE} in pod {older} said {said!r}")
            yield begun
            if not begun.ok:
                return
    if not pods.ready(pod):
        yield _not_ready(context, pod)
        return
    token = f"hello-{secrets.token_hex(4)}"
    with _put_back(context, before, token) as old:
        write(context, token)
        yield from _reaches(context, pod, plain, token)
    fresh = _come(context, old)
    if not pods.ready(fresh):
        yield _not_ready(context, fresh)


def _begun_anew(context: Context, pod: Object, before: str, seen: str) -> Finding:
    """Return whether a pod has the ConfigMap's value that was made for one that had not. seen: what that one said."""
    name = pod["metadata"]["name"]
    said = ask(context, name, *PRINT)
    if said != before:
        return _stale(context, pod, said)
    return passed(
        "CONFIGMAP_POD_RENEWED",
        SUBJECT,
        f"says {before!r}, and {seen}, as after a change or a verify that was killed: pod {name} took its place",
    )


@contextmanager
def _put_back(context: Context, before: str, token: str) -> Iterator[list[Object]]:
    """Give the ConfigMap its value back, then have the pods made anew; what is given lists those that had to go.

    Their environment would keep the token. While the ConfigMap has it, too, new pods would not be better.
    """
    cluster = context.cluster
    old: list[Object] = []

    def renew() -> None:
        config = cluster.get("ConfigMap", WORKLOAD, NAMESPACE) or {}
        if (config.get("data") or {}).get(KEY) == before:
            old.extend(() if old else _own(context))
            _delete(context, old)

    with (
        restore.restoring(
            cluster,
            f"the pods of {WORKLOAD} to be made anew",
            renew,
            lambda: f"${VARIABLE} in the pods of Deployment {NAMESPACE}/{WORKLOAD} may say {token!r}",
            f"kubectl -n {NAMESPACE} rollout restart deployment {WORKLOAD}",
        ),
        restore.restoring(
            cluster,
            f"{SUBJECT} to be put back",
            lambda: write(context, before),
            lambda: f"{SUBJECT} may say {token!r} instead of {before!r}",
        ),
    ):
        yield old


def _reaches(context: Context, pod: Object, before: str, token: str) -> Iterator[Finding]:
    cluster, name = context.cluster, pod["metadata"]["name"]
    how = "by itself" if context.full else "at once when the kubelet is nudged"
    if not context.full:
        annotations = {"metadata": {"annotations": {NUDGE: token}}}
        cluster.merge("Pod", name, annotations, namespace=NAMESPACE)
    said = wait_for(
        context,
        f"{FILE} in pod {name} to change",
        lambda: ask(context, name, "cat", FILE),
        lambda seen: seen == token,
        timeout=180,
    )
    if said != token:
        yield failed(
            "CONFIGMAP_FILE_OLD",
            SUBJECT,
            f"was changed, and {FILE} in pod {name} still says {said!r}",
            f"provisioner ssh {pod['spec'].get('nodeName')} -- sudo journalctl -u kubelet -n 30",
            *pods.explain(cluster, pod),
        )
        return
    yield passed("CONFIGMAP_FILE", SUBJECT, f"was changed, and {FILE} in pod {name} says so ({how})")
    if not context.full:
        yield skipped(SUBJECT, "a kubelet that looks by itself, about once a minute: not waited for without --full")
    said = ask(context, name, *PRINT)
    if said != before:
        yield failed(
            "CONFIGMAP_ENV_CHANGED",
            SUBJECT,
            f"was changed, and ${VARIABLE} in pod {name} says {said!r}, and said {before!r} before: the pod was "
            "restarted meanwhile",
            f"kubectl -n {NAMESPACE} describe pod {name}",
            *pods.explain(cluster, pod),
        )
        return
    yield passed(
        "CONFIGMAP_ENV_OLD",
        SUBJECT,
        f"was changed, and ${VARIABLE} in pod {name} still says {said!r}, as it did before: the environment needs a "
        f"restart (kubectl -n {NAMESPACE} rollout restart deployment {WORKLOAD})",
    )
    fresh = _renewed(context)
    if not pods.ready(fresh):  # `run` says so, when it has put all back and it is still so
        return
    name = fresh["metadata"]["name"]
    said = ask(context, name, *PRINT)
    if said == token:
        yield passed("CONFIGMAP_ENV_RESTARTED", SUBJECT, f"is in ${VARIABLE} after a restart (pod {name})")
    else:
        yield _stale(context, fresh, said)


def _stale(context: Context, pod: Object, said: str) -> Finding:
    name = pod["metadata"]["name"]
    return failed(
        "CONFIGMAP_ENV_STALE",
        SUBJECT,
        f"is not in ${VARIABLE} even after a restart: pod {name} says {said!r}",
        f"kubectl -n {NAMESPACE} describe pod {name}",
        *pods.explain(context.cluster, pod),
    )


def ask(context: Context, pod: str, *command: str) -> str:
    """Return what a command in the pod says, without the line's end. Raises ClusterError: a failure is no answer."""
    return context.cluster.exec(NAMESPACE, pod, command).rstrip("\n")


def write(context: Context, value: str) -> None:
    """Give the ConfigMap another value, as `kubectl edit` does."""
    context.cluster.merge("ConfigMap", WORKLOAD, {"data": {KEY: value}}, namespace=NAMESPACE)


def _own(context: Context) -> list[Object]:
    own = context.cluster.list("Pod", NAMESPACE, labels=f"app.kubernetes.io/name={WORKLOAD}")
    return [pod for pod in own if not pods.terminating(pod)]


def _renewed(context: Context) -> Object:
    """Delete the workload's pods; return one that came instead, or what there is when none gets ready in time."""
    old = _own(context)
    _delete(context, old)
    return _come(context, old)


def _delete(context: Context, old: Collection[Object]) -> None:
    for pod in old:
        context.cluster.delete("Pod", pod["metadata"]["name"], NAMESPACE)


def _come(context: Context, old: Collection[Object]) -> Object:
    """Wait for a pod other than the old ones. The Deployment's own count is waited for, too: a plan goes by it."""
    fresh = _ready(context, other_than={pod["metadata"]["uid"] for pod in old})
    if pods.ready(fresh):
        wait_for(
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

    return wait_for(context, f"a ready {WORKLOAD} pod", look, pods.ready, timeout=120)


def _not_ready(context: Context, pod: Object) -> Finding:
    return failed(
        "CONFIGMAP_NO_POD",
        f"Deployment {NAMESPACE}/{WORKLOAD}",
        f"has no ready pod: {pods.why_not_ready(pod) if pod else 'there is none'}",
        f"kubectl -n {NAMESPACE} describe deployment {WORKLOAD}",
        *pods.explain_or_events(context.cluster, pod, NAMESPACE, WORKLOAD),
    )


def _skip_reason(site: Site) -> str:
    return "" if "configmap" in site.workloads.enabled else '[workloads] enabled has no "configmap"'


CHECK = Check(
    "configmap",
    "A ConfigMap's change reaches a pod's file while it runs, and its environment at a restart.",
    run,
    _skip_reason,
    parallel_safe=True,
)

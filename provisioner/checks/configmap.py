"""A change to a ConfigMap reaches a running pod's mounted file, and its environment after a restart."""

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
# With the shell, because not every busybox has printenv.
PRINT = ("sh", "-c", f'printf "%s\\n" "${VARIABLE}"')
# Updating an annotation makes the kubelet sync the pod at once (Kubernetes' documentation of ConfigMaps); otherwise it
# does so about once a minute, depending on its syncFrequency.
SYNC_ANNOTATION = "provisioner/looked-at"


def run(context: Context) -> Iterator[Finding]:
    """Yield findings on file and environment after a change and after a restart; restore the value."""
    config = context.cluster.get("ConfigMap", WORKLOAD, NAMESPACE)
    before = ((config or {}).get("data") or {}).get(KEY)
    if before is None:
        yield failed("CONFIGMAP_NONE", SUBJECT, f"does not exist, or has no {KEY}", "provisioner apply")
        return
    expected = before.rstrip("\n")  # as `output` returns it
    pod = _ready(context)
    if pods.ready(pod) and (value := output(context, pod["metadata"]["name"], *PRINT)) != expected:
        stale, pod = pod["metadata"]["name"], _replace(context)
        if pods.ready(pod):
            replaced = _replaced(context, pod, expected, f"${VARIABLE} in pod {stale} was {value!r}")
            yield replaced
            if not replaced.ok:
                return
    if not pods.ready(pod):
        yield _not_ready(context, pod)
        return
    token = f"hello-{secrets.token_hex(4)}"
    with _restoring(context, before, token) as old:
        write(context, token)
        yield from _changed(context, pod, expected, token)
    new = _wait_replaced(context, old)
    if not pods.ready(new):
        yield _not_ready(context, new)


def _replaced(context: Context, pod: Object, expected: str, stale: str) -> Finding:
    """Return whether a pod has the ConfigMap's value that replaced one without it. stale: what that one had."""
    name = pod["metadata"]["name"]
    value = output(context, name, *PRINT)
    if value != expected:
        return _stale(context, pod, value)
    return passed(
        "CONFIGMAP_POD_RENEWED",
        SUBJECT,
        f"has {expected!r}, but {stale}, as after a change or a killed verify: pod {name} replaced it",
    )


@contextmanager
def _restoring(context: Context, before: str, token: str) -> Iterator[list[Object]]:
    """Restore the ConfigMap's value, then replace the pods, whose environment has the token; yield a list of these.

    The order matters: pods created while the ConfigMap still has the token would have it too.
    """
    cluster = context.cluster
    old: list[Object] = []

    def replace() -> None:
        config = cluster.get("ConfigMap", WORKLOAD, NAMESPACE) or {}
        if (config.get("data") or {}).get(KEY) == before:
            old.extend(() if old else _own(context))
            _delete(context, old)

    with (
        restore.restoring(
            cluster,
            f"the pods of {WORKLOAD} to be replaced",
            replace,
            lambda: f"${VARIABLE} in the pods of Deployment {NAMESPACE}/{WORKLOAD} may still be {token!r}",
            f"kubectl -n {NAMESPACE} rollout restart deployment {WORKLOAD}",
        ),
        restore.restoring(
            cluster,
            f"{SUBJECT} to be restored",
            lambda: write(context, before),
            lambda: f"{SUBJECT} may have {token!r} instead of {before!r}",
        ),
    ):
        yield old


def _changed(context: Context, pod: Object, before: str, token: str) -> Iterator[Finding]:
    """Yield whether the change reaches the file, leaves the environment as it is, and reaches it after a restart."""
    cluster, name = context.cluster, pod["metadata"]["name"]
    how = "by the kubelet's periodic sync" if context.full else "by a sync that an annotation triggered"
    if not context.full:
        annotations = {"metadata": {"annotations": {SYNC_ANNOTATION: token}}}
        cluster.merge("Pod", name, annotations, namespace=NAMESPACE)
    text = wait_for(
        context,
        f"{FILE} in pod {name} to change",
        lambda: output(context, name, "cat", FILE),
        lambda text: text == token,
        timeout=180,
    )
    if text != token:
        yield failed(
            "CONFIGMAP_FILE_OLD",
            SUBJECT,
            f"was changed, but {FILE} in pod {name} still has {text!r}",
            f"provisioner ssh {pod['spec'].get('nodeName')} -- sudo journalctl -u kubelet -n 30",
            *pods.explain(cluster, pod),
        )
        return
    yield passed("CONFIGMAP_FILE", SUBJECT, f"was changed, and {FILE} in pod {name} was updated ({how})")
    if not context.full:
        yield skipped(SUBJECT, "waiting for the kubelet's periodic sync, about once a minute, needs --full")
    value = output(context, name, *PRINT)
    if value != before:
        yield failed(
            "CONFIGMAP_ENV_CHANGED",
            SUBJECT,
            f"was changed, and ${VARIABLE} in pod {name} is {value!r} instead of {before!r}: the pod was restarted "
            "meanwhile",
            f"kubectl -n {NAMESPACE} describe pod {name}",
            *pods.explain(cluster, pod),
        )
        return
    yield passed(
        "CONFIGMAP_ENV_OLD",
        SUBJECT,
        f"was changed, and ${VARIABLE} in pod {name} is still {value!r}, as expected: the environment needs a restart "
        f"(kubectl -n {NAMESPACE} rollout restart deployment {WORKLOAD})",
    )
    new = _replace(context)
    if not pods.ready(new):  # `run` reports that if it still holds after restoring
        return
    name = new["metadata"]["name"]
    value = output(context, name, *PRINT)
    if value == token:
        yield passed("CONFIGMAP_ENV_RESTARTED", SUBJECT, f"reached ${VARIABLE} after a restart (pod {name})")
    else:
        yield _stale(context, new, value)


def _stale(context: Context, pod: Object, value: str) -> Finding:
    name = pod["metadata"]["name"]
    return failed(
        "CONFIGMAP_ENV_STALE",
        SUBJECT,
        f"did not reach ${VARIABLE} even after a restart: pod {name} has {value!r}",
        f"kubectl -n {NAMESPACE} describe pod {name}",
        *pods.explain(context.cluster, pod),
    )


def output(context: Context, pod: str, *command: str) -> str:
    """Return the output of a command in a pod without the final newline; raises ClusterError when it fails."""
    return context.cluster.exec(NAMESPACE, pod, command).rstrip("\n")


def write(context: Context, value: str) -> None:
    """Set the ConfigMap's value."""
    context.cluster.merge("ConfigMap", WORKLOAD, {"data": {KEY: value}}, namespace=NAMESPACE)


def _own(context: Context) -> list[Object]:
    own = context.cluster.list("Pod", NAMESPACE, labels=f"app.kubernetes.io/name={WORKLOAD}")
    return [pod for pod in own if not pods.terminating(pod)]


def _replace(context: Context) -> Object:
    """Delete the workload's pods; return a new one, ready unless time ran out."""
    old = _own(context)
    _delete(context, old)
    return _wait_replaced(context, old)


def _delete(context: Context, old: Collection[Object]) -> None:
    for pod in old:
        context.cluster.delete("Pod", pod["metadata"]["name"], NAMESPACE)


def _wait_replaced(context: Context, old: Collection[Object]) -> Object:
    """Wait for a ready pod other than the old ones, and for the Deployment's status, by which a plan goes."""
    new = _ready(context, other_than={pod["metadata"]["uid"] for pod in old})
    if pods.ready(new):
        wait_for(
            context,
            f"Deployment {WORKLOAD} to be complete",
            lambda: context.cluster.get("Deployment", WORKLOAD, NAMESPACE, "apps/v1"),
            complete,
            timeout=60,
        )
    return new


def _ready(context: Context, other_than: Collection[str] = ()) -> Object:
    """Return a ready pod of the workload other than those, one that is not ready when time is up, {} for none."""

    def read() -> Object:
        own = [pod for pod in _own(context) if pod["metadata"]["uid"] not in other_than]
        return next(iter(sorted(own, key=lambda pod: not pods.ready(pod))), {})

    return wait_for(context, f"a ready {WORKLOAD} pod", read, pods.ready, timeout=120)


def _not_ready(context: Context, pod: Object) -> Finding:
    return failed(
        "CONFIGMAP_NO_POD",
        f"Deployment {NAMESPACE}/{WORKLOAD}",
        f"has no ready pod: {pods.why_not_ready(pod) if pod else 'none exists'}",
        f"kubectl -n {NAMESPACE} describe deployment {WORKLOAD}",
        *pods.explain_or_events(context.cluster, pod, NAMESPACE, WORKLOAD),
    )


def _skip_reason(site: Site) -> str:
    return "" if "configmap" in site.workloads.enabled else '[workloads] enabled has no "configmap"'


CHECK = Check(
    "configmap",
    "A ConfigMap's change reaches a running pod's file, and its environment after a restart.",
    run,
    _skip_reason,
    parallel_safe=True,
)

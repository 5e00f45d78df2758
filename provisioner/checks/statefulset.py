"""The pods of a StatefulSet keep name, volume and data: when one is deleted, and when all are scaled away and back."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from provisioner.checks import claims, dns, pods, restore, statefulset_pods, statefulset_scale, volume_files
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, skipped, wait_for
from provisioner.checks.statefulset_pods import SUBJECT, WORKLOAD
from provisioner.errors import ClusterError
from provisioner.kube import Object
from provisioner.site import Site
from provisioner.text import join_words

FIRST = f"{WORKLOAD}-0"


def run(context: Context) -> Iterator[Finding]:
    """Yield findings on the pods' volumes and names, then on a deleted pod, then on all of them scaled to none."""
    cluster = context.cluster
    workload = cluster.get("StatefulSet", WORKLOAD, NAMESPACE, "apps/v1")
    if workload is None:
        yield failed("STATEFULSET_NONE", SUBJECT, "does not exist", "provisioner apply")
        return
    names = [f"{WORKLOAD}-{number}" for number in range(int(workload["spec"].get("replicas", 1)))]
    if not names:
        events = cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :]
        yield failed("STATEFULSET_NO_PODS", SUBJECT, "is scaled to 0 pods", "provisioner apply", *events)
        return
    own = statefulset_pods.all_ready(context, names)
    late = next((name for name in names if not pods.ready(own.get(name, {}))), "")
    if late:
        yield statefulset_pods.not_ready(context, "STATEFULSET_NOT_READY", "is not ready", late, own.get(late, {}))
        return
    volumes = {name: claims.volume_of(context, own[name]) for name in names}
    yield _own_volumes(context, volumes)
    yield _names(context, own)
    token = secrets.token_hex(16)
    path = volume_files.path(token)
    with restore.restoring(
        cluster,
        f"{path} to be removed from the volumes of {WORKLOAD}",
        lambda: _remove(context, names),
        lambda: f"{path} may be left on the volumes of {join_words(names)}",
        "the next provisioner verify statefulset removes it",
    ):
        unwritten = _write(context, own, volumes, path, token)
        if unwritten:
            yield unwritten
            return
        returned = _returns(context, own[FIRST], volumes[FIRST], path, token)
        yield returned
        if not returned.ok:  # what is broken is left to be looked at
            return
        if not context.thorough:
            yield skipped(SUBJECT, "scaled to 0 and back: not tried without --full")
            return
        with pods.scaled_back(cluster, workload) as scale:
            yield from statefulset_scale.judge(context, scale, volumes, path, token)


def _write(
    context: Context, own: Mapping[str, Object], volumes: Mapping[str, tuple[str, str]], path: str, token: str
) -> Finding | None:
    """Write something of its own into each pod's volume; return what kept it from that."""
    for name, (_, volume) in volumes.items():
        try:
            volume_files.write(context.cluster, own[name], path, f"{token} {name}")
        except ClusterError as error:
            return failed(
                "STATEFULSET_WRITE_FAILED",
                f"pod {NAMESPACE}/{name}",
                f"cannot write to its volume {volume}: {error}",
                "look at the directory's owner and mode on the NFS server; pods run as 65534 (nobody)",
                error.tail,
                *pods.explain(context.cluster, own[name]),
            )
    return None


def _own_volumes(context: Context, volumes: Mapping[str, tuple[str, str]]) -> Finding:
    shown = ", ".join(f"{name} has {volume} ({claim})" for name, (claim, volume) in volumes.items())
    bound = [volume for _, volume in volumes.values() if volume]
    if len(set(bound)) == len(volumes):
        return passed("STATEFULSET_VOLUMES", SUBJECT, f"gives each pod a volume of its own: {shown}")
    return failed(
        "STATEFULSET_VOLUMES_SHARED",
        SUBJECT,
        f"does not give each pod a volume of its own: {shown}",
        f"kubectl -n {NAMESPACE} get pvc -o wide",
        *(line for claim, _ in volumes.values() if claim for line in context.cluster.events(NAMESPACE, claim)[-2:]),
    )


def _names(context: Context, own: Mapping[str, Object]) -> Finding:
    """Ask in the first pod for the DNS names of all; the server remembers for some seconds what was not there."""
    wanted = {f"{name}.{WORKLOAD}.{NAMESPACE}.{dns.DOMAIN}": pod["status"]["podIP"] for name, pod in own.items()}
    output = wait_for(
        context,
        f"the DNS names of {WORKLOAD}",
        lambda: dns.ask(context, own[FIRST], wanted),
        lambda seen: not dns.unresolved(wanted, dns.answers(seen)),
        timeout=60,
    )
    wrong = dns.unresolved(wanted, dns.answers(output))
    if not wrong:
        shown = ", ".join(f"{name} is {address}" for name, address in wanted.items())
        return passed("STATEFULSET_NAMES", SUBJECT, f"gives each pod a name in DNS: {shown}")
    servers = context.cluster.list("Pod", "kube-system", labels="k8s-app=kube-dns")
    return failed(
        "STATEFULSET_NAME_UNKNOWN",
        SUBJECT,
        f"gives {join_words(wrong)} no name in DNS that leads to the pod",
        f"kubectl -n {NAMESPACE} get endpoints {WORKLOAD}: are all pods in it?",
        output,
        *pods.explain_named(context.cluster, own.values(), {name.partition(".")[0] for name in wrong}),
        *pods.explain_named(context.cluster, servers, {server["metadata"]["name"] for server in servers}),
    )


def _returns(context: Context, before: Object, bound: tuple[str, str], path: str, token: str) -> Finding:
    """Delete a pod and look for its name, its volume and its data."""
    cluster, name = context.cluster, before["metadata"]["name"]
    subject = f"pod {NAMESPACE}/{name}"
    uid = before["metadata"]["uid"]
    cluster.delete("Pod", name, NAMESPACE)
    after = wait_for(
        context,
        f"pod {name} to return",
        lambda: cluster.get("Pod", name, NAMESPACE) or {},
        lambda pod: bool(pod) and pod["metadata"]["uid"] != uid and pods.ready(pod),
        timeout=120,
    )
    if not after or after["metadata"]["uid"] == uid or not pods.ready(after):
        return statefulset_pods.not_ready(
            context, "STATEFULSET_NOT_BACK", "did not come back after it was deleted", name, after
        )
    lost = claims.lost(context, after, path, f"{token} {name}")
    now = claims.volume_of(context, after)
    if now != bound:
        return claims.other_volume(context, after, "came back", now, bound)
    if lost:
        return claims.lost_data(context, after, "came back with its volume", bound[1], lost)
    there, here = before["spec"]["nodeName"], after["spec"]["nodeName"]
    where = f"from {there} to {here}" if there != here else f"on {here}"
    return passed(
        "STATEFULSET_RETURNS",
        subject,
        f"came back after it was deleted, {where}, with {bound[0]} on {bound[1]} and what it had written",
    )


def _remove(context: Context, names: Sequence[str]) -> None:
    """Remove the written files: at once where a pod is ready, then where one comes back.

    That is waited for even when nobody waits for findings any more. A pod that does not come has been told of already.
    """
    left = _remove_ready(context, names)
    if left:
        statefulset_pods.all_ready(replace(context, stop=threading.Event()), left)
        _remove_ready(context, left)


def _remove_ready(context: Context, names: Sequence[str]) -> list[str]:
    """Remove the files in the pods that are ready; return the names of the others.

    Raises ClusterError for a pod in which that fails, when all have been tried.
    """
    own = statefulset_pods.own(context)
    there = [name for name in names if pods.ready(own.get(name, {}))]
    failure: ClusterError | None = None
    for name in there:
        try:
            volume_files.remove(context.cluster, name)
        except ClusterError as error:
            failure = failure or error
    if failure:
        raise failure
    return [name for name in names if name not in there]


def _skip_reason(site: Site) -> str:
    return "" if "statefulset" in site.workloads.enabled else '[workloads] enabled has no "statefulset"'


CHECK = Check(
    "statefulset",
    "Pods are made in order and keep name, volume and data, deleted or scaled away.",
    run,
    _skip_reason,
    parallel_safe=True,
)

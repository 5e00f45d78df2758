"""The pods of a StatefulSet keep name, volume and data when one is deleted, and when all are scaled to 0 and back."""

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
    """Yield findings on the pods' volumes and DNS names, then on a deleted pod, then on scaling to 0 and back."""
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
    own = statefulset_pods.wait_ready(context, names)
    late = next((name for name in names if not pods.ready(own.get(name, {}))), "")
    if late:
        yield statefulset_pods.not_ready(context, "STATEFULSET_NOT_READY", "is not ready", late, own.get(late, {}))
        return
    volumes = {name: claims.claim_and_volume(context, own[name]) for name in names}
    yield _own_volumes(context, volumes)
    yield _dns_names(context, own)
    token = secrets.token_hex(16)
    path = volume_files.path(token)
    with restore.restoring(
        cluster,
        f"{path} to be removed from the volumes of {WORKLOAD}",
        lambda: _remove(context, names),
        lambda: f"{path} may remain on the volumes of {join_words(names)}",
        "the next provisioner verify statefulset removes it",
    ):
        write_error = _write(context, own, volumes, path, token)
        if write_error:
            yield write_error
            return
        returned = _deleted_pod(context, own[FIRST], volumes[FIRST], path, token)
        yield returned
        if not returned.ok:  # leave the state as it is, for debugging
            return
        if not context.thorough:
            yield skipped(SUBJECT, "scaling to 0 and back needs --full")
            return
        with pods.restoring_replicas(cluster, workload) as scale:
            yield from statefulset_scale.judge(context, scale, volumes, path, token)


def _write(
    context: Context, own: Mapping[str, Object], volumes: Mapping[str, tuple[str, str]], path: str, token: str
) -> Finding | None:
    """Write a token and the pod's name to each pod's volume; return a finding on the first failure."""
    for name, (_, volume) in volumes.items():
        try:
            volume_files.write(context.cluster, own[name], path, f"{token} {name}")
        except ClusterError as error:
            return failed(
                "STATEFULSET_WRITE_FAILED",
                f"pod {NAMESPACE}/{name}",
                f"cannot write to its volume {volume}: {error}",
                "check owner and mode of the directory on the NFS server; pods run as 65534 (nobody)",
                error.tail,
                *pods.explain(context.cluster, own[name]),
            )
    return None


def _own_volumes(context: Context, volumes: Mapping[str, tuple[str, str]]) -> Finding:
    shown = ", ".join(f"{name} has {volume} ({claim})" for name, (claim, volume) in volumes.items())
    bound = [volume for _, volume in volumes.values() if volume]
    if len(set(bound)) == len(volumes):
        return passed("STATEFULSET_VOLUMES", SUBJECT, f"has a volume for each pod: {shown}")
    return failed(
        "STATEFULSET_VOLUMES_SHARED",
        SUBJECT,
        f"does not have a volume for each pod: {shown}",
        f"kubectl -n {NAMESPACE} get pvc -o wide",
        *(line for claim, _ in volumes.values() if claim for line in context.cluster.events(NAMESPACE, claim)[-2:]),
    )


def _dns_names(context: Context, own: Mapping[str, Object]) -> Finding:
    """Resolve the names of all pods in the first one; CoreDNS caches a missing name for some seconds."""
    wanted = {f"{name}.{WORKLOAD}.{NAMESPACE}.{dns.DOMAIN}": pod["status"]["podIP"] for name, pod in own.items()}
    output = wait_for(
        context,
        f"the DNS names of {WORKLOAD}",
        lambda: dns.resolve(context, own[FIRST], wanted),
        lambda output: not dns.unresolved(wanted, dns.parse(output)),
        timeout=60,
    )
    wrong = dns.unresolved(wanted, dns.parse(output))
    if not wrong:
        shown = ", ".join(f"{name} is {address}" for name, address in wanted.items())
        return passed("STATEFULSET_NAMES", SUBJECT, f"has a DNS name for each pod: {shown}")
    servers = context.cluster.list("Pod", "kube-system", labels="k8s-app=kube-dns")
    return failed(
        "STATEFULSET_NAME_UNKNOWN",
        SUBJECT,
        f"has pods whose DNS name does not resolve to them: {join_words(wrong)}",
        f"kubectl -n {NAMESPACE} get endpoints {WORKLOAD} should list all pods",
        output,
        *pods.explain_named(context.cluster, own.values(), {name.partition(".")[0] for name in wrong}),
        *pods.explain_named(context.cluster, servers, {server["metadata"]["name"] for server in servers}),
    )


def _deleted_pod(context: Context, before: Object, bound: tuple[str, str], path: str, token: str) -> Finding:
    """Delete a pod; return whether it is recreated with its name, volume and data."""
    cluster, name = context.cluster, before["metadata"]["name"]
    uid = before["metadata"]["uid"]
    cluster.delete("Pod", name, NAMESPACE)
    after = wait_for(
        context,
        f"pod {name} to be recreated",
        lambda: cluster.get("Pod", name, NAMESPACE) or {},
        lambda pod: bool(pod) and pod["metadata"]["uid"] != uid and pods.ready(pod),
        timeout=120,
    )
    if not after or after["metadata"]["uid"] == uid or not pods.ready(after):
        what = "was deleted and is not ready again"
        return statefulset_pods.not_ready(context, "STATEFULSET_NOT_BACK", what, name, after)
    mismatch = claims.data_mismatch(context, after, path, f"{token} {name}")
    now_bound = claims.claim_and_volume(context, after)
    if now_bound != bound:
        return claims.other_volume(context, after, "was recreated", now_bound, bound)
    if mismatch:
        return claims.lost_data(context, after, "was recreated with", bound[1], mismatch)
    old, new = before["spec"]["nodeName"], after["spec"]["nodeName"]
    where = f"on {new} instead of {old}" if old != new else f"on {new}"
    return passed(
        "STATEFULSET_RETURNS",
        f"pod {NAMESPACE}/{name}",
        f"was deleted and recreated {where}, with {bound[0]} on {bound[1]} and its data",
    )


def _remove(context: Context, names: Sequence[str]) -> None:
    """Remove the test files: at once in ready pods, then in those that become ready.

    It waits for these even after the run was aborted. A pod that does not become ready has been reported already.
    """
    remaining = _remove_ready(context, names)
    if remaining:
        statefulset_pods.wait_ready(replace(context, stop=threading.Event()), remaining)
        _remove_ready(context, remaining)


def _remove_ready(context: Context, names: Sequence[str]) -> list[str]:
    """Remove the test files in the pods that are ready; return the names of the others.

    Tries all pods before it raises ClusterError for the first one that failed.
    """
    own = statefulset_pods.own(context)
    ready = [name for name in names if pods.ready(own.get(name, {}))]
    failure: ClusterError | None = None
    for name in ready:
        try:
            volume_files.remove(context.cluster, name)
        except ClusterError as error:
            failure = failure or error
    if failure:
        raise failure
    return [name for name in names if name not in ready]


def _skip_reason(site: Site) -> str:
    return "" if "statefulset" in site.workloads.enabled else '[workloads] enabled has no "statefulset"'


CHECK = Check(
    "statefulset",
    "A StatefulSet's pods are created in order and keep name, volume and data when deleted or scaled.",
    run,
    _skip_reason,
    parallel_safe=True,
)

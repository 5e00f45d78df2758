"""The pods of a StatefulSet keep name, volume and data: when one is deleted, and when all are scaled away and back."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from provisioner.checks import claims, dns, pods, storage
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, bad, good, settle, untried
from provisioner.errors import ClusterError

if TYPE_CHECKING:
    from provisioner.objects import Object
    from provisioner.site import Site

WORKLOAD = "ss-pods"
FIRST = f"{WORKLOAD}-0"
SUBJECT = f"StatefulSet {NAMESPACE}/{WORKLOAD}"


@dataclass
class Watched:
    """What was seen while the pods were made again, look by look.

    order: the names as they appeared. early: a pod that was there while the one before it was not ready.
    """

    own: dict[str, Object] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    early: str = ""

    def note(self, own: Mapping[str, Object], names: list[str]) -> Watched:
        """Take in one look at the pods; `names` in their order."""
        self.own = dict(own)
        self.order += [name for name in names if name in own and name not in self.order]
        for before, name in pairwise(names):
            if name in own and not pods.ready(own.get(before, {})) and not self.early:
                self.early = f"{name} was there before {before} was ready"
        return self


def run(context: Context) -> Iterator[Finding]:
    """Yield findings on the pods' volumes and names, then on a deleted pod, then on all of them scaled to none."""
    cluster = context.cluster
    workload = cluster.get("StatefulSet", WORKLOAD, NAMESPACE, "apps/v1")
    if workload is None:
        yield bad("STATEFULSET_NONE", SUBJECT, "does not exist", "provisioner apply")
        return
    names = [f"{WORKLOAD}-{number}" for number in range(int(workload["spec"].get("replicas", 1)))]
    own = _all_ready(context, names)
    late = next((name for name in names if not pods.ready(own.get(name, {}))), "")
    if late or not names:
        yield _not_ready(context, "STATEFULSET_NOT_READY", "is not ready", late or FIRST, own.get(late, {}))
        return
    volumes = {name: claims.volume_of(context, own[name]) for name in names}
    yield _own_volumes(volumes)
    yield _names(context, own)
    token = secrets.token_hex(16)
    path = f"{storage.FOLDER}/.verify-{token[:8]}"
    try:
        unwritten = _write(context, own, volumes, path, token)
        if unwritten:
            yield unwritten
            return
        returned = _returns(context, own[FIRST], volumes[FIRST], path, token)
        yield returned
        if not returned.ok:  # what is broken is left to be looked at
            return
        if not context.thorough:
            yield untried(SUBJECT, "scaled to 0 and back: not tried without --full")
            return
        with pods.scaled_back(cluster, workload):
            yield from _scaled(context, workload, volumes, path, token)
    finally:
        _remove(context, names, path)


def _write(
    context: Context, own: Mapping[str, Object], volumes: Mapping[str, tuple[str, str]], path: str, token: str
) -> Finding | None:
    """Write something of its own into each pod's volume; return what kept it from that."""
    for name, (_, volume) in volumes.items():
        try:
            storage.write(context.cluster, own[name], path, f"{token} {name}")
        except ClusterError as error:
            return bad(
                "STATEFULSET_WRITE_FAILED",
                f"pod {NAMESPACE}/{name}",
                f"cannot write to its volume {volume}: {error}",
                "look at the directory's owner and mode on the NFS server; pods run as 65534 (nobody)",
                error.tail,
            )
    return None


def _own_volumes(volumes: Mapping[str, tuple[str, str]]) -> Finding:
    shown = ", ".join(f"{name} has {volume} ({claim})" for name, (claim, volume) in volumes.items())
    bound = [volume for _, volume in volumes.values() if volume]
    if len(set(bound)) == len(volumes):
        return good("STATEFULSET_VOLUMES", SUBJECT, f"gives each pod a volume of its own: {shown}")
    return bad(
        "STATEFULSET_VOLUMES_SHARED",
        SUBJECT,
        f"does not give each pod a volume of its own: {shown}",
        f"kubectl -n {NAMESPACE} get pvc -o wide",
    )


def _names(context: Context, own: Mapping[str, Object]) -> Finding:
    """Ask in the first pod for the DNS names of all; the server remembers for some seconds what was not there."""
    wanted = {f"{name}.{WORKLOAD}.{NAMESPACE}.{dns.DOMAIN}": pod["status"]["podIP"] for name, pod in own.items()}
    output = settle(
        context,
        f"the DNS names of {WORKLOAD}",
        lambda: dns.ask(context, own[FIRST], wanted),
        lambda seen: not dns.unresolved(wanted, dns.answers(seen)),
        timeout=60,
    )
    wrong = dns.unresolved(wanted, dns.answers(output))
    if not wrong:
        shown = ", ".join(f"{name} is {address}" for name, address in wanted.items())
        return good("STATEFULSET_NAMES", SUBJECT, f"gives each pod a name in DNS: {shown}")
    return bad(
        "STATEFULSET_NAME_UNKNOWN",
        SUBJECT,
        f"gives {' and '.join(wrong)} no name in DNS that leads to the pod",
        f"kubectl -n {NAMESPACE} get endpoints {WORKLOAD}: are all pods in it?",
        output,
    )


def _returns(context: Context, before: Object, bound: tuple[str, str], path: str, token: str) -> Finding:
    """Delete a pod and look for its name, its volume and its data."""
    cluster, name = context.cluster, before["metadata"]["name"]
    subject = f"pod {NAMESPACE}/{name}"
    uid = before["metadata"]["uid"]
    cluster.delete("Pod", name, NAMESPACE)
    after = settle(
        context,
        f"pod {name} to return",
        lambda: cluster.get("Pod", name, NAMESPACE) or {},
        lambda pod: bool(pod) and pod["metadata"]["uid"] != uid and pods.ready(pod),
        timeout=120,
    )
    if not after or after["metadata"]["uid"] == uid or not pods.ready(after):
        return _not_ready(context, "STATEFULSET_NOT_BACK", "did not come back after it was deleted", name, after)
    lost = claims.lost(context, after, path, f"{token} {name}")
    now = claims.volume_of(context, after)
    if now != bound:
        return claims.other_volume(subject, "came back", now, bound)
    if lost:
        return claims.lost_data(context, after, "came back with its volume", bound[1], lost)
    there, here = before["spec"]["nodeName"], after["spec"]["nodeName"]
    where = f"from {there} to {here}" if there != here else f"on {here}"
    return good(
        "STATEFULSET_RETURNS",
        subject,
        f"came back after it was deleted, {where}, with {bound[0]} on {bound[1]} and what it had written",
    )


def _scaled(
    context: Context, workload: Object, volumes: Mapping[str, tuple[str, str]], path: str, token: str
) -> Iterator[Finding]:
    """Scale to none, look at the claims; scale back, watch the order, look at volumes and data."""
    cluster, names = context.cluster, [*volumes]
    pods.scale(cluster, workload, 0)
    left = settle(
        context, f"the pods of {WORKLOAD} to go", lambda: _own(context), lambda own: not own, timeout=60 * len(names)
    )
    if left:
        name, pod = next(iter(left.items()))
        yield _not_ready(context, "STATEFULSET_STAYS", "did not go when the StatefulSet was scaled to 0", name, pod)
        return
    kept = {name: (claim, claims.bound_to(context, claim)) for name, (claim, _) in volumes.items()}
    if kept != volumes:
        yield bad(
            "STATEFULSET_CLAIM_GONE",
            SUBJECT,
            "was scaled to 0, and not every claim stayed bound to its volume: "
            + ", ".join(f"{claim} to {volume or 'none'}" for claim, volume in kept.values()),
            f"kubectl -n {NAMESPACE} get pvc",
            *context.cluster.events(NAMESPACE)[-pods.EVENTS :],
        )
        return
    shown = " and ".join(claim for claim, _ in volumes.values())
    yield good("STATEFULSET_KEEPS_VOLUMES", SUBJECT, f"was scaled to 0, and {shown} stayed bound to their volumes")
    pods.scale(cluster, workload, len(names))
    watched = Watched()
    settle(
        context,
        f"{len(names)} pods of {WORKLOAD}, one after the other",
        lambda: watched.note(_own(context), names),
        lambda seen: all(pods.ready(seen.own.get(name, {})) for name in names),
        timeout=120 * len(names),
        pause=1,
    )
    yield from _made_again(context, watched, volumes, path, token)


def _made_again(
    context: Context, watched: Watched, volumes: Mapping[str, tuple[str, str]], path: str, token: str
) -> Iterator[Finding]:
    names = [*volumes]
    for name in names:
        if not pods.ready(watched.own.get(name, {})):
            pod = watched.own.get(name, {})
            yield _not_ready(context, "STATEFULSET_NOT_BACK", "did not come back after scaling out", name, pod)
            return
    shown = ", ".join(watched.order)
    if watched.early or watched.order != names:
        yield bad(
            "STATEFULSET_DISORDER",
            SUBJECT,
            f"made its pods in the order {shown}" + (f": {watched.early}" if watched.early else ""),
            f"kubectl -n {NAMESPACE} get statefulset {WORKLOAD} -o yaml: podManagementPolicy is OrderedReady?",
            *context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :],
        )
    else:
        yield good("STATEFULSET_ORDER", SUBJECT, f"made {shown} in this order, each when the one before was ready")
    for name in names:
        lost = claims.lost(context, watched.own[name], path, f"{token} {name}")
        now = claims.volume_of(context, watched.own[name])
        if now != volumes[name]:
            yield claims.other_volume(f"pod {NAMESPACE}/{name}", "was made again", now, volumes[name])
            return
        if lost:
            yield claims.lost_data(context, watched.own[name], "was made again with its volume", now[1], lost)
            return
    yield good(
        "STATEFULSET_FINDS_VOLUMES", SUBJECT, "was scaled out again, and each pod found its volume and its data"
    )


def _own(context: Context) -> dict[str, Object]:
    own = context.cluster.list("Pod", NAMESPACE, labels=f"app.kubernetes.io/name={WORKLOAD}")
    return {pod["metadata"]["name"]: pod for pod in own}


def _all_ready(context: Context, names: list[str]) -> dict[str, Object]:
    return settle(
        context,
        f"the pods of {WORKLOAD} to be ready",
        lambda: _own(context),
        lambda own: all(pods.ready(own.get(name, {})) for name in names),
        timeout=120,
    )


def _remove(context: Context, names: list[str], path: str) -> None:
    """Remove the written files: at once where a pod is ready, then where one comes back.

    That is waited for even when nobody waits for findings any more. A pod that does not come has been told of already.
    """
    left = _remove_ready(context, names, path)
    if left:
        _all_ready(replace(context, stop=threading.Event()), left)
        _remove_ready(context, left, path)


def _remove_ready(context: Context, names: list[str], path: str) -> list[str]:
    """Remove the file in the pods that are ready; return the names of the others."""
    own = _own(context)
    there = [name for name in names if pods.ready(own.get(name, {}))]
    for name in there:
        context.cluster.exec(NAMESPACE, name, ["rm", "-f", path])
    return [name for name in names if name not in there]


def _not_ready(context: Context, code: str, what: str, name: str, pod: Object) -> Finding:
    why = pods.trouble(pod) if pod else "it does not exist"
    return bad(
        code,
        f"pod {NAMESPACE}/{name}",
        f"{what}: {why}",
        f"kubectl -n {NAMESPACE} describe pod {name}; kubectl -n {NAMESPACE} get pvc",
        *pods.explain_or_events(context.cluster, pod, NAMESPACE, WORKLOAD),
    )


def _not_for(site: Site) -> str:
    return "" if "statefulset" in site.workloads.enabled else '[workloads] enabled has no "statefulset"'


CHECK = Check(
    "statefulset",
    "Pods are made in order and keep name, volume and data, deleted or scaled away.",
    run,
    _not_for,
    beside=True,
)

"""A pod of a StatefulSet comes back after it was deleted: same name, same volume, same data."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

from provisioner.checks import pods, storage
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, bad, good, settle
from provisioner.errors import ClusterError

if TYPE_CHECKING:
    from provisioner.objects import Object
    from provisioner.site import Site

WORKLOAD = "ss-pods"
FIRST = f"{WORKLOAD}-0"


def run(context: Context) -> Iterator[Finding]:
    """Yield one finding: write a token in the first pod, delete the pod, look for the token when it is back."""
    cluster = context.cluster
    subject = f"pod {NAMESPACE}/{FIRST}"
    before = _wait(context, "to be ready", other_than="")
    if not _back(before, ""):
        yield _not_ready(context, "STATEFULSET_NOT_READY", "is not ready", before)
        return
    claim, volume = volume_of(context, before)
    token = secrets.token_hex(16)
    path = f"{storage.FOLDER}/.verify-{token[:8]}"
    try:
        storage.write(cluster, before, path, token)
    except ClusterError as error:
        yield bad(
            "STATEFULSET_WRITE_FAILED",
            subject,
            f"cannot write to its volume {volume}: {error}",
            "look at the directory's owner and mode on the NFS server; pods run as 65534 (nobody)",
            error.tail,
        )
        return
    cluster.delete("Pod", FIRST, NAMESPACE)
    after = _wait(context, "to return", other_than=before["metadata"]["uid"])
    if not _back(after, before["metadata"]["uid"]):
        yield _not_ready(context, "STATEFULSET_NOT_BACK", "did not come back after it was deleted", after)
        return
    try:
        seen = storage.read(cluster, after, path)
        tail = f"expected {token}, read {seen!r}"
        cluster.exec(NAMESPACE, FIRST, ["rm", "-f", path])
    except ClusterError as error:
        seen, tail = "", f"{error}\n{error.tail}"
    claim_now, volume_now = volume_of(context, after)
    if (claim_now, volume_now) != (claim, volume):
        yield bad(
            "STATEFULSET_OTHER_VOLUME",
            subject,
            f"came back with {claim_now} on {volume_now}, and had {claim} on {volume}",
            f"kubectl -n {NAMESPACE} describe pvc {claim_now}",
        )
    elif seen != token:
        yield bad(
            "STATEFULSET_LOST_DATA",
            subject,
            f"came back with its volume {volume}, but not with what it had written there",
            f"kubectl describe pv {volume}, and look into its directory on the NFS server",
            tail,
        )
    else:
        moved = f"from {before['spec']['nodeName']} to {after['spec']['nodeName']}"
        where = moved if before["spec"]["nodeName"] != after["spec"]["nodeName"] else f"on {after['spec']['nodeName']}"
        yield good(
            "STATEFULSET_RETURNS",
            subject,
            f"came back after it was deleted, {where}, with {claim} on {volume} and what it had written",
        )


def volume_of(context: Context, pod: Object) -> tuple[str, str]:
    """Return the pod's claim and the volume that this is bound to; "" for what there is not."""
    claims = [volume.get("persistentVolumeClaim") for volume in pod["spec"].get("volumes") or ()]
    name = next((str(claim["claimName"]) for claim in claims if claim), "")
    claim = context.cluster.get("PersistentVolumeClaim", name, NAMESPACE) if name else None
    return name, str(claim["spec"].get("volumeName", "")) if claim else ""


def _wait(context: Context, what: str, other_than: str) -> Object:
    return settle(
        context,
        f"pod {FIRST} {what}",
        lambda: context.cluster.get("Pod", FIRST, NAMESPACE) or {},
        lambda pod: _back(pod, other_than),
        timeout=120,
    )


def _back(pod: Object, other_than: str) -> bool:
    return bool(pod) and pod["metadata"]["uid"] != other_than and pods.ready(pod)


def _not_ready(context: Context, code: str, what: str, pod: Object) -> Finding:
    why = pods.trouble(pod) if pod else "it does not exist"
    explained = (
        pods.explain(context.cluster, pod) if pod else context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :]
    )
    return bad(
        code,
        f"pod {NAMESPACE}/{FIRST}",
        f"{what}: {why}",
        f"kubectl -n {NAMESPACE} describe pod {FIRST}; kubectl -n {NAMESPACE} get pvc",
        *explained,
    )


def _not_for(site: Site) -> str:
    return "" if "statefulset" in site.workloads.enabled else '[workloads] enabled has no "statefulset"'


CHECK = Check("statefulset", "A deleted pod returns with its name, its volume and its data.", run, _not_for)

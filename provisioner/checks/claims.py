"""What a pod's claim is bound to, and whether the volume still holds what was written there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.checks import pods, storage
from provisioner.checks.check import NAMESPACE, Context, Finding, bad
from provisioner.errors import ClusterError

if TYPE_CHECKING:
    from provisioner.objects import Object


def volume_of(context: Context, pod: Object) -> tuple[str, str]:
    """Return the pod's claim and the volume that this is bound to; "" for what there is not."""
    claims = [volume.get("persistentVolumeClaim") for volume in pod["spec"].get("volumes") or ()]
    name = next((str(claim["claimName"]) for claim in claims if claim), "")
    return name, bound_to(context, name)


def bound_to(context: Context, claim: str) -> str:
    """Return the volume that a claim is bound to, "" where there is no such claim or volume."""
    found = context.cluster.get("PersistentVolumeClaim", claim, NAMESPACE) if claim else None
    return str(found["spec"].get("volumeName", "")) if found else ""


def lost(context: Context, pod: Object, path: str, wanted: str) -> str:
    """Return what was read instead of what had been written, "" when it is the same."""
    try:
        seen = storage.read(context.cluster, pod, path)
    except ClusterError as error:
        return f"{error}\n{error.tail}"
    return "" if seen == wanted else f"expected {wanted}, read {seen!r}"


def other_volume(subject: str, what: str, now: tuple[str, str], bound: tuple[str, str]) -> Finding:
    """Return the finding that a pod has another claim or volume than it had."""
    return bad(
        "STATEFULSET_OTHER_VOLUME",
        subject,
        f"{what} with {now[0]} on {now[1]}, and had {bound[0]} on {bound[1]}",
        f"kubectl -n {NAMESPACE} describe pvc {now[0]}",
    )


def lost_data(context: Context, pod: Object, what: str, volume: str, seen: str) -> Finding:
    """Return the finding that a volume does not hold what its pod had written."""
    return bad(
        "STATEFULSET_LOST_DATA",
        f"pod {pods.name_of(pod)}",
        f"{what} {volume}, but not with what it had written there",
        f"kubectl describe pv {volume}, and look into its directory on the NFS server",
        seen,
        *pods.explain(context.cluster, pod),
    )

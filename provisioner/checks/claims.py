"""What a claim is bound to or why it is not, and whether a pod's volume still holds what was written there."""

from __future__ import annotations

from provisioner.checks import pods, volume_files
from provisioner.checks.check import NAMESPACE, Context, Finding, failed, passed
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object
from provisioner.kube.objects import namespaced_name

NFS_DRIVER = "nfs.csi.k8s.io"
# As csi-driver-nfs is released (deploy/csi-nfs-controller.yaml).
CONTROLLER, CONTROLLER_NAMESPACE = "csi-nfs-controller", "kube-system"


def judge(context: Context, name: str) -> Finding:
    """Return whether a claim is bound to a volume on NFS."""
    cluster, subject = context.cluster, f"claim {NAMESPACE}/{name}"
    claim = cluster.get("PersistentVolumeClaim", name, NAMESPACE)
    if claim is None:
        return failed("STORAGE_NO_CLAIM", subject, "does not exist", "provisioner apply")
    if claim.get("status", {}).get("phase") != "Bound":
        return _unbound(context, subject, claim)
    volume = claim["spec"]["volumeName"]
    place = nfs_source(cluster.get("PersistentVolume", volume) or {})
    if not place:
        return failed(
            "STORAGE_NOT_NFS",
            subject,
            f"is bound to {volume}, which is not on NFS",
            f"look at its class: kubectl -n {NAMESPACE} get pvc {name} -o yaml",
            *cluster.events(NAMESPACE, name)[-pods.EVENTS :],
        )
    return passed("STORAGE_BOUND", subject, f"is bound to {volume} ({place})")


def _unbound(context: Context, subject: str, claim: Object) -> Finding:
    """Return why a claim has no volume: it lost it, nobody could make it one, or none that is free fits."""
    cluster, class_ = context.cluster, claim["spec"].get("storageClassName", "")
    phase = claim.get("status", {}).get("phase", "new")
    if phase == "Lost":
        because = _lost_volume(context, claim)
    elif storage_class(cluster, class_) is None:
        own = context.site.nfs.class_
        remedy = "provisioner apply" if class_ == own else f"kubectl get storageclass; that of hosts.toml is {own}"
        because = (f"its StorageClass {class_ or '(none)'} does not exist", remedy)
    elif context.site.nfs.provisioner == "csi":
        because = _not_made(cluster)
    else:
        because = _none_fits(cluster, class_)
    why, remedy, *more = because
    evidence = cluster.events(NAMESPACE, claim["metadata"]["name"])[-pods.EVENTS :]
    return failed("STORAGE_NOT_BOUND", subject, f"is {phase}: {why}", remedy, *evidence, *more)


def _lost_volume(context: Context, claim: Object) -> tuple[str, ...]:
    nfs, server = context.site.nfs, context.site.nfs_server.name
    why = f"its volume {claim['spec'].get('volumeName')} is gone"
    if nfs.provisioner == "static":
        return why, "provisioner apply makes the volumes of hosts.toml again, and a claim then finds its own"
    again = f"kubectl -n {NAMESPACE} delete pvc {claim['metadata']['name']}, and provisioner apply"
    return why, f"its data is still under {nfs.export} on {server}: save it; then {again}"


def _not_made(cluster: Cluster) -> tuple[str, ...]:
    drivers = cluster.list("Pod", CONTROLLER_NAMESPACE, labels=f"app={CONTROLLER}")
    sick = [pod for pod in drivers if not pods.ready(pod)]
    states = [f"{pod['metadata']['name']}: {pods.why_not_ready(pod)}" for pod in sick]
    if not drivers:
        states = [f"no pod of {CONTROLLER} is there"]
    return (
        "csi-driver-nfs has made no volume for it" + (f" ({'; '.join(states)})" if states else ""),
        f"kubectl -n {CONTROLLER_NAMESPACE} logs deployment/{CONTROLLER} --all-containers",
        *(line for pod in (sick or drivers)[:1] for line in pods.explain(cluster, pod)),
    )


def _none_fits(cluster: Cluster, class_: str) -> tuple[str, ...]:
    every = volumes_of(cluster, class_)
    remedy = (
        "kubectl get pv: a free one of its class and size is needed ([nfs] volumes and size in hosts.toml); "
        "docs/workloads.md tells how a Released one becomes free"
    )
    if not every:
        return f"there is no volume of class {class_}", "provisioner apply"
    if not free(every):
        return f"none of the {len(every)} volumes of class {class_} is free", remedy
    return f"no free volume of class {class_} fits it ({', '.join(map(_shown, free(every)))})", remedy


def _shown(volume: Object) -> str:
    return f"{volume['metadata']['name']} has {volume['spec']['capacity']['storage']}"


def storage_class(cluster: Cluster, name: str) -> Object | None:
    """Return the StorageClass of that name."""
    return cluster.get("StorageClass", name, None, "storage.k8s.io/v1") if name else None


def volumes_of(cluster: Cluster, class_: str) -> list[Object]:
    """Return the volumes of a class."""
    return [one for one in cluster.list("PersistentVolume") if one["spec"].get("storageClassName", "") == class_]


def free(volumes: list[Object]) -> list[Object]:
    """Return the volumes that a claim of many pods could be bound to."""
    return [
        one
        for one in volumes
        if one.get("status", {}).get("phase") == "Available"
        and not one["spec"].get("claimRef")
        and not pods.terminating(one)
        and "ReadWriteMany" in one["spec"].get("accessModes", ())
    ]


def nfs_source(volume: Object) -> str:
    """Return "server:path" of a volume on NFS, static or by the CSI driver; "" for any other.

    csi-driver-nfs keeps the case in which the StorageClass has its parameters (pkg/nfs/controllerserver.go).
    """
    spec = volume.get("spec", {})
    if source := spec.get("nfs"):
        return f"{source['server']}:{source['path']}"
    if (csi := spec.get("csi")) and csi.get("driver") == NFS_DRIVER:
        given = {key.lower(): value for key, value in (csi.get("volumeAttributes") or {}).items()}
        folder = given.get("subdir") or volume["metadata"]["name"]
        return f"{given.get('server', '')}:{given.get('share', '').rstrip('/')}/{folder}"
    return ""


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
        seen = volume_files.read(context.cluster, pod, path)
    except ClusterError as error:
        return f"{error}\n{error.tail}"
    return "" if seen == wanted else f"expected {wanted}, read {seen!r}"


def other_volume(context: Context, pod: Object, what: str, now: tuple[str, str], bound: tuple[str, str]) -> Finding:
    """Return the finding that a pod has another claim or volume than it had."""
    return failed(
        "STATEFULSET_OTHER_VOLUME",
        f"pod {namespaced_name(pod)}",
        f"{what} with {now[0]} on {now[1]}, and had {bound[0]} on {bound[1]}",
        f"kubectl -n {NAMESPACE} describe pvc {now[0]}",
        *(context.cluster.events(NAMESPACE, now[0])[-pods.EVENTS :] if now[0] else ()),
        *pods.explain(context.cluster, pod),
    )


def lost_data(context: Context, pod: Object, what: str, volume: str, seen: str) -> Finding:
    """Return the finding that a volume does not hold what its pod had written."""
    return failed(
        "STATEFULSET_LOST_DATA",
        f"pod {namespaced_name(pod)}",
        f"{what} {volume}, but not with what it had written there",
        f"kubectl describe pv {volume}, and look into its directory on the NFS server",
        seen,
        *pods.explain(context.cluster, pod),
    )

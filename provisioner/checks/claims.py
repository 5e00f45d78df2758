"""PersistentVolumeClaims, for the storage, retained and statefulset checks: what binds them, or why nothing does."""

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
    """Return whether a claim is bound to a volume on NFS, and if not, why."""
    cluster, subject = context.cluster, f"claim {NAMESPACE}/{name}"
    claim = cluster.get("PersistentVolumeClaim", name, NAMESPACE)
    if claim is None:
        return failed("STORAGE_NO_CLAIM", subject, "does not exist", "provisioner apply")
    if claim.get("status", {}).get("phase") != "Bound":
        return _unbound(context, subject, claim)
    volume = claim["spec"]["volumeName"]
    source = nfs_source(cluster.get("PersistentVolume", volume) or {})
    if not source:
        return failed(
            "STORAGE_NOT_NFS",
            subject,
            f"is bound to {volume}, which is not on NFS",
            f"kubectl -n {NAMESPACE} get pvc {name} -o yaml shows its StorageClass",
            *cluster.events(NAMESPACE, name)[-pods.EVENTS :],
        )
    return passed("STORAGE_BOUND", subject, f"is bound to {volume} ({source})")


def _unbound(context: Context, subject: str, claim: Object) -> Finding:
    """Return why a claim has no volume: it was lost, none could be provisioned, or no available one fits."""
    cluster, class_ = context.cluster, claim["spec"].get("storageClassName", "")
    phase = claim.get("status", {}).get("phase", "new")
    if phase == "Lost":
        cause = _lost_volume(context, claim)
    elif storage_class(cluster, class_) is None:
        own = context.site.nfs.class_
        remedy = "provisioner apply" if class_ == own else f"kubectl get storageclass; hosts.toml has {own}"
        cause = (f"its StorageClass {class_ or '(none)'} does not exist", remedy)
    elif context.site.nfs.provisioner == "csi":
        cause = _not_provisioned(cluster)
    else:
        cause = _none_fits(cluster, class_)
    why, remedy, *more = cause
    evidence = cluster.events(NAMESPACE, claim["metadata"]["name"])[-pods.EVENTS :]
    return failed("STORAGE_NOT_BOUND", subject, f"is {phase}: {why}", remedy, *evidence, *more)


def _lost_volume(context: Context, claim: Object) -> tuple[str, ...]:
    nfs, server = context.site.nfs, context.site.nfs_server.name
    why = f"its volume {claim['spec'].get('volumeName')} was deleted"
    if nfs.provisioner == "static":
        return why, "provisioner apply recreates the volumes of hosts.toml, and the claim is bound to its own again"
    recreate = f"kubectl -n {NAMESPACE} delete pvc {claim['metadata']['name']}; provisioner apply"
    return why, f"its data is still under {nfs.export} on {server}; save it, then: {recreate}"


def _not_provisioned(cluster: Cluster) -> tuple[str, ...]:
    drivers = cluster.list("Pod", CONTROLLER_NAMESPACE, labels=f"app={CONTROLLER}")
    not_ready = [pod for pod in drivers if not pods.ready(pod)]
    states = [f"{pod['metadata']['name']}: {pods.why_not_ready(pod)}" for pod in not_ready]
    if not drivers:
        states = [f"{CONTROLLER} has no pod"]
    return (
        "csi-driver-nfs has provisioned no volume for it" + (f" ({'; '.join(states)})" if states else ""),
        f"kubectl -n {CONTROLLER_NAMESPACE} logs deployment/{CONTROLLER} --all-containers",
        *(line for pod in (not_ready or drivers)[:1] for line in pods.explain(cluster, pod)),
    )


def _none_fits(cluster: Cluster, class_: str) -> tuple[str, ...]:
    every = volumes(cluster, class_)
    remedy = (
        "kubectl get pv; it needs an Available one of its class and size ([nfs] volumes and size in hosts.toml); "
        "docs/workloads.md says how a Released one becomes Available"
    )
    if not every:
        return f"no volume has class {class_}", "provisioner apply"
    if not available(every):
        return f"none of the {len(every)} volumes of class {class_} is available", remedy
    return f"no available volume of class {class_} fits it ({', '.join(map(_size, available(every)))})", remedy


def _size(volume: Object) -> str:
    return f"{volume['metadata']['name']} has {volume['spec']['capacity']['storage']}"


def storage_class(cluster: Cluster, name: str) -> Object | None:
    """Return the StorageClass with that name, None without one."""
    return cluster.get("StorageClass", name, None, "storage.k8s.io/v1") if name else None


def volumes(cluster: Cluster, class_: str) -> list[Object]:
    """Return the volumes of a StorageClass."""
    return [one for one in cluster.list("PersistentVolume") if one["spec"].get("storageClassName", "") == class_]


def available(volumes: list[Object]) -> list[Object]:
    """Return the volumes to which a ReadWriteMany claim could be bound."""
    return [
        one
        for one in volumes
        if one.get("status", {}).get("phase") == "Available"
        and not one["spec"].get("claimRef")
        and not pods.terminating(one)
        and "ReadWriteMany" in one["spec"].get("accessModes", ())
    ]


def nfs_source(volume: Object) -> str:
    """Return "server:path" of a volume on NFS, static or from the CSI driver, "" of any other.

    csi-driver-nfs keeps the case of the StorageClass's parameters (pkg/nfs/controllerserver.go).
    """
    spec = volume.get("spec", {})
    if source := spec.get("nfs"):
        return f"{source['server']}:{source['path']}"
    if (csi := spec.get("csi")) and csi.get("driver") == NFS_DRIVER:
        attributes = {key.lower(): value for key, value in (csi.get("volumeAttributes") or {}).items()}
        folder = attributes.get("subdir") or volume["metadata"]["name"]
        return f"{attributes.get('server', '')}:{attributes.get('share', '').rstrip('/')}/{folder}"
    return ""


def claim_and_volume(context: Context, pod: Object) -> tuple[str, str]:
    """Return the names of the pod's claim and of the volume it is bound to, "" without one."""
    claims = [volume.get("persistentVolumeClaim") for volume in pod["spec"].get("volumes") or ()]
    name = next((str(claim["claimName"]) for claim in claims if claim), "")
    return name, bound_volume(context, name)


def bound_volume(context: Context, claim: str) -> str:
    """Return the name of the volume to which a claim is bound, "" without such a claim or volume."""
    found = context.cluster.get("PersistentVolumeClaim", claim, NAMESPACE) if claim else None
    return str(found["spec"].get("volumeName", "")) if found else ""


def data_mismatch(context: Context, pod: Object, path: str, wanted: str) -> str:
    """Return what was read instead of what had been written, "" when they are equal."""
    try:
        seen = volume_files.read(context.cluster, pod, path)
    except ClusterError as error:
        return f"{error}\n{error.tail}"
    return "" if seen == wanted else f"expected {wanted}, read {seen!r}"


def other_volume(context: Context, pod: Object, what: str, bound: tuple[str, str], before: tuple[str, str]) -> Finding:
    """Return the finding that a pod has another claim or volume than before."""
    return failed(
        "STATEFULSET_OTHER_VOLUME",
        f"pod {namespaced_name(pod)}",
        f"{what} with {bound[0]} on {bound[1]} instead of {before[0]} on {before[1]}",
        f"kubectl -n {NAMESPACE} describe pvc {bound[0]}",
        *(context.cluster.events(NAMESPACE, bound[0])[-pods.EVENTS :] if bound[0] else ()),
        *pods.explain(context.cluster, pod),
    )


def lost_data(context: Context, pod: Object, what: str, volume: str, seen: str) -> Finding:
    """Return the finding that a volume does not hold what the pod had written."""
    return failed(
        "STATEFULSET_LOST_DATA",
        f"pod {namespaced_name(pod)}",
        f"{what} {volume}, but without what it had written there",
        f"kubectl describe pv {volume}; look into its directory on the NFS server",
        seen,
        *pods.explain(context.cluster, pod),
    )

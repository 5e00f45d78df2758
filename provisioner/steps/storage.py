"""Offer the NFS export to the cluster: a storage class with static volumes or csi-driver-nfs.

Objects no longer configured are deleted only if unused: volumes that were never claimed, and a class that no volume
and no claim names. Bound and Released volumes hold data and stay, as do the directories on the server. csi-driver-nfs
stays too, since it unmounts the volumes that it provisioned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from provisioner.catalogue import release
from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import objects
from provisioner.engine.rollout import wait_for_rollout
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object, templates
from provisioner.kube.manifests import fetch_manifest
from provisioner.kube.objects import difference, is_managed, object_name, order, scale_probes
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps.nfs_server import volume_name, volume_paths

_CLASS_API = "storage.k8s.io/v1"
_IMMUTABLE = ("provisioner", "parameters")  # fields of a class (pkg/apis/storage/validation)
_PART_OF = ("app.kubernetes.io/part-of", "provisioner-storage")  # a label of everything under nfs/
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"  # wins over spec.storageClassName


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the driver, class and volumes that are missing or differ, then the deletion of unused ones."""
    del host
    driver = csi_driver(site)
    yield from objects(cluster, driver)
    yield from wait_for_rollout(cluster, driver)
    storage_class, *volumes = wanted(site)
    live = cluster.get("StorageClass", site.nfs.class_, None, _CLASS_API)
    if live is not None and any(live.get(field) != storage_class.get(field) for field in _IMMUTABLE):
        # Deleting a class does not affect its volumes and claims.
        yield from _replace(cluster, live, storage_class, "its provisioner or parameters differ")
    else:
        yield from objects(cluster, [storage_class])
    moves = _moved_volumes(cluster, site, volumes)
    for old, new in moves:
        yield from _replace(cluster, old, new, f"it is now at {_location(new)}, and was never claimed")
    moved = [new for _, new in moves]
    yield from objects(cluster, [volume for volume in volumes if volume not in moved])
    yield from _deletions(cluster, [storage_class, *volumes])


def wanted(site: Site) -> list[Object]:
    """Return the class and, without csi-driver-nfs, a PersistentVolume for each directory under the export."""
    if site.nfs.provisioner == "csi":
        return templates.read(site, "nfs/storageclass-csi.yaml")
    manifests = templates.read(site, "nfs/storageclass.yaml")
    for number, path in enumerate(volume_paths(site), start=1):
        manifests += templates.read(site, "nfs/volume.yaml", volume=volume_name(number), nfs_path=path)
    return manifests


def csi_driver(site: Site) -> list[Object]:
    """Return the objects of csi-driver-nfs as released; none for a site with static volumes."""
    if site.nfs.provisioner != "csi":
        return []
    return order(
        scale_probes(item, site.cluster.timeout_scale)
        for download in release("csi_driver_nfs", str(site.version)).manifests
        for item in fetch_manifest(site, download)
    )


def _moved_volumes(cluster: Cluster, site: Site, volumes: Iterable[Object]) -> list[tuple[Object, Object]]:
    """Return the volumes whose server or path differs, live and wanted.

    Raises ClusterError if one of them is claimed: its data would stay behind.
    """
    live = {volume["metadata"]["name"]: volume for volume in cluster.list("PersistentVolume")}
    pairs = [(live[new["metadata"]["name"]], new) for new in volumes if new["metadata"]["name"] in live]
    pairs = [(old, new) for old, new in pairs if old["spec"].get("nfs") not in (None, new["spec"]["nfs"])]
    claimed = [(old, new) for old, new in pairs if old["spec"].get("claimRef")]
    if claimed:
        old, new = claimed[0]
        claim = "{namespace}/{name}".format(**old["spec"]["claimRef"])
        more = f" (and {len(claimed) - 1} more)" if len(claimed) > 1 else ""
        raise ClusterError(
            f"{object_name(old)}{more} holds the data of claim {claim} at {_location(old)}, but [nfs] in "
            f"{site.path.name} puts it at {_location(new)}",
            "restore server and export; or save the data, delete claim and volume, and apply again",
        )
    return pairs


def _deletions(cluster: Cluster, manifests: Sequence[Object]) -> Iterator[Change]:
    """Yield the deletion of our unused volumes and classes that are not among the manifests."""
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    volumes = cluster.list("PersistentVolume")
    others = [volume for volume in volumes if ("PersistentVolume", volume["metadata"]["name"]) not in names]
    free = [volume for volume in others if _is_ours(volume) and _never_claimed(volume)]
    for volume in free:
        reason = f"not in hosts.toml, and never claimed; {_location(volume)} stays on the server"
        yield _deletion(cluster, volume, "v1", reason)
    # Wanted volumes count with the class that the manifests give them, which a plan has not applied yet.
    kept = [volume for volume in others if volume not in free]
    used = {_class_of(item) for item in (*kept, *manifests) if item["kind"] == "PersistentVolume"}
    old = [
        live
        for live in cluster.list("StorageClass", None, _CLASS_API)
        if _is_ours(live) and ("StorageClass", live["metadata"]["name"]) not in names
    ]
    used |= _classes_of_claims(cluster) if old else set()
    for live in old:
        if live["metadata"]["name"] not in used:
            yield _deletion(cluster, live, _CLASS_API, "not in hosts.toml, and no volume or claim uses it")


def _deletion(cluster: Cluster, live: Object, api: str, reason: str) -> Change:
    """Return the deletion of this version of an object: a volume that was claimed since has another one, and stays."""
    kind, name, version = live["kind"], live["metadata"]["name"], live["metadata"].get("resourceVersion", "")

    def do() -> None:
        cluster.delete(kind, name, None, api, version=version)
        cluster.wait(f"{object_name(live)} to be gone", lambda: cluster.get(kind, name, None, api) is None, 60)

    return Change(f"delete {object_name(live)}: {reason}", do, difference(object_name(live), live, None))


def _is_ours(live: Object) -> bool:
    """Return whether this step applied an object; those of workloads are ours too, but lack the label."""
    key, value = _PART_OF
    return is_managed(live) and (live["metadata"].get("labels") or {}).get(key) == value


def _never_claimed(volume: Object) -> bool:
    """Return whether a volume is Available and not reserved for a claim by claimRef."""
    phase = (volume.get("status") or {}).get("phase")
    return phase == "Available" and not volume["spec"].get("claimRef") and "nfs" in volume["spec"]


def _classes_of_claims(cluster: Cluster) -> set[str]:
    """Return the classes that claims name, including the claim templates of StatefulSets."""
    claim_templates = (
        template
        for live in cluster.list("StatefulSet", None, "apps/v1")
        for template in live["spec"].get("volumeClaimTemplates") or ()
    )
    return {_class_of(claim) for claim in (*cluster.list("PersistentVolumeClaim"), *claim_templates)}


def _class_of(item: Object) -> str:
    """Return the class of a claim or volume, "" if it has none."""
    annotations = item["metadata"].get("annotations") or {}
    return str(annotations.get(_CLASS_ANNOTATION) or item["spec"].get("storageClassName") or "")


def _location(volume: Object) -> str:
    return "{server}:{path}".format(**volume["spec"]["nfs"])


def _replace(cluster: Cluster, old: Object, new: Object, reason: str) -> Iterator[Change]:
    """Yield the change that deletes and recreates an object, whose differing fields are immutable."""
    kind, name, api = old["kind"], old["metadata"]["name"], new["apiVersion"]

    def do() -> None:
        cluster.delete(kind, name, None, api)
        cluster.wait(f"{object_name(new)} to be gone", lambda: cluster.get(kind, name, None, api) is None, 60)
        cluster.apply(new)

    yield Change(f"replace {object_name(new)}: {reason}", do, difference(object_name(new), old, new))


STEP = Step(
    name="storage",
    summary="storage class and NFS volumes",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "nodes", "nfs"),
    enabled=lambda site: site.nfs.enabled,
)

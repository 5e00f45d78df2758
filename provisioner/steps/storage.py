"""Offer the NFS export to the cluster: a storage class, and behind it static volumes or csi-driver-nfs.

Of what an earlier hosts.toml wanted, that goes on which nothing hangs: volumes that nobody has claimed, and a class
that no volume and no claim names. Volumes that are Bound or Released hold data and stay, as do the directories on the
server, and csi-driver-nfs, which mounts and unmounts what it has made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from provisioner.catalogue import release
from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import objects
from provisioner.engine.rollout import wait_for_rollout
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object
from provisioner.kube import templates as site_manifests
from provisioner.kube.manifests import fetch_manifest
from provisioner.kube.objects import difference, is_managed, object_name, order, scale_probes
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps.nfs_server import volume_name, volume_paths

_CLASS_API = "storage.k8s.io/v1"
_FIXED = ("provisioner", "parameters")  # what cannot change in a class (pkg/apis/storage/validation)
_PART = ("app.kubernetes.io/part-of", "provisioner-storage")  # on everything under nfs/
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"  # how claims and volumes may name theirs as well


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the driver, the storage class and the volumes that are missing or differ, then those that are too many."""
    del host
    driver = csi_driver(site)
    yield from objects(cluster, driver)
    yield from wait_for_rollout(cluster, driver)
    storage_class, *volumes = wanted(site)
    live = cluster.get("StorageClass", site.nfs.class_, None, _CLASS_API)
    if live is not None and any(live.get(field) != storage_class.get(field) for field in _FIXED):
        # Volumes and claims do not hang on the class.
        yield from _replaced(cluster, live, storage_class, "what makes its volumes differs")
    else:
        yield from objects(cluster, [storage_class])
    elsewhere = _elsewhere(cluster, site, volumes)
    for old, new in elsewhere:
        yield from _replaced(cluster, old, new, f"it lies at {_place(new)} now, and nobody has claimed it")
    moved = [new for _, new in elsewhere]
    yield from objects(cluster, [volume for volume in volumes if volume not in moved])
    yield from _removals(cluster, [storage_class, *volumes])


def wanted(site: Site) -> list[Object]:
    """Return the class, then, without csi-driver-nfs, one PersistentVolume for each directory under the export."""
    if site.nfs.provisioner == "csi":
        return site_manifests.read(site, "nfs/storageclass-csi.yaml")
    found = site_manifests.read(site, "nfs/storageclass.yaml")
    for number, path in enumerate(volume_paths(site), start=1):
        found += site_manifests.read(site, "nfs/volume.yaml", volume=volume_name(number), nfs_path=path)
    return found


def csi_driver(site: Site) -> list[Object]:
    """Return csi-driver-nfs as released, nothing for a site with static volumes."""
    if site.nfs.provisioner != "csi":
        return []
    return order(
        scale_probes(item, site.cluster.timeout_scale)
        for download in release("csi_driver_nfs", str(site.version)).manifests
        for item in fetch_manifest(site, download)
    )


def _elsewhere(cluster: Cluster, site: Site, volumes: Iterable[Object]) -> list[tuple[Object, Object]]:
    """Return, as they are and as they should be, the volumes that lie on another server or path.

    Raise ClusterError where one of them is claimed: its data would stay behind.
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
            f"{object_name(old)}{more} holds the data of claim {claim} at {_place(old)}, and by [nfs] of "
            f"{site.path.name} it lies at {_place(new)}",
            "put server and export back as they were; or save the data, delete claim and volume, and apply again",
        )
    return pairs


def _removals(cluster: Cluster, manifests: Sequence[Object]) -> Iterator[Change]:
    """Yield the removal of our volumes and classes that are not among the manifests and on which nothing hangs."""
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    volumes = cluster.list("PersistentVolume")
    others = [volume for volume in volumes if ("PersistentVolume", volume["metadata"]["name"]) not in names]
    free = [volume for volume in others if _made_here(volume) and _never_claimed(volume)]
    for volume in free:
        why = f"hosts.toml does not want it, and nobody has claimed it; {_place(volume)} stays on the server"
        yield _removal(cluster, volume, "v1", why)
    # Volumes that are wanted count with the class that they are given: a plan comes before the apply that gives it.
    kept = [volume for volume in others if volume not in free]
    used = {_class_of(item) for item in (*kept, *manifests) if item["kind"] == "PersistentVolume"}
    old = [
        live
        for live in cluster.list("StorageClass", None, _CLASS_API)
        if _made_here(live) and ("StorageClass", live["metadata"]["name"]) not in names
    ]
    used |= _classes_of_claims(cluster) if old else set()
    for live in old:
        if live["metadata"]["name"] not in used:
            why = "hosts.toml does not name it, and no volume and no claim is of it"
            yield _removal(cluster, live, _CLASS_API, why)


def _removal(cluster: Cluster, live: Object, api: str, why: str) -> Change:
    """Return the change that deletes an object as it was seen: claimed meanwhile, it is another, and stays."""
    kind, name, version = live["kind"], live["metadata"]["name"], live["metadata"].get("resourceVersion", "")

    def do() -> None:
        cluster.delete(kind, name, None, api, version=version)
        cluster.wait(f"{object_name(live)} to be gone", lambda: cluster.get(kind, name, None, api) is None, 60)

    return Change(f"remove {object_name(live)}: {why}", do, difference(object_name(live), live, None))


def _made_here(live: Object) -> bool:
    """Tell whether this step made an object: what a workload names is applied by us too, without the label."""
    key, value = _PART
    return is_managed(live) and (live["metadata"].get("labels") or {}).get(key) == value


def _never_claimed(volume: Object) -> bool:
    """Tell whether a volume is free, and not kept for a claim to come either (its phase is Available as well)."""
    phase = (volume.get("status") or {}).get("phase")
    return phase == "Available" and not volume["spec"].get("claimRef") and "nfs" in volume["spec"]


def _classes_of_claims(cluster: Cluster) -> set[str]:
    """Return the classes that claims name, those included that a StatefulSet is yet to make."""
    templates = (
        template
        for live in cluster.list("StatefulSet", None, "apps/v1")
        for template in live["spec"].get("volumeClaimTemplates") or ()
    )
    return {_class_of(claim) for claim in (*cluster.list("PersistentVolumeClaim"), *templates)}


def _class_of(item: Object) -> str:
    """Return the class of a claim or a volume, "" for none."""
    annotations = item["metadata"].get("annotations") or {}
    return str(annotations.get(_OLD_CLASS) or item["spec"].get("storageClassName") or "")


def _place(volume: Object) -> str:
    return "{server}:{path}".format(**volume["spec"]["nfs"])


def _replaced(cluster: Cluster, old: Object, new: Object, why: str) -> Iterator[Change]:
    """Yield the change that puts an object in the place of one that the API does not let become it."""
    kind, name, api = old["kind"], old["metadata"]["name"], new["apiVersion"]

    def do() -> None:
        cluster.delete(kind, name, None, api)
        cluster.wait(f"{object_name(new)} to be gone", lambda: cluster.get(kind, name, None, api) is None, 60)
        cluster.apply(new)

    yield Change(f"replace {object_name(new)}: {why}", do, difference(object_name(new), old, new))


STEP = Step(
    name="storage",
    summary="the storage class and its NFS volumes",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "nodes", "nfs"),
    enabled=lambda site: site.nfs.enabled,
)

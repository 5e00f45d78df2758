"""Offer the NFS export to the cluster: a storage class, and behind it static volumes or csi-driver-nfs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from provisioner import site_manifests
from provisioner.catalogue import release
from provisioner.changes import name_of, objects
from provisioner.manifests import released
from provisioner.objects import Object, difference, order, patient
from provisioner.step import Change, Scope, Step
from provisioner.steps.nfs_server import volume_name, volume_paths
from provisioner.steps.rollout import rolled_out

if TYPE_CHECKING:
    from provisioner.host import Host
    from provisioner.kube import Cluster
    from provisioner.site import Site

_CLASS_API = "storage.k8s.io/v1"


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the driver, the storage class and the volumes that are missing or differ."""
    del host
    driver = csi_driver(site)
    yield from objects(cluster, driver)
    yield from rolled_out(cluster, driver)
    manifests = wanted(site)
    live = cluster.get("StorageClass", site.nfs.class_, None, _CLASS_API)
    if live is not None and live.get("provisioner") != manifests[0]["provisioner"]:
        # What makes a class's volumes cannot be changed in place. Volumes and claims do not hang on the class.
        yield Change(
            f"replace {name_of(live)}: its volumes come from {manifests[0]['provisioner']} now",
            _replacing(cluster, manifests[0]),
            difference(name_of(live), live, manifests[0]),
        )
        manifests = manifests[1:]
    yield from objects(cluster, manifests)


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
        patient(item, site.cluster.timeout_scale)
        for download in release("csi_driver_nfs", str(site.version)).manifests
        for item in released(site, download)
    )


def _replacing(cluster: Cluster, manifest: Object) -> Callable[[], None]:
    def do() -> None:
        cluster.delete("StorageClass", manifest["metadata"]["name"], None, _CLASS_API)
        cluster.apply(manifest)

    return do


STEP = Step(
    name="storage",
    summary="the storage class and its NFS volumes",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "nodes", "nfs"),
    enabled=lambda site: site.nfs.enabled,
)

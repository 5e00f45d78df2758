"""Offer the NFS export to the cluster: a storage class and a pool of static volumes behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from provisioner import site_manifests
from provisioner.changes import objects
from provisioner.objects import Object
from provisioner.step import Change, Scope, Step
from provisioner.steps.nfs_server import volume_name, volume_paths

if TYPE_CHECKING:
    from provisioner.host import Host
    from provisioner.kube import Cluster
    from provisioner.site import Site


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the storage class and the volumes that are missing or differ."""
    del host
    yield from objects(cluster, wanted(site))


def wanted(site: Site) -> list[Object]:
    """Return the class and one PersistentVolume for each directory under the export."""
    found = site_manifests.read(site, "nfs/storageclass.yaml")
    for number, path in enumerate(volume_paths(site), start=1):
        found += site_manifests.read(site, "nfs/volume.yaml", volume=volume_name(number), nfs_path=path)
    return found


STEP = Step(
    name="storage",
    summary="the storage class and its NFS volumes",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "nfs"),
    enabled=lambda site: site.nfs.enabled,
)

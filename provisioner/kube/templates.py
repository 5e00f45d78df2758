"""The manifests of the top-level folders, filled in for a site: the operator's own copy first, then ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provisioner.catalogue import agnhost_image, nginx_image
from provisioner.errors import ProvisionerError
from provisioner.kube.manifests import load
from provisioner.kube.objects import Object
from provisioner.site import Site

# A wheel carries the folders within the package; in a checkout they lie beside it, where operators edit them.
_PACKAGE = Path(__file__).resolve().parents[1]
_SHIPPED = _PACKAGE / "manifests" if (_PACKAGE / "manifests").is_dir() else _PACKAGE.parent


def read(site: Site, name: str, **own: Any) -> list[Object]:
    """Return the objects of a manifest such as "workloads/hpa.yaml", with the site's values and `own` filled in.

    The file beside hosts.toml wins over the shipped one. Raises ProvisionerError naming the places looked at, and
    file and line of a name that nobody gives a value.
    """
    return load(find(site, name), {**values(site), **own}, name)


def find(site: Site, name: str) -> Path:
    """Return the path of a manifest."""
    places = [site.directory / name, _SHIPPED / name]
    for place in places:
        if place.is_file():
            return place
    shipped = sorted(path.stem for path in (_SHIPPED / name).parent.glob("*.yaml"))
    raise ProvisionerError(
        f"there is no {name} (looked at {', '.join(str(place) for place in places)})",
        f"shipped are: {', '.join(shipped)}",
    )


def values(site: Site) -> dict[str, Any]:
    """Return what every manifest may name."""
    return {
        "cluster": site.cluster.name,
        "agnhost": agnhost_image(str(site.version)),
        "nginx": nginx_image(str(site.version)),
        "ingress_class": site.ingress_controller,
        "nfs_class": site.nfs.class_,
        "nfs_address": site.nfs_server.address,
        "nfs_export": site.nfs.export,
        "size": site.nfs.size,
    }

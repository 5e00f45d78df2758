"""The shipped manifests, filled in for a site; an operator's copy beside hosts.toml takes precedence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioner.catalogue import agnhost_image, nginx_image
from provisioner.errors import ProvisionerError
from provisioner.kube.manifests import load
from provisioner.kube.objects import Object
from provisioner.text import did_you_mean, join_words

if TYPE_CHECKING:
    from provisioner.site import Site


# A wheel has the directories inside the package; a checkout has them at its top level, where operators edit them.
_PACKAGE = Path(__file__).resolve().parents[1]
_SHIPPED = _PACKAGE / "manifests" if (_PACKAGE / "manifests").is_dir() else _PACKAGE.parent


def read(site: Site, name: str, **own: Any) -> list[Object]:
    """Return the objects of a manifest such as "workloads/hpa.yaml", with the site's values and `own` filled in.

    A file beside hosts.toml takes precedence over the shipped one. Raise ProvisionerError, naming the paths tried or
    the file and line of a name without a value.
    """
    return load(find(site, name), {**values(site), **own}, name)


def find(site: Site, name: str) -> Path:
    """Return the path of a manifest; raise ProvisionerError if there is none."""
    places = [site.directory / name, _SHIPPED / name]
    for place in places:
        if place.is_file():
            return place
    shipped = sorted(path.stem for path in (_SHIPPED / name).parent.glob("*.yaml"))
    raise ProvisionerError(
        f"{name} not found (tried {join_words(places, 'and')})",
        did_you_mean(Path(name).stem, shipped) or f"the shipped ones are {join_words(shipped)}",
    )


def shipped(name: str) -> Path:
    """Return the path of a shipped manifest such as "l2/rbac.yaml"."""
    return _SHIPPED / name


def values(site: Site) -> dict[str, Any]:
    """Return the values that every manifest can use."""
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

"""Install kubeadm, kubelet and kubectl at the site's version, and hold them."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.catalogue import signing_keys
from provisioner.engine import Change, Scope, Step, apt
from provisioner.engine.apt_source import AptSource, add_repository
from provisioner.engine.changes import packages
from provisioner.errors import HostError
from provisioner.kube import Cluster
from provisioner.kube.kubeadm_state import KUBELET_CONF
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host

PACKAGES = ("kubelet", "kubeadm", "kubectl")
# Dependencies of the above; without them a kubelet fails late.
DEPENDENCIES = ("cri-tools", "kubernetes-cni")


def repository(site: Site) -> AptSource:
    """Return upstream's apt repository for the site's minor version; each minor has its own (kubernetes.io)."""
    base = (site.mirror.packages or "https://pkgs.k8s.io").rstrip("/")
    url = f"{base}/core:/stable:/v{site.version.minor_text}/deb/"
    keys = site.mirror.packages_key or signing_keys("kubernetes")
    return AptSource("kubernetes", url, f"{url}Release.key", "/", keys, "packages_key")


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the repository, the packages at their version, and their hold."""
    del cluster
    facts = host.facts
    wanted = str(site.version)
    installed = {name: facts.packages[name].version.split("-")[0] for name in PACKAGES if name in facts.packages}
    other = {name: version for name, version in installed.items() if version != wanted}
    if other and facts.files[KUBELET_CONF].exists:
        raise _another_version(host, site, other)
    yield from add_repository(host, repository(site))
    yield from packages(host, ())  # finish an interrupted dpkg first
    if other or len(installed) < len(PACKAGES):
        names = [f"{name}={wanted}-*" for name in PACKAGES]
        yield Change(
            f"install {', '.join(PACKAGES)} {wanted}",
            lambda: apt.install(host, names, "--allow-change-held-packages --allow-downgrades"),
            "".join(f"+ package {name}\n" for name in names),
        )
    held = all(name in facts.packages and facts.packages[name].held for name in PACKAGES)
    if other or not held:  # apt may drop the hold when it changes a package
        yield Change(f"hold {', '.join(PACKAGES)}", lambda: _hold(host))
    if not facts.units["kubelet.service"].enabled:
        yield Change("enable kubelet.service", lambda: _enable(host))


def _another_version(host: Host, site: Site, other: dict[str, str]) -> HostError:
    """Return the error for a running node with other versions; its remedy keeps the cluster at the version it has."""
    what = ", ".join(f"{name} {version}" for name, version in other.items())
    configured, wanted = site.cluster.kubernetes, str(site.version)
    meant = f"hosts.toml has {wanted}" if configured == wanted else f'"{configured}" in hosts.toml means {wanted}'
    first = host.fleet[site.first.name] if site.first.name in host.reachable_facts() else host
    package = first.facts.packages.get("kubelet")
    cluster = package.version.split("-")[0] if package is not None else wanted
    if "kubelet" not in other:
        names = " ".join(f"{name}={wanted}-\\*" for name in other)
        options = "--allow-change-held-packages --allow-downgrades"
        remedy = f"provisioner ssh {host.name} -- sudo apt-get install {options} {names}"
    elif cluster == wanted:
        remedy = f"provisioner node remove {host.name}, then provisioner apply, which joins it again"
    else:
        remedy = f"apply does not change the version of a running node: {keep_version(cluster)}"
    return HostError(host.name, f"is a node with {what}, but {meant}", remedy)


def keep_version(version: str) -> str:
    """Return the remedy if hosts.toml has another version than the running cluster."""
    return f'write kubernetes = "{version}" under [cluster] in hosts.toml'


def _hold(host: Host) -> None:
    host.run(f"apt-mark hold {' '.join(PACKAGES)}", timeout=60)


def _enable(host: Host) -> None:
    host.run("systemctl enable --quiet kubelet.service", timeout=60)


STEP = Step(
    name="kubernetes",
    summary="kubeadm, kubelet and kubectl, held at one version",
    scope=Scope.ALL,
    changes=changes,
    query=lambda site: FactQuery(
        files=AptSource.query("kubernetes"),
        exists=(KUBELET_CONF,),
        packages=(*PACKAGES, *DEPENDENCIES),
        units=("kubelet.service",),
    ),
)

"""What will be there after the first apply: the block that begins a plan for blank machines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from provisioner.catalogue import release
from provisioner.cli.fold import columns, folded
from provisioner.engine import Forecast
from provisioner.engine.runner import Outcome
from provisioner.site import Site
from provisioner.steps import containerd, nfs_server
from provisioner.text import pluralize, roughly


def creates_cluster(outcome: Outcome) -> bool:
    """Return whether a plan has `kubeadm init` in it: there is no cluster yet."""
    return any(
        step == "control-plane" and change.summary.startswith("kubeadm init") for step, _, change in outcome.changes
    )


def lines(name: str, parts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the block about a cluster of this name, a line for each part."""
    yield f"cluster {name} will be"
    width = columns(sys.stdout.isatty())
    for part, text in parts:
        yield from folded(f"  {part:<14} ", text, width)


def parts(site: Site, forecast: Forecast) -> list[tuple[str, str]]:
    """Return (part, what it will be), with its version; parts that the site has not are left out."""
    return [*_parts(site), ("takes", _takes(forecast))]


def _takes(forecast: Forecast) -> str:
    """Return how long an apply will take, as far as earlier runs tell."""
    if not forecast.unknown:
        return f"about {roughly(forecast.seconds)}, as in earlier runs of these steps here"
    if not forecast.known:
        return "not known before a first run here"
    return f"more than {roughly(forecast.seconds)}; no run here yet of {', '.join(forecast.unknown)}"


def _parts(site: Site) -> Iterator[tuple[str, str]]:
    kubernetes, cluster = str(site.version), site.cluster
    for spec in site.hosts:
        name = f" on {spec.interface}" if spec.interface else ""
        yield spec.name, f"{spec.address}{name}, {' and '.join(spec.roles)}"
    yield "Kubernetes", f"{kubernetes}, API at {site.endpoint}, services {cluster.service_cidr}"
    yield (
        "containerd",
        "2.x from Docker's packages" if containerd.needs_docker_packages(site) else "of the distribution",
    )
    network = f"flannel {release('flannel', kubernetes).version}" if cluster.network == "flannel" else "bridge"
    yield "pod network", f"{network}, pods {cluster.pod_cidr}"
    if site.nfs.enabled:
        volumes = "volumes on demand (csi-driver-nfs)"
        if site.nfs.provisioner == "static":
            volumes = f"{pluralize(site.nfs.volumes, 'volume')} of {site.nfs.size}"
        yield "NFS", f"{site.nfs_server.name}:{site.nfs.export} to {', '.join(nfs_server.clients_of(site))}; {volumes}"
    if site.metallb.enabled:
        version = release("metallb", kubernetes, site.metallb.version).version
        pools = "; ".join(f"pool {pool.name} {', '.join(pool.addresses)}" for pool in site.metallb.pools)
        yield "MetalLB", f"{version}, {pools}"
    if site.metrics.enabled:
        yield "metrics-server", release("metrics_server", kubernetes, site.metrics.version).version
    if site.ingress.enabled:
        yield "ingress", f"{site.ingress_controller} {release(site.ingress_controller, kubernetes).version}"
    if site.workloads.enabled:
        yield "workloads", ", ".join(site.workloads.enabled)

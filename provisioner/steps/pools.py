"""Give MetalLB its address pools and announce them on layer 2.

Its webhook refuses (or is not there to be asked) for a while after the controller is up; that is waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from provisioner import site_manifests
from provisioner.changes import name_of
from provisioner.errors import ClusterError
from provisioner.objects import Object
from provisioner.step import Change, Scope, Step

if TYPE_CHECKING:
    from provisioner.host import Host
    from provisioner.kube import Cluster
    from provisioner.site import Site

_NOT_YET = ("failed calling webhook", "no endpoints available", "connection refused", "x509")


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the pools and advertisements that are missing or differ."""
    del host
    for manifest in wanted(site):
        difference = _patiently(cluster, f"the webhook to judge {name_of(manifest)}", manifest, dry_run=True)
        if difference:
            yield Change(f"apply {name_of(manifest)}", _applying(cluster, manifest), difference)


def wanted(site: Site) -> list[Object]:
    """Return an IPAddressPool and an L2Advertisement for each pool of hosts.toml."""
    found: list[Object] = []
    for pool in site.metallb.pools:
        found += site_manifests.read(
            site,
            "metallb/pool.yaml",
            pool=pool.name,
            addresses=list(pool.addresses),
            auto_assign=pool.auto_assign,
            avoid_buggy_ips=pool.avoid_buggy_ips,
            interfaces=list(pool.interfaces),
        )
    return found


def _applying(cluster: Cluster, manifest: Object) -> Callable[[], None]:
    def do() -> None:
        _patiently(cluster, f"the webhook to accept {name_of(manifest)}", manifest, dry_run=False)

    return do


def _patiently(cluster: Cluster, what: str, manifest: Object, *, dry_run: bool) -> str:
    """Return the diff of a dry run, or apply; a webhook that is not up yet is waited for, a refusal is not."""
    refusals: list[ClusterError] = []

    def attempt() -> tuple[str] | None:
        try:
            if dry_run:
                return (cluster.diff(manifest),)
            cluster.apply(manifest)
        except ClusterError as error:
            if any(words in error.message for words in _NOT_YET):
                raise
            refusals.append(error)
        return ("",)

    (diff,) = cluster.wait(what, attempt, 120, lambda: "\n".join(cluster.events("metallb-system")[-6:]))
    if refusals:
        raise refusals[0]
    return diff


STEP = Step(
    name="pools",
    summary="MetalLB's address pools and their layer-2 announcement",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("metallb",),
    enabled=lambda site: site.metallb.enabled,
)

"""Give MetalLB its address pools, announce them on layer 2, and let no Service stay behind on an old address.

Its webhook refuses (or is not there to be asked) for a while after the controller is up; that is waited for. It also
refuses pools that overlap, so a pool that goes or shrinks comes before one that takes its addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import yaml

from provisioner.catalogue import release
from provisioner.engine import Change, Scope, Step
from provisioner.engine.rollout import complete
from provisioner.errors import ClusterError, HostError
from provisioner.kube import Cluster, Object, templates
from provisioner.kube.load_balancers import addresses, balanced
from provisioner.kube.objects import difference, namespaced_name, object_name, ours
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps.pool_conflicts import pool_conflicts
from provisioner.steps.pool_supply import (
    API,
    NAMESPACE,
    Supply,
    added,
    held,
    joined,
    others,
    ranges_of,
    refuse_loss,
    supplies,
)
from provisioner.version import Version

KINDS = ("L2Advertisement", "IPAddressPool")
CONTROLLER = "app=metallb,component=controller"
_NOT_YET = ("failed calling webhook", "no endpoints available", "connection refused", "x509")
_OVERLAP = "overlap"  # internal/config/config.go: "CIDR … overlaps with already defined CIDR"


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield pools and advertisements that are too many, missing or differ; then the move of stranded Services.

    Addresses that are new to the cluster are looked for on the segment first: HostError where somebody has one.
    """
    services = [service for service in cluster.list("Service") if balanced(service)]
    supply = [*supplies(site), *others(cluster, site)]
    stranded = [service for service in services if any(not held(supply, ip) for ip in addresses(service))]
    refuse_loss(services, supply)
    conflicts = pool_conflicts(host, added(cluster, site))
    if conflicts:
        raise HostError(host.name, "; ".join(conflicts), "no pool was changed")
    settled = True
    for old in unwanted(cluster, site):
        settled = False
        yield Change(
            f"remove {object_name(old)}, which hosts.toml does not name",
            _removing(cluster, old),
            difference(object_name(old), old, None),
        )
    for manifest in _smaller_first(cluster, wanted(site)):
        diff = _difference(cluster, manifest, guess=not settled)
        if diff:
            settled = False
            yield Change(f"apply {object_name(manifest)}", _applying(cluster, manifest), diff)
    if stranded:
        names = ", ".join(f"{namespaced_name(service)} ({', '.join(addresses(service))})" for service in stranded)
        yield Change(
            f"move to the pools: {names}; MetalLB's controller restarts for it",
            lambda: _move(cluster, supply, stranded),
        )


def wanted(site: Site) -> list[Object]:
    """Return an IPAddressPool and an L2Advertisement for each pool of hosts.toml; a ConfigMap below MetalLB 0.13."""
    version = release("metallb", str(site.version), site.metallb.version).version
    if not Version.parse(version).at_least(0, 13):
        return templates.read(site, "metallb/config.yaml", config=old_configuration(site))
    found: list[Object] = []
    for pool in site.metallb.pools:
        found += templates.read(
            site,
            "metallb/pool.yaml",
            pool=pool.name,
            addresses=list(pool.addresses),
            auto_assign=pool.auto_assign,
            avoid_buggy_ips=pool.avoid_buggy_ips,
            interfaces=list(pool.interfaces),
        )
    return found


def old_configuration(site: Site) -> str:
    """Return the text of the ConfigMap `config`, as MetalLB reads it below 0.13 (its internal/config/config.go).

    It has no word for interfaces; site_rules refuses a pool that names some.
    """
    pools = [
        {
            "name": pool.name,
            "protocol": "layer2",
            "addresses": list(pool.addresses),
            "auto-assign": pool.auto_assign,
            "avoid-buggy-ips": pool.avoid_buggy_ips,
        }
        for pool in site.metallb.pools
    ]
    return str(yaml.safe_dump({"address-pools": pools}, sort_keys=False))


def unwanted(cluster: Cluster, site: Site) -> list[Object]:
    """Return the pools and advertisements that an earlier apply made and hosts.toml names no more."""
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in wanted(site)}
    live = [found for kind in KINDS for found in cluster.list(kind, NAMESPACE, API)]
    return [found for found in live if ours(found) and (found["kind"], found["metadata"]["name"]) not in names]


def _smaller_first(cluster: Cluster, manifests: Iterable[Object]) -> list[Object]:
    """Return manifests in order, but pools that give addresses away before those that may take them."""
    live = {found["metadata"]["name"]: found for found in cluster.list("IPAddressPool", NAMESPACE, API)}

    def grows(manifest: Object) -> bool:
        before = live.get(manifest["metadata"]["name"])
        if manifest["kind"] != "IPAddressPool" or before is None:
            return True
        had = joined(ranges_of(before))
        return not all(any(part.first in own and part.last in own for own in had) for part in ranges_of(manifest))

    return sorted(manifests, key=grows)


def _difference(cluster: Cluster, manifest: Object, *, guess: bool) -> str:
    """Return what an apply would change. guess: other changes come first, which the webhook cannot know of."""
    try:
        return _patiently(cluster, f"the webhook to judge {object_name(manifest)}", manifest, dry_run=True)
    except ClusterError as error:
        if not guess or _OVERLAP not in error.message:
            raise
        live = cluster.get(manifest["kind"], manifest["metadata"]["name"], NAMESPACE, manifest["apiVersion"])
        return difference(object_name(manifest), live, manifest)


def _applying(cluster: Cluster, manifest: Object) -> Callable[[], None]:
    def do() -> None:
        _patiently(cluster, f"the webhook to accept {object_name(manifest)}", manifest, dry_run=False)

    return do


def _removing(cluster: Cluster, old: Object) -> Callable[[], None]:
    return lambda: cluster.delete(old["kind"], old["metadata"]["name"], NAMESPACE, old["apiVersion"])


def _move(cluster: Cluster, supply: Sequence[Supply], stranded: Sequence[Object]) -> None:
    """Restart the controller and wait until the Services have addresses of the pools.

    Up to 0.13 it keeps its old pools for as long as a Service holds an address outside of the new ones
    (internal/allocator/allocator.go, SetPools); at its start it gives such a Service another one.
    """
    for pod in cluster.list("Pod", NAMESPACE, labels=CONTROLLER):
        cluster.delete("Pod", pod["metadata"]["name"], NAMESPACE)

    def again() -> bool:
        return complete(cluster.get("Deployment", "controller", NAMESPACE, "apps/v1"))

    cluster.wait("MetalLB's controller to run again", again, 120)
    for service in stranded:
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]

        def moved(namespace: str = namespace, name: str = name) -> bool:
            live = cluster.get("Service", name, namespace)
            return live is None or (bool(addresses(live)) and all(held(supply, ip) for ip in addresses(live)))

        def why(namespace: str = namespace, name: str = name) -> str:
            return "\n".join(cluster.events(namespace, name)[-4:])

        cluster.wait(f"an address of the pools for {object_name(service)}", moved, 60, why)


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

    (diff,) = cluster.wait(what, attempt, 120, lambda: "\n".join(cluster.events(NAMESPACE)[-6:]))
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

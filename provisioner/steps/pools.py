"""Give MetalLB its address pools, announce them on layer 2, and move Services off addresses that left the pools.

For a while after the controller starts, MetalLB's webhook is missing or refuses connections; the step waits for it.
The webhook also refuses overlapping pools, so a pool that is deleted or shrinks comes before one that takes its
addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import yaml

from provisioner.addresses import merge_ranges
from provisioner.catalogue import release
from provisioner.engine import Change, Scope, Step
from provisioner.engine.rollout import complete
from provisioner.errors import ApiUnreachable, ClusterError, HostError
from provisioner.kube import Cluster, Object, templates
from provisioner.kube.address_pools import (
    API,
    NAMESPACE,
    AddressPool,
    any_holds,
    new_ranges,
    pool_ranges,
    refuse_address_loss,
    site_pools,
    unmanaged_pools,
)
from provisioner.kube.load_balancers import assigned_ips, is_metallb_service
from provisioner.kube.objects import difference, is_managed, namespaced_name, object_name
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps.pool_conflicts import pool_conflicts
from provisioner.steps.webhook import WebhookUnready, why_unready
from provisioner.version import Version

KINDS = ("L2Advertisement", "IPAddressPool")
CONTROLLER = "app=metallb,component=controller"
# An API server that has missed a change of Services, as one may for minutes after etcd lost its leader while a control
# plane joined (kubernetes issue 97294): behind a load balancer, another one knows better.
_SERVICE_UNSEEN = re.compile(r'service ".*" not found')
_WEBHOOK_NOT_READY = (
    "failed calling webhook", "no endpoints available", "connection refused", "x509",
    "did not complete within",  # a plan's request, which waits for a few seconds only
)  # fmt: skip
_OVERLAP = "overlap"  # internal/config/config.go: "CIDR … overlaps with already defined CIDR"


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield pools and advertisements to delete, create or change; then the move of stranded Services.

    Raises HostError if a machine on the segment uses an address that is new to the cluster.
    """
    services = [service for service in cluster.list("Service") if is_metallb_service(service)]
    pools = [*site_pools(site), *unmanaged_pools(cluster, site)]
    stranded = [service for service in services if any(not any_holds(pools, ip) for ip in assigned_ips(service))]
    refuse_address_loss(services, pools)
    conflicts = pool_conflicts(host, new_ranges(cluster, site))
    if conflicts:
        raise HostError(host.name, "; ".join(conflicts), "no pool was changed")
    pending = False
    for old in unwanted(cluster, site):
        pending = True
        yield Change(
            f"delete {object_name(old)}: not in hosts.toml",
            _deleting(cluster, old),
            difference(object_name(old), old, None),
        )
    for manifest in _smaller_first(cluster, wanted(site)):
        diff = _difference(cluster, manifest, pending=pending)
        if diff:
            pending = True
            yield Change(f"apply {object_name(manifest)}", _applying(cluster, manifest), diff)
    if stranded:
        names = ", ".join(f"{namespaced_name(service)} ({', '.join(assigned_ips(service))})" for service in stranded)
        yield Change(
            f"restart MetalLB's controller to give new addresses to {names}",
            lambda: _move(cluster, pools, stranded),
        )


def wanted(site: Site) -> list[Object]:
    """Return an IPAddressPool and an L2Advertisement for each pool of hosts.toml; a ConfigMap below MetalLB 0.13."""
    version = release("metallb", str(site.version), site.metallb.version).version
    if not Version.parse(version).at_least(0, 13):
        return templates.read(site, "metallb/config.yaml", config=old_configuration(site))
    manifests: list[Object] = []
    for pool in site.metallb.pools:
        manifests += templates.read(
            site,
            "metallb/pool.yaml",
            pool=pool.name,
            addresses=list(pool.addresses),
            auto_assign=pool.auto_assign,
            avoid_buggy_ips=pool.avoid_buggy_ips,
            interfaces=list(pool.interfaces),
        )
    return manifests


def old_configuration(site: Site) -> str:
    """Return the text of the ConfigMap `config` that MetalLB below 0.13 reads (its internal/config/config.go).

    It has no key for interfaces; the site's rules refuse a pool that sets some.
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
    """Return the pools and advertisements that an earlier apply created and hosts.toml no longer has."""
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in wanted(site)}
    live = [found for kind in KINDS for found in cluster.list(kind, NAMESPACE, API)]
    return [found for found in live if is_managed(found) and (found["kind"], found["metadata"]["name"]) not in names]


def _smaller_first(cluster: Cluster, manifests: Iterable[Object]) -> list[Object]:
    """Return manifests in order, but pools that give addresses up before those that may take them."""
    live = {pool["metadata"]["name"]: pool for pool in cluster.list("IPAddressPool", NAMESPACE, API)}

    def grows(manifest: Object) -> bool:
        before = live.get(manifest["metadata"]["name"])
        if manifest["kind"] != "IPAddressPool" or before is None:
            return True
        had = merge_ranges(pool_ranges(before))
        return not all(any(part.first in own and part.last in own for own in had) for part in pool_ranges(manifest))

    return sorted(manifests, key=grows)


def _difference(cluster: Cluster, manifest: Object, *, pending: bool) -> str:
    """Return what an apply would change. pending: earlier changes that the webhook cannot know of come first."""
    try:
        return _through_webhook(cluster, f"the webhook to check {object_name(manifest)}", manifest, dry_run=True)
    except ClusterError as error:
        if not pending or _OVERLAP not in error.message:
            raise
        live = cluster.get(manifest["kind"], manifest["metadata"]["name"], NAMESPACE, manifest["apiVersion"])
        return difference(object_name(manifest), live, manifest)


def _applying(cluster: Cluster, manifest: Object) -> Callable[[], None]:
    def apply() -> None:
        _through_webhook(cluster, f"the webhook to accept {object_name(manifest)}", manifest, dry_run=False)

    return apply


def _deleting(cluster: Cluster, old: Object) -> Callable[[], None]:
    return lambda: cluster.delete(old["kind"], old["metadata"]["name"], NAMESPACE, old["apiVersion"])


def _move(cluster: Cluster, pools: Sequence[AddressPool], stranded: Sequence[Object]) -> None:
    """Restart the controller and wait until the Services have addresses of the pools.

    Up to 0.13 the controller keeps its old pools as long as a Service has an address outside of the new ones
    (internal/allocator/allocator.go, SetPools); at start it assigns such a Service a new one.
    """
    for pod in cluster.list("Pod", NAMESPACE, labels=CONTROLLER):
        cluster.delete("Pod", pod["metadata"]["name"], NAMESPACE)

    def controller_is_up() -> bool:
        return complete(cluster.get("Deployment", "controller", NAMESPACE, "apps/v1"))

    cluster.wait("MetalLB's controller to restart", controller_is_up, 120)
    for service in stranded:
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]

        def moved(namespace: str = namespace, name: str = name) -> bool:
            live = cluster.get("Service", name, namespace)
            return live is None or (
                bool(assigned_ips(live)) and all(any_holds(pools, ip) for ip in assigned_ips(live))
            )

        def why(namespace: str = namespace, name: str = name) -> str:
            return "\n".join(cluster.events(namespace, name)[-4:])

        cluster.wait(f"an address from the pools for {object_name(service)}", moved, 60, why)


def _through_webhook(cluster: Cluster, what: str, manifest: Object, *, dry_run: bool) -> str:
    """Return the diff of a dry run, or apply. Waits for a webhook that is not up yet, but not after a refusal."""
    refusals: list[ClusterError] = []

    def attempt() -> tuple[str] | None:
        try:
            if dry_run:
                return (cluster.diff(manifest),)
            cluster.apply(manifest)
        except ClusterError as error:
            if any(words in error.message for words in _WEBHOOK_NOT_READY):
                if _SERVICE_UNSEEN.search(error.message):
                    cluster.disconnect()  # the next attempt may reach another API server
                raise
            refusals.append(error)
        return ("",)

    try:
        (diff,) = cluster.wait(what, attempt, 120, lambda: "\n".join(cluster.events(NAMESPACE)[-6:]))
    except ApiUnreachable:
        raise
    except ClusterError as error:
        because = why_unready(cluster, NAMESPACE)
        raise WebhookUnready(
            f"{error.message}{f': {because}' if because else ''}", error.remedy, tail=error.tail
        ) from error
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

"""MetalLB's address pools: which addresses they hold, and whether these suffice for the cluster's Services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from provisioner import yaml_text
from provisioner.addresses import Range, network_range, parse_range, subtract_ranges
from provisioner.errors import ClusterError
from provisioner.kube.cluster import Cluster
from provisioner.kube.load_balancers import assigned_ips, requested_ips, requested_pool
from provisioner.kube.objects import Object, is_managed, object_name
from provisioner.site import Site

NAMESPACE = "metallb-system"
API = "metallb.io/v1beta1"


@dataclass(frozen=True)
class AddressPool:
    """A pool of hosts.toml, or one in the cluster that somebody made by hand.

    auto_assign: whether MetalLB assigns its addresses to Services that request none. avoid_buggy: whether it never
    assigns IPv4's .0 and .255, not even on request (MetalLB's internal/allocator, poolFor).
    """

    name: str
    ranges: tuple[Range, ...]
    auto_assign: bool = True
    avoid_buggy: bool = False

    def holds(self, ip: str) -> bool:
        """Return whether a Service can have this address from the pool."""
        buggy = self.avoid_buggy and ip.rpartition(".")[2] in ("0", "255")
        return not buggy and any(ip in part for part in self.ranges)

    def size(self, version: int) -> int:
        """Return how many addresses of an IP version the pool can assign."""
        parts = [part for part in self.ranges if part.first.version == version]
        buggy = sum(part.ending_in(octet) for part in parts for octet in (0, 255))
        return sum(part.size for part in parts) - (buggy if self.avoid_buggy and version == 4 else 0)


def site_pools(site: Site) -> list[AddressPool]:
    """Return the pools of hosts.toml."""
    return [AddressPool(pool.name, pool.ranges, pool.auto_assign, pool.avoid_buggy_ips) for pool in site.metallb.pools]


def unmanaged_pools(cluster: Cluster, site: Site) -> list[AddressPool]:
    """Return the cluster's pools that somebody made by hand, which apply leaves alone (decision 0007)."""
    named = {pool.name for pool in site.metallb.pools}
    return [
        AddressPool(
            live["metadata"]["name"],
            pool_ranges(live),
            live["spec"].get("autoAssign", True),
            live["spec"].get("avoidBuggyIPs", False),
        )
        for live in cluster.list("IPAddressPool", NAMESPACE, API)
        if not is_managed(live) and live["metadata"]["name"] not in named
    ]


def pool_ranges(pool: Object) -> tuple[Range, ...]:
    """Return the ranges of an IPAddressPool; like MetalLB, accept a network with host bits set."""
    found = []
    for text in pool["spec"].get("addresses") or ():
        with suppress(ValueError):  # MetalLB assigns nothing from a range that it cannot parse
            found.append(parse_range(text) if "-" in text else network_range(ip_network(text, strict=False)))
    return tuple(found)


def new_ranges(cluster: Cluster, site: Site) -> list[Range]:
    """Return the addresses of hosts.toml's pools that are in no pool of the cluster yet."""
    live = [part for pool in cluster.list("IPAddressPool", NAMESPACE, API) for part in pool_ranges(pool)]
    old = cluster.get("ConfigMap", "config", NAMESPACE)  # MetalLB below 0.13
    if old is not None:
        try:
            text = yaml_text.load_mapping((old.get("data") or {}).get("config") or "")
            live += [part for pool in text.get("address-pools") or () for part in pool_ranges({"spec": pool})]
        except (ValueError, TypeError, AttributeError) as error:
            raise ClusterError(
                f"MetalLB's ConfigMap {NAMESPACE}/config cannot be understood: {error}",
                f"mend it: kubectl -n {NAMESPACE} edit configmap config",
            ) from None
    return subtract_ranges([part for pool in site.metallb.pools for part in pool.ranges], live)


def any_holds(pools: Iterable[AddressPool], ip: str) -> bool:
    """Return whether a Service can have an address from one of the pools."""
    return any(pool.holds(ip) for pool in pools)


def refuse_address_loss(services: Sequence[Object], pools: Sequence[AddressPool]) -> None:
    """Raise ClusterError if a Service that has an address would have none with these pools."""
    by_name = {pool.name: pool for pool in pools}
    for service in services:
        if not assigned_ips(service):
            continue
        lost = [ip for ip in requested_ips(service) if not any_holds(pools, ip)]
        if lost:
            raise ClusterError(
                f"{object_name(service)} requests {', '.join(lost)}, which is in no pool of hosts.toml",
                "add the address to a pool, or change what the Service requests",
            )
        pool = requested_pool(service)
        if pool and pool not in by_name:
            raise ClusterError(
                f"{object_name(service)} requests pool {pool}, which hosts.toml does not define",
                f"the pools are {', '.join(by_name) or 'none'}: change the Service's annotation, or define the pool",
            )
    for version in (4, 6):
        _refuse_shortage(services, by_name, version)


def _refuse_shortage(services: Sequence[Object], pools: Mapping[str, AddressPool], version: int) -> None:
    """Raise ClusterError if the Services use more addresses of an IP version than the pools can assign.

    A Service that requests a pool gets its address from that one alone, auto_assign or not. One that requests nothing
    keeps the address that it has, in any pool; a new one comes from a pool with auto_assign.
    """
    used: dict[str, set[str]] = {name: set() for name in pools}
    stranded: set[str] = set()
    for service in services:
        for ip in assigned_ips(service):
            if ip_address(ip).version != version:
                continue
            holder = requested_pool(service) or next((name for name, pool in pools.items() if pool.holds(ip)), "")
            (used[holder] if holder else stranded).add(ip)
    for name, ips in used.items():
        if len(ips) > (size := pools[name].size(version)):
            raise _shortage(f"Services use {len(ips)} IPv{version} addresses of pool {name}, which has only {size}")
    automatic = [pool for pool in pools.values() if pool.auto_assign]
    needed = len(stranded) + sum(len(used[pool.name]) for pool in automatic)
    if stranded and needed > (size := sum(pool.size(version) for pool in automatic)):
        raise _shortage(
            f"Services need {needed} IPv{version} addresses from auto_assign pools, which have only {size}"
        )


def _shortage(message: str) -> ClusterError:
    return ClusterError(
        f"{message} in hosts.toml", "enlarge a pool, or delete a Service of type LoadBalancer; nothing was changed"
    )

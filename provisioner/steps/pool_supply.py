"""The addresses that there are to give out, by pool, and whether they suffice for the Services that have some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import yaml

from provisioner.addresses import Range, network_range, parse_range
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object
from provisioner.kube.load_balancers import addresses, asked_addresses, asked_pool
from provisioner.kube.objects import object_name, ours
from provisioner.site import Site

NAMESPACE = "metallb-system"
API = "metallb.io/v1beta1"


@dataclass(frozen=True)
class Supply:
    """A pool as addresses to be had: one of hosts.toml, or one that somebody made by hand.

    auto_assign: whether a Service gets an address of it without asking. avoid_buggy: whether IPv4's .0 and .255 are
    left out, be they asked for or not (MetalLB's internal/allocator, poolFor).
    """

    name: str
    ranges: tuple[Range, ...]
    auto_assign: bool = True
    avoid_buggy: bool = False

    def holds(self, ip: str) -> bool:
        """Tell whether a Service may have this address of the pool."""
        buggy = self.avoid_buggy and ip.rpartition(".")[2] in ("0", "255")
        return not buggy and any(ip in part for part in self.ranges)

    def size(self, version: int) -> int:
        """Return how many addresses of a family a Service may have of it."""
        parts = [part for part in self.ranges if part.first.version == version]
        avoided = sum(_ending(part, octet) for part in parts for octet in (0, 255))
        return sum(part.size for part in parts) - (avoided if self.avoid_buggy and version == 4 else 0)


def supplies(site: Site) -> list[Supply]:
    """Return the pools of hosts.toml."""
    return [Supply(pool.name, pool.ranges, pool.auto_assign, pool.avoid_buggy_ips) for pool in site.metallb.pools]


def others(cluster: Cluster, site: Site) -> list[Supply]:
    """Return the pools of the cluster that somebody made by hand, which stay as they are (decision 0007)."""
    named = {pool.name for pool in site.metallb.pools}
    return [
        Supply(
            live["metadata"]["name"],
            ranges_of(live),
            live["spec"].get("autoAssign", True),
            live["spec"].get("avoidBuggyIPs", False),
        )
        for live in cluster.list("IPAddressPool", NAMESPACE, API)
        if not ours(live) and live["metadata"]["name"] not in named
    ]


def ranges_of(pool: Object) -> tuple[Range, ...]:
    """Return what an IPAddressPool holds; MetalLB also reads a network with bits of the host part set."""
    found = []
    for text in pool["spec"].get("addresses") or ():
        with suppress(ValueError):  # one that MetalLB cannot read either gives nobody an address
            found.append(parse_range(text) if "-" in text else network_range(ip_network(text, strict=False)))
    return tuple(found)


def joined(ranges: Iterable[Range]) -> list[Range]:
    """Return the same addresses as ranges that neither overlap nor touch."""
    found: list[Range] = []
    for part in sorted(ranges, key=lambda part: (part.first.version, int(part.first))):
        last = found[-1] if found else None
        if last and last.first.version == part.first.version and int(part.first) <= int(last.last) + 1:
            found[-1] = Range(last.first, part.last if int(part.last) > int(last.last) else last.last)
        else:
            found.append(part)
    return found


def added(cluster: Cluster, site: Site) -> list[Range]:
    """Return the addresses of hosts.toml's pools that no pool of the cluster holds yet."""
    live = [part for pool in cluster.list("IPAddressPool", NAMESPACE, API) for part in ranges_of(pool)]
    old = cluster.get("ConfigMap", "config", NAMESPACE)  # of a MetalLB below 0.13
    if old is not None:
        text = yaml.safe_load((old.get("data") or {}).get("config") or "") or {}
        live += [part for pool in text.get("address-pools") or () for part in ranges_of({"spec": pool})]
    return without([part for pool in site.metallb.pools for part in pool.ranges], live)


def without(ranges: Iterable[Range], taken: Iterable[Range]) -> list[Range]:
    """Return what is left of ranges when the addresses of others are taken away."""
    left = joined(ranges)
    for gone in joined(taken):
        left = [rest for part in left for rest in _cut(part, gone)]
    return left


def _cut(part: Range, gone: Range) -> Iterator[Range]:
    """Yield what lies before and behind of `gone` in a range; all of it where the two share nothing."""
    if not part.overlaps(gone):
        yield part
        return
    if int(part.first) < int(gone.first):
        yield Range(part.first, gone.first - 1)
    if int(gone.last) < int(part.last):
        yield Range(gone.last + 1, part.last)


def held(supply: Iterable[Supply], ip: str) -> bool:
    """Tell whether a Service may have an address of one of the pools."""
    return any(pool.holds(ip) for pool in supply)


def refuse_loss(services: Sequence[Object], supply: Sequence[Supply]) -> None:
    """Raise ClusterError for a Service that would have no address under the pools that there will be."""
    pools = {pool.name: pool for pool in supply}
    for service in services:
        if not addresses(service):
            continue
        lost = [ip for ip in asked_addresses(service) if not held(supply, ip)]
        if lost:
            raise ClusterError(
                f"{object_name(service)} asks for {', '.join(lost)}, which no pool of hosts.toml holds",
                "put the address back into a pool, or change what the Service asks for",
            )
        pool = asked_pool(service)
        if pool and pool not in pools:
            raise ClusterError(
                f"{object_name(service)} asks for the pool {pool}, which hosts.toml does not name",
                f"the pools are {', '.join(pools) or 'none'}: change the Service's annotation, or name the pool",
            )
    for version in (4, 6):
        _refuse_shortage(services, pools, version)


def _refuse_shortage(services: Sequence[Object], pools: Mapping[str, Supply], version: int) -> None:
    """Raise ClusterError where more addresses of a family are in use than may be given out.

    A Service that asks for a pool gets an address of that one alone, auto_assign or not; one that asks for nothing
    keeps what it has in any pool, and gets another one only of those with auto_assign.
    """
    taken: dict[str, set[str]] = {name: set() for name in pools}
    homeless: set[str] = set()
    for service in services:
        for ip in addresses(service):
            if ip_address(ip).version != version:
                continue
            holder = asked_pool(service) or next((name for name, pool in pools.items() if pool.holds(ip)), "")
            (taken[holder] if holder else homeless).add(ip)
    for name, ips in taken.items():
        if len(ips) > (size := pools[name].size(version)):
            raise _shortage(f"{len(ips)} external IPv{version} addresses of the pool {name}", f"it holds {size}")
    automatic = [pool for pool in pools.values() if pool.auto_assign]
    need = len(homeless) + sum(len(taken[pool.name]) for pool in automatic)
    if homeless and need > (size := sum(pool.size(version) for pool in automatic)):
        raise _shortage(
            f"{need} external IPv{version} addresses of pools that are given out unasked", f"these hold {size}"
        )


def _shortage(used: str, there: str) -> ClusterError:
    return ClusterError(
        f"{used} are in use or needed, and under hosts.toml {there}",
        "make a pool larger, or delete a Service of type LoadBalancer; nothing was changed",
    )


def _ending(part: Range, octet: int) -> int:
    """Count the addresses of a range whose last eight bits are `octet`, without listing them."""
    return (int(part.last) - octet) // 256 - (int(part.first) - 1 - octet) // 256

"""What must hold between the keys of hosts.toml: nothing twice, nothing overlapping, nothing missing.

conflicts: what is there contradicts itself; still told when other parts of the file are wrong.
gaps: something is not there; told only when all of the file could be read, or it may stand in a part that could not.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

from provisioner import catalogue
from provisioner.addresses import IPNetwork, Range, network_range, parse_network, split_host_port
from provisioner.errors import ProvisionerError
from provisioner.site.model import Site
from provisioner.site.toml_lines import Path
from provisioner.version import Version

# How many volumes each of the shipped workloads claims. Here and not read from their manifests, since these may name
# what only a valid site can give.
CLAIMS = {"shared-volume": 1, "statefulset": 3}


class Problem(NamedTuple):
    """A mistake: the key it is about, a sentence that may hold "{line}" for the line of `other`, and a remedy."""

    path: Path
    message: str
    remedy: str
    other: Path = ()


class Holding(NamedTuple):
    """What holds addresses: the key that says so, what people call it, and the addresses."""

    path: Path
    name: str
    held: Range

    @property
    def is_machine(self) -> bool:
        """Tell whether it is one machine's address, and not a network or a pool."""
        return self.path[0] == "hosts" or self.path == ("cluster", "endpoint")


def conflicts(site: Site) -> Iterator[Problem]:
    """Yield what in the file contradicts something else in it."""
    yield from _duplicates(site)
    yield from _network_sizes(site)
    yield from _families(site)
    yield from _overlaps(site)


def gaps(site: Site) -> Iterator[Problem]:
    """Yield what the file needs and does not have."""
    if not site.control_planes:
        yield Problem(
            ("hosts",), "no host is a control plane", 'give one of them roles = ["control-plane"]', ("hosts",)
        )
    if len(site.control_planes) > 1 and not site.cluster.endpoint:
        yield Problem(
            ("cluster", "endpoint"),
            f"{len(site.control_planes)} control planes need one address for all of them",
            'set endpoint under [cluster] to that of their load balancer, as in endpoint = "api.example.org:6443"',
        )
    names = [host.name for host in site.hosts]
    if site.nfs.server and site.nfs.server not in names:
        yield Problem(
            ("nfs", "server"), f'"{site.nfs.server}" is no host of this file', f"name one of {', '.join(names)}"
        )
    yield from _unknown_releases(site)
    yield from _storage(site)


def _unknown_releases(site: Site) -> Iterator[Problem]:
    metallb, metrics, ingress = site.metallb, site.metrics, site.ingress
    wanted: list[tuple[Path, bool, str, str]] = [
        (("metallb", "version"), metallb.enabled and metallb.version != "", "metallb", metallb.version),
        (("metrics", "version"), metrics.enabled and metrics.version != "", "metrics_server", metrics.version),
        (("nfs", "provisioner"), site.nfs.enabled and site.nfs.provisioner == "csi", "csi_driver_nfs", ""),
        (("ingress", "controller"), ingress.enabled and ingress.controller != "", ingress.controller, ""),
    ]
    for path, is_wanted, program, release in wanted:
        if is_wanted:
            try:
                catalogue.release(program, str(site.version), release)
            except ProvisionerError as error:
                yield Problem(path, error.message, error.remedy)
            else:
                yield from _old_metallb(site) if program == "metallb" else ()


def _old_metallb(site: Site) -> Iterator[Problem]:
    version = site.metallb.version
    if Version.parse(version).at_least(0, 13):
        return
    if site.version.at_least(1, 25):
        yield Problem(
            ("metallb", "version"),
            f'"{version}" holds a PodSecurityPolicy, which Kubernetes {site.version} does not know any more',
            "write one from 0.13 on, or take the line out for the one that fits",
        )
    for index, pool in enumerate(site.metallb.pools):
        if pool.interfaces:
            yield Problem(
                ("metallb", "pools", index, "interfaces"),
                f"MetalLB {version}, the version on line {{line}}, announces on every interface",
                "take interfaces out, or take version out for one that knows them (from 0.13 on)",
                ("metallb", "version"),
            )


def _storage(site: Site) -> Iterator[Problem]:
    claims = {name: CLAIMS[name] for name in site.workloads.enabled if name in CLAIMS}
    names, need = " and ".join(f'"{name}"' for name in claims), sum(claims.values())
    if claims and not site.nfs.enabled:
        yield Problem(
            ("nfs", "enabled"),
            f"false leaves {names} of [workloads] without the volumes that they claim",
            f"write enabled = true, or take {names} out of enabled under [workloads]",
        )
    elif site.nfs.enabled and site.nfs.provisioner == "static" and site.nfs.volumes < need:
        yield Problem(
            ("nfs", "volumes"),
            f"{site.nfs.volumes} is fewer than the {need} that {names} of [workloads] claim",
            f"write volumes = {need} or more, or take {names} out of enabled under [workloads]",
        )


def _duplicates(site: Site) -> Iterator[Problem]:
    hosts = list(enumerate(site.hosts))
    pools = list(enumerate(site.metallb.pools))
    yield from _twice(
        ((("hosts", index, "name"), host.name) for index, host in hosts),
        "is also the name of the host on line {line}",
        "give each host a name of its own",
    )
    yield from _twice(
        ((("hosts", index, "address"), host.address) for index, host in hosts),
        "is also the address of the host on line {line}",
        "give each host an address of its own",
    )
    logins = {index: host.ssh_address for index, host in hosts if host.ssh_address}
    yield from _twice(
        (
            (("hosts", index, "ssh_address"), f"{address} port {site.hosts[index].ssh.port or site.ssh.port}")
            for index, address in logins.items()
        ),
        "is also where ssh finds the host on line {line}",
        "give each host an ssh_address, or a port under ssh, of its own",
    )
    yield from _twice(
        ((("metallb", "pools", index, "name"), pool.name) for index, pool in pools),
        "is also the name of the pool on line {line}",
        "give each pool a name of its own",
    )


def _twice(items: Iterable[tuple[Path, str]], message: str, remedy: str) -> Iterator[Problem]:
    seen: dict[Hashable, Path] = {}
    for path, value in items:
        if value in seen:
            yield Problem(path, f'"{value}" {message}', remedy, seen[value])
        else:
            seen[value] = path


def _network_sizes(site: Site) -> Iterator[Problem]:
    pods, services = parse_network(site.cluster.pod_cidr), parse_network(site.cluster.service_cidr)
    mask = _node_mask(site, pods)
    # kube-controller-manager, --node-cidr-mask-size: each node gets a network of that size, 16 bits at most below
    # the pods' own.
    if pods.prefixlen > mask or 2 ** (mask - pods.prefixlen) < len(site.hosts):
        yield Problem(
            ("cluster", "pod_cidr"),
            f'"{pods}" is too small for {len(site.hosts)} hosts, each of which gets a /{mask} of it',
            f'write one such as "{"fd00:10:244::/48" if pods.version == 6 else "10.244.0.0/16"}"',
        )
    elif mask - pods.prefixlen > 16:
        yield Problem(
            ("cluster", "pod_cidr"),
            f'"{pods}" is too large: Kubernetes hands out at most 65536 networks of /{mask}',
            f"write one of /{mask - 16} or smaller",
        )
    # kube-apiserver, --service-cluster-ip-range: at most 20 bits; kubeadm wants ten addresses at the least.
    bits = services.max_prefixlen - services.prefixlen
    if not 4 <= bits <= 20:
        largest, smallest = services.max_prefixlen - 20, services.max_prefixlen - 4
        yield Problem(
            ("cluster", "service_cidr"),
            f'"{services}" is too {"small" if bits < 4 else "large"} for services',
            f"write one from /{largest} to /{smallest}",
        )


def _node_mask(site: Site, pods: IPNetwork) -> int:
    flags = site.kubeadm.controller_manager
    for flag in ("node-cidr-mask-size", f"node-cidr-mask-size-ipv{pods.version}"):
        if (text := flags.get(flag, "")).isdecimal() and int(text[:4]) <= pods.max_prefixlen:
            return int(text)
    return 64 if pods.version == 6 else 24


def _families(site: Site) -> Iterator[Problem]:
    pods, services = parse_network(site.cluster.pod_cidr), parse_network(site.cluster.service_cidr)
    remedy = "hosts, pods and services use one family, IPv4 or IPv6"
    if services.version != pods.version:
        yield Problem(
            ("cluster", "service_cidr"),
            f'"{services}" is IPv{services.version} while pod_cidr is IPv{pods.version}',
            remedy,
            ("cluster", "pod_cidr"),
        )
    for index, host in enumerate(site.hosts):
        version = ipaddress.ip_address(host.address).version
        if version != pods.version:
            yield Problem(
                ("hosts", index, "address"),
                f'"{host.address}" is IPv{version} while pod_cidr is IPv{pods.version}',
                remedy,
                ("cluster", "pod_cidr"),
            )


def _overlaps(site: Site) -> Iterator[Problem]:
    """Yield what shares an address with something before it: pods, services, API, hosts, pools, in that order."""
    before: list[Holding] = []
    for own in _holdings(site):
        for other in before:
            if own.held.overlaps(other.held) and not own.path[0] == other.path[0] == "hosts":
                yield Problem(own.path, *_overlap(own, other), other.path)
                break
        before.append(own)


def _overlap(own: Holding, other: Holding) -> tuple[str, str]:
    if own.is_machine:
        return f'"{own.held}" lies in {other.name}, {other.held} on line {{line}}', f"move {other.name}, or the host"
    if other.is_machine:
        return f'"{own.held}" holds {other.held}, {other.name} on line {{line}}', "leave that address out of the pool"
    return f"{own.name}, {own.held}, overlaps {other.name}, {other.held} on line {{line}}", "move one of them"


def _holdings(site: Site) -> Iterator[Holding]:
    cluster = site.cluster
    yield Holding(("cluster", "pod_cidr"), "the pods' network", network_range(parse_network(cluster.pod_cidr)))
    yield Holding(
        ("cluster", "service_cidr"), "the services' network", network_range(parse_network(cluster.service_cidr))
    )
    if cluster.endpoint:
        name = split_host_port(cluster.endpoint, 0)[0]
        own_addresses = {address for host in site.hosts for address in (host.address, host.ssh_address)}
        if (single := _single(name)) and name not in own_addresses:
            yield Holding(("cluster", "endpoint"), "the API's address", single)
    for index, host in enumerate(site.hosts):
        for key, address in (("address", host.address), ("ssh_address", host.ssh_address)):
            if single := _single(address):
                yield Holding(("hosts", index, key), f"the address of {host.name}", single)
    for index, pool in enumerate(site.metallb.pools):
        for position, own in enumerate(pool.ranges):
            yield Holding(("metallb", "pools", index, "addresses", position), f"the pool {pool.name}", own)


def _single(text: str) -> Range | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None  # a host name: where it points is not known here
    return Range(address, address)

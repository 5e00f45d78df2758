"""The rules between the keys of hosts.toml: nothing twice, nothing overlapping, nothing missing.

conflicts: keys that contradict each other; reported even when other parts of the file are invalid.
omissions: something is missing; reported only for a valid file, since an invalid part may contain it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Iterable, Iterator
from ipaddress import ip_network
from typing import NamedTuple

from provisioner import catalogue
from provisioner.addresses import IPNetwork, Range, network_range, parse_network, split_host_port
from provisioner.errors import ProvisionerError
from provisioner.site import hardening
from provisioner.site.model import Site
from provisioner.site.toml_lines import KeyPath
from provisioner.version import Version

# How many volumes each shipped workload claims. Not read from the manifests, which only a valid site can fill in.
CLAIMS = {"shared-volume": 1, "statefulset": 3}


class Problem(NamedTuple):
    """A mistake: its key, a sentence that may contain "{line}" for the line of `other`, and a remedy."""

    path: KeyPath
    message: str
    remedy: str
    other: KeyPath = ()


class Allocation(NamedTuple):
    """Addresses in use: the key that says so, its name in messages, and the addresses."""

    path: KeyPath
    name: str
    addresses: Range

    @property
    def is_machine(self) -> bool:
        """Return whether this is a single machine's address rather than a network or a pool."""
        return self.path[0] == "hosts" or self.path in (("cluster", "vip"), ("cluster", "endpoint"))


def conflicts(site: Site) -> Iterator[Problem]:
    """Yield the keys that contradict another key."""
    yield from _duplicates(site)
    yield from _network_sizes(site)
    yield from _families(site)
    yield from _vip(site)
    yield from _overlaps(site)
    yield from _hardening(site)


def omissions(site: Site) -> Iterator[Problem]:
    """Yield what the file lacks."""
    if not site.control_planes:
        yield Problem(
            ("hosts",),
            "no host has the role control-plane",
            'set roles = ["control-plane"] on one of them',
            ("hosts",),
        )
    if len(site.control_planes) > 1 and not site.shared_endpoint:
        yield Problem(
            ("cluster", "vip"),
            f"{len(site.control_planes)} control planes need a shared address",
            'set vip under [cluster] to a free address of their segment, as in vip = "192.168.56.9", or endpoint to '
            'that of a load balancer, as in endpoint = "api.example.org:6443"',
        )
    names = [host.name for host in site.hosts]
    if site.nfs.server and site.nfs.server not in names:
        yield Problem(
            ("nfs", "server"), f'"{site.nfs.server}" is not a host of this file', f"use one of {', '.join(names)}"
        )
    yield from _unknown_releases(site)
    yield from _storage(site)


def _unknown_releases(site: Site) -> Iterator[Problem]:
    metallb, metrics, ingress = site.metallb, site.metrics, site.ingress
    wanted: list[tuple[KeyPath, bool, str, str]] = [
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
            f'"{version}" needs PodSecurityPolicy, which Kubernetes {site.version} no longer has',
            "use 0.13 or later, or remove the line to use the version that fits",
        )
    for index, pool in enumerate(site.metallb.pools):
        if pool.interfaces:
            yield Problem(
                ("metallb", "pools", index, "interfaces"),
                f"MetalLB {version}, the version on line {{line}}, announces on every interface",
                "remove interfaces, or remove version to use one that supports them (0.13 or later)",
                ("metallb", "version"),
            )


def _storage(site: Site) -> Iterator[Problem]:
    claims = {name: CLAIMS[name] for name in site.workloads.enabled if name in CLAIMS}
    names, need = " and ".join(f'"{name}"' for name in claims), sum(claims.values())
    if claims and not site.nfs.enabled:
        yield Problem(
            ("nfs", "enabled"),
            f"false leaves {names} of [workloads] without the volumes that they claim",
            f"set enabled = true, or remove {names} from enabled under [workloads]",
        )
    elif site.nfs.enabled and site.nfs.provisioner == "static" and site.nfs.volumes < need:
        yield Problem(
            ("nfs", "volumes"),
            f"{site.nfs.volumes} is fewer than the {need} that {names} of [workloads] claim",
            f"set volumes = {need} or more, or remove {names} from enabled under [workloads]",
        )


def _duplicates(site: Site) -> Iterator[Problem]:
    hosts = list(enumerate(site.hosts))
    pools = list(enumerate(site.metallb.pools))
    yield from _repeated(
        ((("hosts", index, "name"), host.name) for index, host in hosts),
        "is also the name of the host on line {line}",
        "give each host a unique name",
    )
    yield from _repeated(
        ((("hosts", index, "address"), host.address) for index, host in hosts),
        "is also the address of the host on line {line}",
        "give each host a unique address",
    )
    logins = {index: host.ssh_address for index, host in hosts if host.ssh_address}
    yield from _repeated(
        (
            (("hosts", index, "ssh_address"), f"{address} port {site.hosts[index].ssh.port or site.ssh.port}")
            for index, address in logins.items()
        ),
        "is also the SSH address of the host on line {line}",
        "give each host a unique ssh_address, or a unique port under ssh",
    )
    yield from _repeated(
        ((("metallb", "pools", index, "name"), pool.name) for index, pool in pools),
        "is also the name of the pool on line {line}",
        "give each pool a unique name",
    )


def _repeated(items: Iterable[tuple[KeyPath, str]], message: str, remedy: str) -> Iterator[Problem]:
    seen: dict[Hashable, KeyPath] = {}
    for path, value in items:
        if value in seen:
            yield Problem(path, f'"{value}" {message}', remedy, seen[value])
        else:
            seen[value] = path


def _network_for(hosts: int, mask: int, pods: IPNetwork) -> str:
    """Return a pod network from which that many hosts each get a /mask."""
    example = "fd00:10:244::" if pods.version == 6 else "10.244.0.0"
    prefix = min(48 if pods.version == 6 else 16, mask - (hosts - 1).bit_length())
    return str(ip_network(f"{example}/{prefix}", strict=False))


def _network_sizes(site: Site) -> Iterator[Problem]:
    pods, services = parse_network(site.cluster.pod_cidr), parse_network(site.cluster.service_cidr)
    mask = _node_mask(site, pods)
    # kube-controller-manager, --node-cidr-mask-size: each node gets a network of that size, at most 16 bits longer
    # than the pod network's prefix.
    if pods.prefixlen > mask or 2 ** (mask - pods.prefixlen) < len(site.hosts):
        yield Problem(
            ("cluster", "pod_cidr"),
            f'"{pods}" is too small for {len(site.hosts)} hosts, each of which gets a /{mask} of it',
            f'use one such as "{_network_for(len(site.hosts), mask, pods)}"',
        )
    elif mask - pods.prefixlen > 16:
        yield Problem(
            ("cluster", "pod_cidr"),
            f'"{pods}" is too large: Kubernetes allocates at most 65536 networks of /{mask} from it',
            f"use a /{mask - 16} or smaller",
        )
    # kube-apiserver, --service-cluster-ip-range: at most 20 bits; kubeadm requires at least ten addresses.
    bits = services.max_prefixlen - services.prefixlen
    if not 4 <= bits <= 20:
        largest, smallest = services.max_prefixlen - 20, services.max_prefixlen - 4
        yield Problem(
            ("cluster", "service_cidr"),
            f'"{services}" is too {"small" if bits < 4 else "large"} for services',
            f"use a prefix from /{largest} to /{smallest}",
        )


def _node_mask(site: Site, pods: IPNetwork) -> int:
    flags = site.kubeadm.controller_manager
    for flag in ("node-cidr-mask-size", f"node-cidr-mask-size-ipv{pods.version}"):
        if (text := flags.get(flag, "")).isdecimal() and int(text[:4]) <= pods.max_prefixlen:
            return int(text)
    return 64 if pods.version == 6 else 24


def _families(site: Site) -> Iterator[Problem]:
    pods, services = parse_network(site.cluster.pod_cidr), parse_network(site.cluster.service_cidr)
    remedy = "hosts, pods and services must all be IPv4 or all be IPv6"
    if services.version != pods.version:
        yield Problem(
            ("cluster", "service_cidr"),
            f'"{services}" is IPv{services.version} but pod_cidr is IPv{pods.version}',
            remedy,
            ("cluster", "pod_cidr"),
        )
    addresses: list[tuple[KeyPath, str]] = [
        (("hosts", index, "address"), host.address) for index, host in enumerate(site.hosts)
    ]
    addresses += [(("cluster", "vip"), site.cluster.vip)] if site.cluster.vip else []
    for path, address in addresses:
        version = ipaddress.ip_address(address).version
        if version != pods.version:
            yield Problem(
                path,
                f'"{address}" is IPv{version} but pod_cidr is IPv{pods.version}',
                remedy,
                ("cluster", "pod_cidr"),
            )


def _vip(site: Site) -> Iterator[Problem]:
    """Yield what contradicts the vip; networks and pools that contain it are overlaps."""
    cluster = site.cluster
    if not cluster.vip:
        return
    if cluster.endpoint:
        yield Problem(
            ("cluster", "vip"),
            f'"{cluster.vip}" and the endpoint on line {{line}} are two addresses for one API',
            "keep vip if the control planes should hold the address themselves, endpoint for a load balancer of yours",
            ("cluster", "endpoint"),
        )
    for index, host in enumerate(site.hosts):
        for key, address in (("address", host.address), ("ssh_address", host.ssh_address)):
            if address == cluster.vip:
                yield Problem(
                    ("cluster", "vip"),
                    f'"{cluster.vip}" is the address of {host.name} on line {{line}}',
                    "use an address that no machine has: it moves between the control planes",
                    ("hosts", index, key),
                )


def _hardening(site: Site) -> Iterator[Problem]:
    """Yield the items that are asked for and that the version lacks or `[kubeadm]` replaces."""
    for item, on in hardening.asked_for(site).items():
        other = hardening.replaced_by(site, item)
        if on and hardening.lacking(site, item):
            needs = hardening.lacking(site, item)
            yield Problem(
                ("hardening", item),
                f"needs Kubernetes {needs}, and the version on line {{line}} is {site.version}",
                "remove the line: what a version lacks is left off by default",
                ("cluster", "kubernetes"),
            )
        elif on and other:
            key, _, name = other.partition(".")
            yield Problem(
                ("hardening", item),
                f"is replaced by {name}, which is set on line {{line}}",
                f"remove one of them, or set {item} = false",
                ("kubeadm", key, name),
            )


def _overlaps(site: Site) -> Iterator[Problem]:
    """Yield each that shares an address with one before it, in the order pods, services, API, hosts, pools."""
    before: list[Allocation] = []
    for own in _allocations(site):
        for other in before:
            if own.addresses.overlaps(other.addresses) and not own.path[0] == other.path[0] == "hosts":
                yield Problem(own.path, *_overlap(own, other), other.path)
                break
        before.append(own)


def _overlap(own: Allocation, other: Allocation) -> tuple[str, str]:
    if own.is_machine:
        return f'"{own.addresses}" is in {other.name}, {other.addresses} on line {{line}}', "change one of them"
    if other.is_machine:
        return (
            f'"{own.addresses}" contains {other.addresses}, {other.name} on line {{line}}',
            "exclude it from the pool",
        )
    return (
        f"{own.name}, {own.addresses}, overlaps {other.name}, {other.addresses} on line {{line}}",
        "change one of them",
    )


def _allocations(site: Site) -> Iterator[Allocation]:
    cluster = site.cluster
    yield Allocation(("cluster", "pod_cidr"), "the pod network", network_range(parse_network(cluster.pod_cidr)))
    yield Allocation(
        ("cluster", "service_cidr"), "the service network", network_range(parse_network(cluster.service_cidr))
    )
    own_addresses = {address for host in site.hosts for address in (host.address, host.ssh_address)}
    endpoint = split_host_port(cluster.endpoint, 0)[0] if cluster.endpoint else ""
    for key, name in (("vip", cluster.vip), ("endpoint", "" if cluster.vip else endpoint)):
        if (single := _single_address(name)) and name not in own_addresses:
            yield Allocation(("cluster", key), "the API's address", single)
    for index, host in enumerate(site.hosts):
        for key, address in (("address", host.address), ("ssh_address", host.ssh_address)):
            if single := _single_address(address):
                yield Allocation(("hosts", index, key), f"the address of {host.name}", single)
    for index, pool in enumerate(site.metallb.pools):
        for position, own in enumerate(pool.ranges):
            yield Allocation(("metallb", "pools", index, "addresses", position), f"pool {pool.name}", own)


def _single_address(text: str) -> Range | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None  # a host name, which is not resolved here
    return Range(address, address)

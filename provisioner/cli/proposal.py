"""What `provisioner init HOST…` proposes for machines: segment, roles, NFS server, pool; each with its reason.

Pure functions of the hosts' facts. What is asked of the segment, init.py asks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_interface

from provisioner.cli.named import CONTROL_PLANE, WORKER, Named
from provisioner.errors import ProvisionerError
from provisioner.ssh import HostFacts, HostNic
from provisioner.text import join_words, pluralize

# NICs of containers, virtual networks and VPNs, which connect no machines of a segment.
_VIRTUAL = re.compile(r"lo$|docker|br-[0-9a-f]|cni|flannel|veth|cali|cilium|virbr|lxc|kube-|nodelocal|tailscale|wg|zt")
LEAST_MEMORY, LEAST_CPUS = 1700, 2  # MiB and processors: kubeadm's preflight checks Mem and NumCPU
_POOL = 31  # addresses, as from .200 to .230
_LEAST_POOL = 4
_SMALLEST = 29  # the prefix length of a network with room for hosts and a pool
_PREFERRED = 200  # the host part where a pool begins by habit: above most routers' DHCP ranges
_NEARLY = 0.8  # a control plane with that part of the largest disk is the NFS server, as one machine less to think of


@dataclass(frozen=True)
class Machine:
    """A host as it was named, and its facts. name: what hosts.toml will call it."""

    name: str
    named: Named
    facts: HostFacts

    @property
    def typed(self) -> str:
        """Return where it was logged in to."""
        return self.named.typed


@dataclass(frozen=True)
class Place:
    """Where a machine meets the segment."""

    nic: HostNic
    address: IPv4Address


def segment(machines: Sequence[Machine]) -> tuple[IPv4Network, dict[str, Place]]:
    """Return the network that all machines are on, and where. Raises ProvisionerError.

    A network where two have the same address is none, such as VirtualBox' NAT. Of several, the one with the
    addresses that were named comes first, then the one with the default routes.
    """
    per_machine = [_networks(machine.facts) for machine in machines]
    shared = []
    for network in per_machine[0]:
        places = [found[network] for found in per_machine if network in found]
        if len(places) == len(machines) == len({place.address for place in places}):
            shared.append((network, {machine.name: place for machine, place in zip(machines, places, strict=True)}))
    if not shared:
        raise ProvisionerError(
            "the hosts share no IPv4 network: " + "; ".join(_described(machine) for machine in machines),
            "connect them to one segment, or describe them by hand: provisioner init --template",
        )
    named = {machine.typed for machine in machines}

    def rank(one: tuple[IPv4Network, dict[str, Place]]) -> tuple[int, int]:
        places = one[1]
        by_name = sum(str(place.address) in named for place in places.values())
        by_route = sum(places[machine.name].nic.name == machine.facts.default_nic for machine in machines)
        return by_name, by_route

    return max(shared, key=rank)


def control_plane(machines: Sequence[Machine]) -> tuple[str, str]:
    """Return the machine to run the API server, the first that is large enough, and why."""
    for machine in machines:
        if _large_enough(machine.facts):
            first = machine is machines[0]
            why = "the first" if first else "the first with enough memory and processors"
            return machine.name, f"{why} ({size(machine.facts)})"
    return machines[0].name, (
        f"the first, but no host has what kubeadm asks for, {LEAST_CPUS} processors and {LEAST_MEMORY} MiB of memory: "
        + ", ".join(f"{machine.name} has {size(machine.facts)}" for machine in machines)
    )


def roles(machines: Sequence[Machine], wanted: int = 1) -> tuple[dict[str, tuple[str, ...]], str]:
    """Return each machine's roles, and why; `wanted` control planes if nobody named any. Raises ProvisionerError."""
    if any(machine.named.roles for machine in machines):
        said = {machine.name: machine.named.roles or (WORKER,) for machine in machines}
        planes = [name for name, found in said.items() if CONTROL_PLANE in found]
        return _of_one(said), f"{join_words(planes)}: as the inventory says"
    if wanted > len(machines):
        raise ProvisionerError(f"{wanted} control planes of {pluralize(len(machines), 'host')}", "name more hosts")
    first, why = control_plane(machines)
    large = [machine.name for machine in machines if _large_enough(machine.facts)]
    others = [*large, *(machine.name for machine in machines if machine.name not in large)]
    planes = [first, *(name for name in others if name != first)][:wanted]
    found: dict[str, tuple[str, ...]] = {
        machine.name: (CONTROL_PLANE,) if machine.name in planes else (WORKER,) for machine in machines
    }
    if wanted == 1:
        return _of_one(found), f"{first}: {why}"
    small = [name for name in planes if name not in large]
    note = f", though {join_words(small)} {'are' if len(small) > 1 else 'is'} too small for kubeadm" if small else ""
    return _of_one(found), f"{join_words(planes)}: the first with enough memory and processors{note}"


def _of_one(found: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return roles with which pods have a place to run: where every host is a control plane, they are workers, too."""
    if all(CONTROL_PLANE in each for each in found.values()):
        return dict.fromkeys(found, (CONTROL_PLANE, WORKER))
    return found


def _large_enough(facts: HostFacts) -> bool:
    return facts.memory_mib >= LEAST_MEMORY and facts.cpus >= LEAST_CPUS


def nfs_server(machines: Sequence[Machine], first: str, path: str) -> tuple[str, str]:
    """Return the machine with the most room below `path`, or the control plane if it has nearly as much, and why.

    One that was named as the NFS server is it.
    """
    if named := next((machine.name for machine in machines if machine.named.nfs), ""):
        return named, "the group nfs of the inventory"
    free = {machine.name: machine.facts.disk_free_mib.get(path, 0) for machine in machines}
    most = max(free, key=lambda name: free[name])
    if free[first] >= free[most] * _NEARLY:
        most = first
    return most, f"{free[most] / 1024:.0f} GiB free" + (", the most" if len(machines) > 1 and most != first else "")


def candidates(network: IPv4Network) -> list[str]:
    """Return the addresses among which to look for a pool: all of a network, of one larger than a /24 its last /24."""
    last = IPv4Network((int(network.broadcast_address) & ~0xFF, 24))
    near = network if network.prefixlen >= 24 else last
    return [str(address) for address in near.hosts()]


def pool(network: IPv4Network, used: Collection[str]) -> str:
    """Return a range of free addresses, "" if there are too few.

    From .200 on if that is free, else the highest free range of that size, else the largest one.
    """
    taken = set(used)
    runs: list[list[IPv4Address]] = [[]]
    for text in candidates(network):
        if text in taken:
            runs.append([])
        else:
            runs[-1].append(IPv4Address(text))
    size = min(_POOL, max(_LEAST_POOL, len(candidates(network)) // 8))
    fitting = [run for run in runs if len(run) >= size]
    for run in fitting:
        start = [address for address in run if int(address) & 0xFF == _PREFERRED]
        if start and run[-1] >= start[0] + size - 1:
            return f"{start[0]}-{start[0] + size - 1}"
    if fitting:
        return f"{fitting[-1][-size]}-{fitting[-1][-1]}"
    longest = max(runs, key=len)
    return f"{longest[0]}-{longest[-1]}" if len(longest) >= _LEAST_POOL else ""


def vip(network: IPv4Network, used: Collection[str], addresses: str) -> str:
    """Return a free address for the API beside the pool, "" if there is none.

    Beside it, since what is to be kept out of a router's DHCP range is then one range. A VRRP router has the address'
    last byte for its number, which is not 0 (RFC 5798).
    """
    ends = [int(IPv4Address(end)) for end in addresses.split("-")] if addresses else []
    inside = range(ends[0], ends[1] + 1) if ends else range(0)
    free = [
        int(IPv4Address(address))
        for address in candidates(network)
        if address not in used and int(IPv4Address(address)) not in inside and int(IPv4Address(address)) & 0xFF
    ]
    above = [address for address in free if ends and address > ends[1]]
    chosen = above[0] if above else free[-1] if free else None
    return str(IPv4Address(chosen)) if chosen is not None else ""


def _networks(facts: HostFacts) -> dict[IPv4Network, Place]:
    """Return the networks that a host is on, with its address in each."""
    found: dict[IPv4Network, Place] = {}
    for nic in facts.nics:
        if not nic.up or _VIRTUAL.match(nic.name):
            continue
        for own in map(ip_interface, nic.addresses):
            if isinstance(own, IPv4Interface) and _usable(own):
                found.setdefault(own.network, Place(nic, own.ip))
    return found


def _usable(own: IPv4Interface) -> bool:
    nat = IPv4Address("10.0.2.15")  # of every VirtualBox and QEMU machine
    return own.ip != nat and not own.ip.is_link_local and own.network.prefixlen <= _SMALLEST


def _described(machine: Machine) -> str:
    known = [f"{place.address} ({place.nic.name})" for place in _networks(machine.facts).values()]
    return f"{machine.name} has {join_words(known) if known else 'no address'}"


def size(facts: HostFacts) -> str:
    """Return a machine's processors and memory in words."""
    return f"{facts.cpus} CPUs, {facts.memory_mib / 1024:.1f} GiB"

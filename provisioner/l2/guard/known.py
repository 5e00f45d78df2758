"""What a guard watches, and whose a MAC is: from the cluster's facts, or from addresses on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from provisioner.addresses import Range, why_unusable
from provisioner.errors import ProvisionerError
from provisioner.l2 import owners, targets
from provisioner.l2.facts import Facts
from provisioner.l2.owners import NodeMacs
from provisioner.l2.probe.capture import Address
from provisioner.l2.probe.interfaces import Interface

MOST = 4096  # addresses that are asked for; at the default interval that is 140 frames per second


@dataclass(frozen=True)
class Known:
    """What is watched. assigned: addresses that should be answered for, each with its Services, "" for none known.

    pools: ranges by name; nodes: the nodes' own addresses, by which their MACs are learned; macs: those known already.
    """

    assigned: Mapping[Address, str] = field(default_factory=dict)
    pools: Mapping[str, tuple[Range, ...]] = field(default_factory=dict)
    nodes: Mapping[Address, str] = field(default_factory=dict)
    macs: NodeMacs = field(default_factory=NodeMacs)

    def pool_of(self, ip: Address) -> str:
        """Return the pool that holds an address, "" if none does."""
        return next((name for name, held in self.pools.items() if any(ip in one for one in held)), "")


def known(facts: Facts | None, words: Sequence[str], interface: Interface | None = None) -> Known:
    """Return what to watch: the addresses, ranges and pools named, else every external IP and pool of the facts.

    interface: addresses outside its subnets are left out if they were not named. Raises ProvisionerError for a word
    that is neither, and if nothing is left to watch.
    """
    pools = targets.pool_ranges(facts)
    services = {
        ip: ", ".join(one.key for one in held)
        for ip, held in targets.services_by_ip(facts).items()
        if not why_unusable(ip, interface.subnets if interface is not None else ())
    }
    if words:
        assigned, chosen = _named(words, facts, services)
    else:
        near = [ip for ip in services if interface is None or interface.reaches(ip)]
        assigned, chosen = {ip: services[ip] for ip in near}, pools
    if not assigned and not chosen:
        raise ProvisionerError(
            "there is nothing to watch: no pools and no external IPs are known here",
            "name them: provisioner l2 guard 192.0.2.200 192.0.2.200-192.0.2.220",
        )
    if len(assigned) > MOST:
        raise ProvisionerError(f"{len(assigned)} addresses are too many to watch (at most {MOST})", "name fewer")
    nodes = {
        ip_address(text): node.name
        for node in (facts.nodes if facts is not None else ())
        for text in node.internal_ips
    }
    macs = owners.from_facts(facts, ()) if facts is not None else NodeMacs()
    return Known(assigned, chosen, nodes, macs)


def _named(
    words: Iterable[str], facts: Facts | None, services: Mapping[Address, str]
) -> tuple[dict[Address, str], dict[str, tuple[Range, ...]]]:
    """Return the single addresses, which should be answered for, and the ranges, which are pools."""
    assigned: dict[Address, str] = {}
    pools: dict[str, tuple[Range, ...]] = {}
    for word in words:
        ip = targets.address(word)
        if ip is not None:
            targets.refuse_unusable([ip], None)
            assigned[ip] = services.get(ip, "")
        else:
            held = targets.ranges(word, facts)
            pools[word.removeprefix("pool:")] = held
            assigned |= {one: name for one, name in services.items() if any(one in part for part in held)}
    return assigned, pools

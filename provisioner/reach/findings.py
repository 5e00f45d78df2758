"""What a probe found as sentences: one for each host and what does not get through to it, and a command that helps."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from provisioner.reach.filters import judge_forward, judge_input
from provisioner.reach.ports import VXLAN_PORT, Port
from provisioner.reach.probe import OPERATOR, Lossy, Narrow, Probed, own_address
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.text import join_words

T = TypeVar("T")
K = TypeVar("K")
_MANY = 8  # sources from which a remedy names their network instead of each


@dataclass(frozen=True)
class Obstacle:
    """Something between machines. host: where to look. code: as of a finding of `verify`."""

    host: str
    code: str
    detail: str
    remedy: str


def obstacles(site: Site, hosts: Mapping[str, Host], probed: Probed) -> list[Obstacle]:
    """Return every obstacle, what is alike in one."""
    return [
        *_blocked(site, hosts, probed),
        *_forward(site, probed),
        *_narrow(site, probed.narrow),
        *_lossy(probed.lossy),
    ]


def _blocked(site: Site, hosts: Mapping[str, Host], probed: Probed) -> Iterator[Obstacle]:
    for target, found in _grouped(probed.blocked, lambda each: each.target).items():
        by_source = _grouped(found, lambda each: each.source)
        alike: dict[tuple[Port, ...], list[str]] = {}
        for source, group in by_source.items():
            alike.setdefault(tuple(each.port for each in group), []).append(source)
        parts = [f"{_ports(ports)} from {_names(names)}" for ports, names in alike.items()]
        rejected = " (connections are rejected)" if {each.how for each in found} == {"refused"} else ""
        accept = [*_addresses(site, hosts[target], by_source), site.cluster.pod_cidr]
        numbers = {each.port.number for each in found}
        filtered, command = judge_input(probed.filters.get(target, {}), accept, numbers)
        yield Obstacle(
            target,
            "PORT_BLOCKED",
            f"does not get {', and not '.join(parts)}{rejected}" + (f": {filtered}" if filtered else ""),
            f"on {target}: {command}" if command else _elsewhere(target, list(by_source)),
        )


def _ports(ports: Iterable[Port]) -> str:
    return join_words(f"{port.protocol.upper()} {port.number} ({port.what})" for port in ports)


def _forward(site: Site, probed: Probed) -> Iterator[Obstacle]:
    """Yield the filters that stop the packets of pods; no pod runs yet that could be asked."""
    for name, found in probed.filters.items():
        how, command = judge_forward(found, site.cluster.pod_cidr, site.cluster.network)
        if how:
            yield Obstacle(
                name, "FORWARD_BLOCKED", f"does not forward the packets of pods: {how}", f"on {name}: {command}"
            )


def _addresses(site: Site, target: Host, sources: Collection[str]) -> list[str]:
    """Return what a filter on `target` should accept: all hosts, since each needs most ports of each other.

    Their network if they are many, and this machine if it does not get through.
    """
    hosts = [each.address for each in site.hosts if each.name != target.name]
    nic = target.facts.address_nic(target.spec.address)
    networks = [ipaddress.ip_interface(text).network for text in (nic.addresses if nic is not None else ())]
    shared = [one for one in networks if all(ipaddress.ip_address(each) in one for each in hosts)]
    if len(hosts) > _MANY and shared:
        hosts = [str(shared[0])]
    return [*hosts, *([own_address(target.spec.address)] if OPERATOR in sources else [])]


def _names(names: Collection[str]) -> str:
    shown = list(names)[:_MANY]
    more = len(names) - len(shown)
    return f"{', '.join(shown)} and {more} more" if more else join_words(shown)


def _grouped(found: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return the items by key, both in order."""
    groups: dict[K, list[T]] = {}
    for each in found:
        groups.setdefault(key(each), []).append(each)
    return groups


def _elsewhere(target: str, sources: Sequence[str]) -> str:
    other = next((each for each in sources if each != OPERATOR), OPERATOR)
    return (
        f"no packet filter was found on {target}: look for a security group or switch in between, and at the output "
        f"rules of {other} (sudo nft list ruleset)"
    )


def _narrow(site: Site, found: Sequence[Narrow]) -> Iterator[Obstacle]:
    for (target, size, kind), group in _grouped(found, lambda each: (each.target, each.size, each.kind)).items():
        address = site.host(target).address
        if kind == "pods":
            where = " at its address in the pod network"
            remedy = (
                f"VXLAN makes packets of {size + 50} bytes of them: set one, smaller MTU on all hosts' NICs, then: "
                "kubectl -n kube-flannel rollout restart daemonset kube-flannel-ds"
            )
        else:
            where = ""
            payload = size - (48 if ":" in address else 28)
            remedy = (
                "set an MTU that the whole path carries on all hosts, in their network configuration; "
                f"find it with: ping -M do -s {payload} {address}"
            )
        sources = _names([each.source for each in group])
        yield Obstacle(target, "PACKET_SIZE", f"does not get packets of {size} bytes{where} from {sources}", remedy)


def _lossy(found: Sequence[Lossy]) -> Iterator[Obstacle]:
    dead = [each for each in found if each.lost == each.sent]
    for target, group in _grouped(dead, lambda each: each.target).items():
        yield Obstacle(
            target,
            "POD_NETWORK_BLOCKED",
            f"does not answer {_names([each.source for each in group])} at its address in the pod network",
            f"see which route leads there (provisioner ssh {group[0].source} -- ip route): one over flannel.1 needs "
            f"UDP {VXLAN_PORT} between the hosts, any other one that they share a segment",
        )
    partly = [each for each in found if each.lost < each.sent]
    for (target, kind), group in _grouped(partly, lambda each: (each.target, each.kind)).items():
        where = " in the pod network" if kind == "pods" else ""
        worst = max(group, key=lambda each: each.lost)
        yield Obstacle(
            target,
            "PACKET_LOSS",
            f"answers only {worst.sent - worst.lost} of {worst.sent} packets{where} from "
            f"{_names([each.source for each in group])}",
            f"look for errors of its NIC, cable and switch port: provisioner ssh {target} -- ip -s link",
        )

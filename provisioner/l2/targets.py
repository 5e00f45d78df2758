"""What the arguments on the command line mean: addresses, ranges, networks, pools, services.

A mistyped argument must end in an error that says what would be right, never in a sweep of something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from provisioner.addresses import UNUSABLE, IPNetwork, Range, parse_network, parse_range, subtract_ranges, why_unusable
from provisioner.errors import ProvisionerError
from provisioner.l2.facts import Facts, Port, Service
from provisioner.l2.facts_values import pool_range
from provisioner.text import did_you_mean

Address = IPv4Address | IPv6Address
Pools = Mapping[str, tuple[Range, ...]]
MOST = 65536  # addresses in one scan; eleven minutes at the default rate


@dataclass(frozen=True)
class Targets:
    """What a check covers: addresses, and services without one yet.

    services: namespace/name of those to judge where an address is shared; None: all.
    """

    ips: tuple[Address, ...] = ()
    pending: tuple[Service, ...] = ()
    services: Mapping[Address, tuple[str, ...]] | None = None


@dataclass(frozen=True)
class ScanTargets:
    """What a scan covers: addresses, and notes on what was left out."""

    ips: tuple[Address, ...]
    notes: tuple[str, ...] = ()


def pool_ranges(facts: Facts | None) -> dict[str, tuple[Range, ...]]:
    """Return the ranges of each pool in the facts."""
    if facts is None or facts.pools is None:
        return {}
    return {pool.name: tuple(map(pool_range, pool.addresses)) for pool in facts.pools}


def services_by_ip(facts: Facts | None) -> dict[Address, tuple[Service, ...]]:
    """Return the services of each external IP in the facts; services can share one."""
    found: dict[Address, tuple[Service, ...]] = {}
    for service in (facts.services if facts is not None else None) or ():
        for ip in external_ips(service):
            found[ip] = (*found.get(ip, ()), service)
    return found


def external_ips(service: Service) -> tuple[Address, ...]:
    """Return a service's external IPs."""
    return tuple(map(ip_address, service.ingress_ips))


API_KEY = "default/kubernetes"  # the Service of the API inside the cluster stands for its address outside
_API_WORDS = ("api", "kubernetes", API_KEY)


def with_api(words: Sequence[str], facts: Facts | None) -> tuple[tuple[str, ...], Facts | None]:
    """Return the arguments and the facts with the API's own address as one more external IP, if it is asked for.

    Raises ProvisionerError if it is unknown, or if a Service has the same name.
    """
    if not set(words) & set(_API_WORDS):
        return tuple(words), facts
    taken = [one.key for one in (facts.services if facts is not None else None) or () if one.name == "api"]
    if "api" in words and taken:
        raise ProvisionerError(
            f"api is the API's own address and the Service {taken[0]}", f"write {API_KEY} or {taken[0]}"
        )
    if facts is None or facts.api is None:
        raise ProvisionerError(
            "the API's own address is not known here",
            "name the address, or use --kubeconfig, hosts.toml, or a file that this version of `l2 collect` wrote",
        )
    api = facts.api
    service = Service(
        namespace="default",
        name="kubernetes",
        ingress_ips=api.addresses,
        external_traffic_policy="Cluster",
        ports=(Port(port=api.port),),
        announcer=api.announcer or "other",
        announcer_reason="who announces the API's address is unknown",
        lease=api.lease,
    )
    known = tuple(one for one in facts.services or () if one.key != API_KEY)
    found = facts.model_copy(update={"services": (*known, service)})
    return tuple(API_KEY if word in _API_WORDS else word for word in words), found


def for_scan(words: Sequence[str], facts: Facts | None) -> ScanTargets:
    """Return the addresses to sweep, in the order of the arguments; without any, every pool and external IP.

    Raises ProvisionerError for an argument that is no IP, network, range or pool:NAME, and for too many addresses.
    """
    known = pool_ranges(facts)
    if not words:
        return _everything(known, services_by_ip(facts))
    ranges = [found for word in words for found in _ranges(word, known)]
    return ScanTargets(_expand(ranges))


def _everything(known: Pools, external: Iterable[Address]) -> ScanTargets:
    notes, ranges = [], []
    for name, held in known.items():
        for one in held:
            if one.first.version == 6 and one.size > MOST:
                notes.append(f"{one} of pool {name} is too large to sweep; only its addresses in use are scanned")
            else:
                ranges.append(one)
    covered = [ip for ip in external if not any(ip in one for one in ranges)]
    ranges += [Range(ip, ip) for ip in covered]
    if not ranges:
        raise ProvisionerError(
            "no pools and no external IPs are known here", "name the addresses: provisioner l2 scan 192.0.2.0/24"
        )
    return ScanTargets(_expand(ranges), tuple(notes))


def ranges(word: str, facts: Facts | None) -> tuple[Range, ...]:
    """Return the ranges that an argument means: a network, a range or pool:NAME. Raises ProvisionerError."""
    return _ranges(word, pool_ranges(facts))


def _ranges(word: str, known: Pools) -> tuple[Range, ...]:
    if word.startswith("pool:"):
        if word[5:] not in known:
            nothing = "no pools are known: use --kubeconfig, hosts.toml or --facts"
            there = f"the pools are {', '.join(known)}" if known else nothing
            raise ProvisionerError(f"pool {word[5:]!r} not found", did_you_mean(word[5:], known) or there)
        return known[word[5:]]
    try:
        found = parse_range(word if set("/-") & set(word) else f"{word}-{word}")
    except ValueError as error:
        raise ProvisionerError(
            f"{word!r} is not an address, range or network",
            "write 192.0.2.10, 192.0.2.10-192.0.2.20, 192.0.2.0/24 or pool:NAME",
        ) from error
    if "/" in word and (network := parse_network(word)).version == 4 and network.prefixlen < 31:
        # No host has the network or broadcast address of a subnet; a pool may still contain them.
        found = Range(network[1], network[-2])
    if not subtract_ranges([found], [held for held, _ in UNUSABLE]):
        why = why_unusable(found.first)
        what = f"{word} {why}" if found.size == 1 else f"every address of {word} {why}"
        raise ProvisionerError(f"{what}, which no host can have", "name addresses of the segment")
    return (found,)


def _expand(ranges: Sequence[Range]) -> tuple[Address, ...]:
    ranges = [part for one in ranges for part in subtract_ranges([one], [held for held, _ in UNUSABLE])]
    total = sum(one.size for one in ranges)
    if total > MOST:
        largest = max(ranges, key=lambda one: one.size)
        part = f"{largest.first}-{ip_address(int(largest.first) + 255)}"
        raise ProvisionerError(
            f"{total} addresses are too many for one scan (at most {MOST})",
            f"scan a part, such as {part}, or only addresses in use: provisioner l2 check",
        )
    kinds = (type(one.first) for one in ranges)
    return tuple(
        dict.fromkeys(
            kind(number)
            for kind, one in zip(kinds, ranges, strict=True)
            for number in range(int(one.first), int(one.last) + 1)
        )
    )


def for_check(words: Sequence[str], facts: Facts | None) -> Targets:
    """Return what to check: the addresses and services named; without any, every LoadBalancer service.

    Raises ProvisionerError for an argument that is neither, and if no service is known.
    """
    services = facts.services if facts is not None else None
    chosen: list[Service] = []
    ips: list[Address] = []
    if not words:
        if services is None:
            raise ProvisionerError(
                "the cluster's services are not known here",
                "name addresses, or use --kubeconfig FILE, hosts.toml or --facts FILE (of `provisioner l2 collect`)",
            )
        if not services:
            raise ProvisionerError(
                "no services of type LoadBalancer, so there is nothing to check",
                "name an address: provisioner l2 check 192.0.2.10",
            )
        chosen += services
    for word in words:
        if (ip := address(word)) is None:
            chosen.append(_service(word, services))
        else:
            refuse_unusable([ip], facts)
            ips.append(ip)
    named = tuple(ips)
    ips += [ip for service in chosen for ip in external_ips(service)]
    pending = {service.key: service for service in chosen if not service.ingress_ips}
    return Targets(tuple(dict.fromkeys(ips)), tuple(pending.values()), _judged(chosen, named) if words else None)


def _judged(chosen: Sequence[Service], named: Iterable[Address]) -> dict[Address, tuple[str, ...]]:
    """Return the Services to judge at each address of those chosen by name; a named address stands for all."""
    found: dict[Address, tuple[str, ...]] = {}
    for service in chosen:
        for ip in external_ips(service):
            found[ip] = (*found.get(ip, ()), service.key)
    for ip in named:
        found.pop(ip, None)
    return found


def address(word: str) -> Address | None:
    """Return the address that a word is, None if it is none. Raises ProvisionerError for one with a zone."""
    try:
        ip = ip_address(word)
    except ValueError:
        return None
    if "%" in word:
        plain = word.partition("%")[0]
        raise ProvisionerError(f"{word!r} has a zone", f"write {plain}, and choose the interface with --interface")
    return ip


def refuse_unusable(
    ips: Iterable[Address],
    facts: Facts | None,
    subnets: Sequence[IPNetwork] = (),
    own: Iterable[Address] = (),
) -> None:
    """Raise ProvisionerError for an address that no host can have, or that is this machine's own.

    One that a Service has all the same gets a verdict. subnets: those of the segment; own: this machine's addresses.
    """
    assigned, here = services_by_ip(facts), set(own)
    for ip in ips:
        if ip in assigned:
            continue
        if why := why_unusable(ip, subnets):
            raise ProvisionerError(f"{ip} {why}, which no host can have", "name an external IP")
        if ip in here:
            raise ProvisionerError(f"{ip} is this machine's own address", "run it on another machine on the segment")


def _service(word: str, services: Sequence[Service] | None) -> Service:
    named = [service for service in services or () if word in (service.key, service.name)]
    if len(named) == 1:
        return named[0]
    if named:
        raise ProvisionerError(f"several services are named {word}", " or ".join(one.key for one in named))
    try:
        parse_range(word)
    except ValueError:
        pass
    else:
        raise ProvisionerError(f"{word} is more than one address", f"sweep it: provisioner l2 scan {word}")
    if services is None:
        raise ProvisionerError(
            f"{word!r} is not an address, and the cluster's services are not known here",
            "use --kubeconfig FILE, hosts.toml or --facts FILE",
        )
    there = ", ".join(service.key for service in services[:10]) or "none"
    raise ProvisionerError(
        f"{word!r} is neither an address nor a service of type LoadBalancer",
        f"write namespace/name; the services are {there}{' …' if len(services) > 10 else ''}",
    )

"""What the words on the command line mean: addresses, ranges, networks, pools, services.

A mistyped word must end as a sentence that says what would be right, and never as a sweep of something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from provisioner.addresses import Range, parse_network, parse_range
from provisioner.errors import ProvisionerError
from provisioner.l2.facts import Facts, Service
from provisioner.l2.facts_values import pool_range

Address = IPv4Address | IPv6Address
Pools = Mapping[str, tuple[Range, ...]]
MOST = 65536  # addresses in one scan; at the default pace that is eleven minutes


@dataclass(frozen=True)
class Targets:
    """What a check is about: addresses, and services that have none yet."""

    ips: tuple[Address, ...] = ()
    pending: tuple[Service, ...] = ()


@dataclass(frozen=True)
class Sweep:
    """What a scan is about: addresses, and notes on what was left out."""

    ips: tuple[Address, ...]
    notes: tuple[str, ...] = ()


def pools(facts: Facts | None) -> dict[str, tuple[Range, ...]]:
    """Return the ranges of each pool that the facts know."""
    if facts is None or facts.pools is None:
        return {}

    return {pool.name: tuple(map(pool_range, pool.addresses)) for pool in facts.pools}


def assigned(facts: Facts | None) -> dict[Address, tuple[Service, ...]]:
    """Return the services of each external IP that the facts know of; several share an address."""
    found: dict[Address, tuple[Service, ...]] = {}
    for service in (facts.services if facts is not None else None) or ():
        for ip in ingress(service):
            found[ip] = (*found.get(ip, ()), service)
    return found


def ingress(service: Service) -> tuple[Address, ...]:
    """Return a service's external IPs."""
    return tuple(map(ip_address, service.ingress_ips))


def for_scan(words: Sequence[str], facts: Facts | None) -> Sweep:
    """Return the addresses to sweep, in the order of the words; no words: every pool and every external IP.

    Raises ProvisionerError for a word that is none of IP, network, range and pool:NAME, and for too many addresses.
    """
    known = pools(facts)
    if not words:
        return _everything(known, assigned(facts))
    ranges = [found for word in words for found in _ranges(word, known)]
    return Sweep(_expand(ranges))


def _everything(known: Pools, external: Iterable[Address]) -> Sweep:
    notes, ranges = [], []
    for name, held in known.items():
        for one in held:
            if one.first.version == 6 and one.size > MOST:
                notes.append(
                    f"{one} of pool {name} is too large for a sweep; of it, only the addresses in use are asked for"
                )
            else:
                ranges.append(one)
    covered = [ip for ip in external if not any(ip in one for one in ranges)]
    ranges += [Range(ip, ip) for ip in covered]
    if not ranges:
        raise ProvisionerError(
            "no pool and no external IP is known here", "say which addresses: provisioner l2 scan 192.0.2.0/24"
        )
    return Sweep(_expand(ranges), tuple(notes))


def _ranges(word: str, known: Pools) -> tuple[Range, ...]:
    if word.startswith("pool:"):
        if word[5:] not in known:
            there = f"the pools are {', '.join(known)}" if known else "no pool is known: give --facts or hosts.toml"
            raise ProvisionerError(f"there is no pool {word[5:]!r}", there)
        return known[word[5:]]
    try:
        found = parse_range(word if set("/-") & set(word) else f"{word}-{word}")
    except ValueError as error:
        raise ProvisionerError(
            f"{word!r} is neither an address nor a range or network",
            "write 192.0.2.10, 192.0.2.10-192.0.2.20, 192.0.2.0/24 or pool:NAME",
        ) from error
    if "/" in word and (network := parse_network(word)).version == 4 and network.prefixlen < 31:
        # Nobody has a subnet's own address and its broadcast address; a pool may hold them all the same.
        found = Range(network[1], network[-2])
    return (found,)


def _expand(ranges: Sequence[Range]) -> tuple[Address, ...]:
    total = sum(one.size for one in ranges)
    if total > MOST:
        largest = max(ranges, key=lambda one: one.size)
        part = f"{largest.first}-{ip_address(int(largest.first) + 255)}"
        raise ProvisionerError(
            f"{total} addresses are too many for one scan (at most {MOST})",
            f"name a part, such as {part}, or only those in use: provisioner l2 check",
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
    """Return what to check: the addresses and services named; no words: every LoadBalancer service.

    Raises ProvisionerError for a word that is neither, and where no service is known.
    """
    services = facts.services if facts is not None else None
    chosen: list[Service] = []
    ips: list[Address] = []
    if not words:
        if services is None:
            raise ProvisionerError(
                "which services there are is not known here",
                "name addresses, or give --facts FILE (`provisioner l2 collect` writes it near the cluster)",
            )
        if not services:
            raise ProvisionerError(
                "there is no service of type LoadBalancer, so there is nothing to check",
                "name an address: provisioner l2 check 192.0.2.10",
            )
        chosen += services
    for word in words:
        try:
            ips.append(ip_address(word))
        except ValueError:
            chosen.append(_service(word, services))
    ips += [ip for service in chosen for ip in ingress(service)]
    pending = {service.key: service for service in chosen if not service.ingress_ips}
    return Targets(tuple(dict.fromkeys(ips)), tuple(pending.values()))


def _service(word: str, services: Sequence[Service] | None) -> Service:
    named = [service for service in services or () if word in (service.key, service.name)]
    if len(named) == 1:
        return named[0]
    if named:
        raise ProvisionerError(f"several services are called {word}", " or ".join(one.key for one in named))
    try:
        parse_range(word)
    except ValueError:
        pass
    else:
        raise ProvisionerError(f"{word} is more than one address", f"sweep it: provisioner l2 scan {word}")
    if services is None:
        raise ProvisionerError(
            f"{word!r} is no address, and which services there are is not known here",
            "give --facts FILE or hosts.toml",
        )
    there = ", ".join(service.key for service in services[:10]) or "none"
    raise ProvisionerError(
        f"{word!r} is neither an address nor a service of type LoadBalancer",
        f"write namespace/name; the services are {there}{' …' if len(services) > 10 else ''}",
    )

"""IP addresses, networks and ranges, IPv4 and IPv6, and whether they overlap."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class Range(NamedTuple):
    """The addresses from first to last, inclusive, of one family."""

    first: IPAddress
    last: IPAddress

    def __contains__(self, address: object) -> bool:
        """Return whether an address, as text or parsed, is in the range."""
        if isinstance(address, str):
            address = ipaddress.ip_address(address)
        if not isinstance(address, IPv4Address | IPv6Address) or address.version != self.first.version:
            return False
        return int(self.first) <= int(address) <= int(self.last)

    def overlaps(self, other: Range) -> bool:
        """Return whether the two share an address."""
        if self.first.version != other.first.version:
            return False
        return int(self.first) <= int(other.last) and int(other.first) <= int(self.last)

    @property
    def size(self) -> int:
        """Return the number of addresses."""
        return int(self.last) - int(self.first) + 1

    def ending_in(self, octet: int) -> int:
        """Return how many addresses have `octet` as their last eight bits, without listing them."""
        return (int(self.last) - octet) // 256 - (int(self.first) - 1 - octet) // 256

    def __str__(self) -> str:
        if self.first == self.last:
            return str(self.first)
        network: IPNetwork = ipaddress.ip_network(
            (self.first, self.first.max_prefixlen - self.size.bit_length() + 1), False
        )
        return str(network) if network_range(network) == self else f"{self.first}-{self.last}"


def network_range(network: IPNetwork) -> Range:
    """Return a network's addresses as a range, including the first and last, as MetalLB does."""
    return Range(network[0], network[-1])


# No host's own address (RFC 6890, RFC 4291), and what to say of one.
UNUSABLE = (
    (network_range(IPv4Network("0.0.0.0/32")), "is the unspecified address"),
    (network_range(IPv4Network("127.0.0.0/8")), "is a loopback address"),
    (network_range(IPv4Network("224.0.0.0/4")), "is a multicast address"),
    (network_range(IPv4Network("255.255.255.255/32")), "is the broadcast address"),
    (network_range(IPv6Network("::/128")), "is the unspecified address"),
    (network_range(IPv6Network("::1/128")), "is the loopback address"),
    (network_range(IPv6Network("ff00::/8")), "is a multicast address"),
)


def merge_ranges(ranges: Iterable[Range]) -> list[Range]:
    """Return the same addresses as sorted ranges that neither overlap nor touch."""
    merged: list[Range] = []
    for part in sorted(ranges, key=lambda part: (part.first.version, int(part.first))):
        last = merged[-1] if merged else None
        if last and last.first.version == part.first.version and int(part.first) <= int(last.last) + 1:
            merged[-1] = Range(last.first, part.last if int(part.last) > int(last.last) else last.last)
        else:
            merged.append(part)
    return merged


def subtract_ranges(ranges: Iterable[Range], removed: Iterable[Range]) -> list[Range]:
    """Return the addresses of `ranges` that are not in `removed`, merged."""
    left = merge_ranges(ranges)
    for hole in merge_ranges(removed):
        left = [rest for part in left for rest in _cut(part, hole)]
    return left


def _cut(part: Range, hole: Range) -> Iterator[Range]:
    """Yield the parts of a range before and after a hole."""
    if not part.overlaps(hole):
        yield part
        return
    if int(part.first) < int(hole.first):
        yield Range(part.first, hole.first - 1)
    if int(hole.last) < int(part.last):
        yield Range(hole.last + 1, part.last)


def why_unusable(ip: IPAddress, subnets: Iterable[IPNetwork] = ()) -> str:
    """Return why no host can have an address, as "is a multicast address"; "" if one can.

    subnets: those of the segment, whose broadcast addresses are no host's either.

    >>> why_unusable(ipaddress.ip_address("192.0.2.255"), [ipaddress.ip_network("192.0.2.0/24")])
    'is the broadcast address of 192.0.2.0/24'
    """
    if why := next((why for held, why in UNUSABLE if ip in held), ""):
        return why
    broadcast = (net for net in subnets if net.version == 4 and net.prefixlen < 31 and ip == net.broadcast_address)
    return next((f"is the broadcast address of {net}" for net in broadcast), "")


def parse_network(text: str) -> IPNetwork:
    """Parse "10.244.0.0/16"; raise ValueError, with a remedy, for anything else, host bits included."""
    form = 'use one such as "10.244.0.0/16"'
    prefix = text.rpartition("/")[2]
    if "/" not in text or not (prefix.isascii() and prefix.isdecimal()) or "%" in text:
        raise ValueError(f"is not a network in CIDR notation; {form}")
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError as error:
        raise ValueError(f"is not a network in CIDR notation; {form}") from error
    if interface.ip != interface.network.network_address:
        raise ValueError(f'has host bits set; use "{interface.network}"')
    return interface.network


def parse_range(text: str) -> Range:
    """Parse a network ("192.0.2.0/28") or a range ("192.0.2.10-192.0.2.20") of a pool; else raise ValueError."""
    form = 'use one such as "192.168.56.200-192.168.56.230" or "192.168.56.224/27"'
    if "/" in text and "-" not in text:
        return network_range(parse_network(text))
    first_text, dash, last_text = text.partition("-")
    if not dash:
        raise ValueError(f"is neither a range nor a network; {form}")
    try:
        first = ipaddress.ip_address(first_text.strip())
        last = ipaddress.ip_address(last_text.strip())
    except ValueError as error:
        completed = _completed(first_text.strip(), last_text.strip())
        remedy = f'write "{completed}"' if completed else form
        raise ValueError(f"is not an address range; {remedy}") from error
    if first.version != last.version or "%" in text:
        raise ValueError(f"is not an address range of one family; {form}")
    if int(last) < int(first):
        raise ValueError(f'ends before it begins; use "{last}-{first}"')
    return Range(first, last)


def _completed(first: str, last: str) -> str:
    """Return the whole range of one whose end has only its last octets, as in "192.0.2.200-230"; else ""."""
    octets, given = first.split("."), last.split(".")
    whole = ".".join([*octets[: 4 - len(given)], *given])
    try:
        return f"{ipaddress.IPv4Address(first)}-{ipaddress.IPv4Address(whole)}"
    except ValueError:
        return ""


def host_port(host: str, port: int) -> str:
    """Return "host:port", with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(text: str, default: int) -> tuple[str, int]:
    """Parse "host", "host:port", "IPv6" or "[IPv6]:port"; raise ValueError for an invalid port or an empty host."""
    try:
        return str(ipaddress.IPv6Address(text)), default
    except ValueError:
        pass
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("is not of the form [address]:port")
        try:
            host, colon, port_text = str(ipaddress.IPv6Address(host)), rest[:1], rest[1:]
        except ValueError:
            raise ValueError("is not of the form [address]:port") from None
    else:
        host, colon, port_text = text.partition(":")
    if not host:
        raise ValueError("has no host")
    if not colon:
        return host, default
    if not (port_text.isascii() and port_text.isdecimal() and 0 < int(port_text[:6]) < 65536):
        raise ValueError("has a port that is not a number from 1 to 65535")
    return host, int(port_text)

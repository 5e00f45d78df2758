"""`provisioner l2`: layer-2 verbs on the command line, thin over scan and owners."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from provisioner.errors import Inconclusive, ProvisionerError

if TYPE_CHECKING:
    from provisioner.l2.owners import Known
    from provisioner.l2.scan import Sweep
    from provisioner.session import Options
    from provisioner.site import Site

ASK_ABOVE = 1024  # addresses; at the default pace that is ten seconds
MOST = 65536


@click.group()
def l2() -> None:
    """Who answers for an external IP, seen from the wire.

    Questions are ARP requests that change nobody's neighbour cache. They need CAP_NET_RAW, and a machine on the
    cluster's segment that is no node.
    """


@l2.command()
@click.argument("targets", nargs=-1, metavar="[CIDR|RANGE|IP|pool:NAME]...")
@click.option("--interface", default="", metavar="IF", help="Ask from this interface. [default: the segment's]")
@click.option("--pps", default=200, show_default=True, help="Questions a second, at most 500.")
@click.option("--no-zero", is_flag=True, help="Do not ask from 0.0.0.0, for networks that inspect ARP.")
@click.option(
    "--timeout",
    default=1.0,
    type=click.FloatRange(1, 60),
    show_default=True,
    help="Seconds to listen after the last question.",
)
@click.option("-y", "--yes", is_flag=True, help=f"Do not ask before more than {ASK_ABOVE} addresses.")
@click.pass_obj
def scan(
    options: Options | None,
    targets: tuple[str, ...],
    *,
    interface: str,
    pps: int,
    no_zero: bool,
    timeout: float,
    yes: bool,
) -> None:
    """Sweep addresses: who owns each, which node, and which have two owners. Without any: every pool.

    Exit status: 0 done, 2 inconclusive, 1 an error.

    Example: provisioner l2 scan 192.168.56.200-192.168.56.230 --interface eth1
    """
    from provisioner.l2 import listing

    site = _site(options, needed=not targets or any(word.startswith("pool:") for word in targets))
    addresses = addresses_of(targets, site)
    if len(addresses) > ASK_ABOVE and not yes:
        click.confirm(f"Ask for {len(addresses)} addresses ({len(addresses) * 2 / pps:.0f} s)?", abort=True)
    try:
        result, known = _sweep(addresses, site, interface, pps=pps, zero=not no_zero, timeout=timeout)
    except Inconclusive as error:
        _inconclusive(str(error))
    rows = listing.rows(result, known)
    if options is not None and options.output == "json":
        click.echo(json.dumps(listing.report(result, rows, pps, site.metallb.pools if site else ()), indent=2))
    else:
        click.echo(listing.table(rows, len(result.targets)))
    if result.dropped:
        _inconclusive(f"the kernel dropped {result.dropped} frames here, so silence proves nothing; lower --pps")


def addresses_of(targets: Sequence[str], site: Site | None) -> list[IPv4Address]:
    """Return the IPv4 addresses that the words mean: an IP, a CIDR, a range, pool:NAME; no words: every pool."""
    from provisioner.addresses import Range, parse_network, parse_range

    pools = {pool.name: pool for pool in site.metallb.pools} if site else {}
    words = list(targets) or [f"pool:{name}" for name in pools]
    if not words:
        raise ProvisionerError("there is no pool in hosts.toml", "say which addresses: provisioner l2 scan CIDR")
    ranges: list[Range] = []
    for word in words:
        if word.startswith("pool:"):
            if word[5:] not in pools:
                raise ProvisionerError(f"there is no pool {word[5:]!r}", f"the pools are {', '.join(pools) or 'none'}")
            ranges += pools[word[5:]].ranges
            continue
        try:
            ranges.append(parse_range(word if set("/-") & set(word) else f"{word}-{word}"))
        except ValueError as error:
            raise ProvisionerError(
                f"{word!r} is neither an address nor a range or network",
                "write 192.0.2.10, 192.0.2.10-192.0.2.20, 192.0.2.0/24 or pool:NAME",
            ) from error
        if "/" in word and (network := parse_network(word)).version == 4 and network.prefixlen < 31:
            # Nobody has a subnet's own address and its broadcast address; a pool may hold them all the same.
            first, last = network[1], network[-2]
            ranges[-1] = Range(first, last)
    if any(item.first.version != 4 for item in ranges):
        raise ProvisionerError("a scan asks with ARP, which is for IPv4 only", "name IPv4 addresses")
    if (total := sum(item.size for item in ranges)) > MOST:
        raise ProvisionerError(f"{total} addresses are too many for one scan", f"name at most {MOST}")
    found = (IPv4Address(number) for item in ranges for number in range(int(item.first), int(item.last) + 1))
    return list(dict.fromkeys(found))


def _site(options: Options | None, *, needed: bool) -> Site | None:
    """Return the site; None where there is no hosts.toml and nothing asked for needs it."""
    path = options.file if options is not None else Path("hosts.toml")
    if not needed and not path.exists():
        return None
    from provisioner import site

    return site.load(path)


def _sweep(
    addresses: Sequence[IPv4Address], site: Site | None, name: str, *, pps: int, zero: bool, timeout: float
) -> tuple[Sweep, Known]:
    from provisioner.l2 import interfaces, owners
    from provisioner.l2.scan import scan as sweep

    here = interfaces.read()
    interface = interfaces.choose(here, addresses, name)
    nodes = {host.name: host.address for host in site.hosts} if site else {}
    held = {str(own.ip) for one in here for own in one.addresses}
    for node, address in nodes.items():
        if address in held:
            raise Inconclusive(f"this machine is the node {node}", "ask from a machine on the segment that is none")
    near = [address for address in map(_ipv4, nodes.values()) if address and interface.reaches(address)]
    result = sweep([*addresses, *near], interface, pps=pps, zero=zero, tail=timeout)
    known = owners.Known(by_arp=owners.from_answers(result.answers, nodes))
    return result.only(addresses), known


def _ipv4(text: str) -> IPv4Address | None:
    return IPv4Address(text) if ":" not in text else None


def _inconclusive(message: str) -> NoReturn:
    click.echo(f"inconclusive: {message}", err=True)
    sys.exit(2)

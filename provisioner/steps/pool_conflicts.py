"""Ask, from a host on the segment, which addresses of the pools are already somebody's.

The kernel's own neighbour discovery is used (a datagram to the discard port makes it ask), so that nothing has to
be installed on a blank machine and no raw socket is needed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from itertools import islice

from provisioner.addresses import Range
from provisioner.site import Site
from provisioner.ssh import Host

MOST_ADDRESSES = 1024  # of a family; more do not fit into a kernel's neighbour table (gc_thresh3 in arp(7))
_IPVS = "kube-ipvs0"

# Linux asks three times at one-second intervals (by ARP or by neighbour solicitation), then marks the entry FAILED.
# What the host itself knew of these addresses is forgotten first: an answer of half a minute ago must not count as
# one of now.
_SCRIPT = """
nic=$1; shift
for ip; do echo "neigh flush to $ip dev $nic"; done | ip -force -batch - >/dev/null 2>&1 || true
for ip; do (: > "/dev/udp/$ip/9") 2>/dev/null || true; printf x > "/dev/udp/$ip/9" 2>/dev/null || true; done
for _ in $(seq 20); do
  ip neigh show dev "$nic" | grep -Eq "INCOMPLETE|DELAY|PROBE" || break
  sleep 0.5
done
ip neigh show dev "$nic"
"""


def pool_conflicts(host: Host, ranges: Sequence[Range]) -> list[str]:
    """Return a sentence for each address of the pools' ranges that a machine other than the site's hosts answers for.

    Asked are the addresses in the host's own networks, MOST_ADDRESSES of a family; that there are more is reported.
    """
    nic = host.facts.address_nic(host.spec.address)
    if nic is None:
        return []
    asked: dict[str, None] = {}
    for version in (4, 6):
        found = dict.fromkeys(islice(_addresses(ranges, nic.addresses, version), MOST_ADDRESSES + 1))
        if len(found) > MOST_ADDRESSES:
            found.popitem()
            sentence = f"only the first {MOST_ADDRESSES} of the pools' IPv{version} addresses on {nic.name} are asked"
            host.report.emit("note", f"{sentence} who has them", host=host.name)
        asked |= found
    if not asked:
        return []
    known = {nic.mac.lower() for facts in host.reachable_facts().values() for nic in facts.nics}
    command = f"bash -c '{_SCRIPT}' scan {nic.name} {' '.join(asked)}"
    answer = host.run(command, timeout=30).stdout
    return [
        f"{address} of the MetalLB pool is in use by {mac}: take it out of metallb.pools, or that machine off it"
        for address, mac in _owners(answer)
        if address in asked and mac.lower() not in known
    ]


def pool_addresses_of(host: Host, site: Site) -> list[str]:
    """Return a sentence for each pool address that this host itself carries, as it does a VIP of keepalived's."""
    if not site.metallb.enabled:
        return []
    ranges = [(first, last) for pool in site.metallb.pools for first, last in pool.ranges]
    carried = [
        (nic.name, ipaddress.ip_interface(text).ip)
        for nic in host.facts.nics
        if nic.name != _IPVS  # where kube-proxy keeps the addresses of Services in its ipvs mode
        for text in nic.addresses
    ]
    return [
        f"{address} of the MetalLB pool is on its own NIC {name}: take it out of metallb.pools, or off the NIC"
        for name, address in carried
        if any(int(first) <= int(address) <= int(last) for first, last in ranges if first.version == address.version)
    ]


def _addresses(ranges: Sequence[Range], on_nic: tuple[str, ...], version: int) -> Iterator[str]:
    """Yield a family's addresses of the ranges that lie in a network of the NIC; a whole /8 of IPv6 costs nothing."""
    networks = [network for text in on_nic if (network := ipaddress.ip_interface(text).network).version == version]
    for first, last in (part for part in ranges if part.first.version == version):
        for network in networks:
            begin = max(int(first), int(network.network_address))
            end = min(int(last), int(network.broadcast_address))
            yield from (str(type(first)(number)) for number in range(begin, end + 1))


def _owners(answer: str) -> list[tuple[str, str]]:
    """Return (address, mac) of the entries of `ip neigh show` that somebody answered for."""
    found = []
    for line in answer.splitlines():
        words = line.split()
        if "lladdr" in words and words[-1] not in ("FAILED", "INCOMPLETE"):
            found.append((words[0], words[words.index("lladdr") + 1]))
    return found

"""Ask, from a host on the segment, which addresses of the pools are already somebody's.

The kernel's own neighbour discovery is used (a datagram to the discard port makes it ask), so that nothing has to
be installed on a blank machine and no raw socket is needed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioner.host import Host
    from provisioner.site import Site

MOST_ADDRESSES = 1024  # more do not fit into a kernel's neighbour table (gc_thresh3 in arp(7))
_IPVS = "kube-ipvs0"

# IPv4 only in its first form: Linux asks three times at one-second intervals, then marks the entry FAILED. What the
# host itself knew of these addresses is forgotten first: an answer of half a minute ago must not count as one of now.
_SCRIPT = """
nic=$1; shift
for ip; do echo "neigh flush to $ip dev $nic"; done | ip -force -batch - >/dev/null 2>&1 || true
for ip; do (: > "/dev/udp/$ip/9") 2>/dev/null || true; printf x > "/dev/udp/$ip/9" 2>/dev/null || true; done
for _ in $(seq 20); do
  ip -4 neigh show dev "$nic" | grep -Eq "INCOMPLETE|DELAY|PROBE" || break
  sleep 0.5
done
ip -4 neigh show dev "$nic"
"""


def pool_conflicts(host: Host, site: Site) -> list[str]:
    """Return a sentence for each pool address that a machine other than the site's hosts answers for."""
    nic = host.facts.address_nic(host.spec.address)
    if nic is None or not site.metallb.enabled:
        return []
    asked = dict.fromkeys(islice(_addresses(site, nic.addresses), MOST_ADDRESSES + 1))
    if not asked:
        return []
    if len(asked) > MOST_ADDRESSES:
        asked.popitem()
        sentence = f"only the first {MOST_ADDRESSES} of the pools' addresses on {nic.name} are asked who has them"
        host.report.emit("note", sentence, host=host.name)
    known = {nic.mac.lower() for facts in host.known_facts().values() for nic in facts.nics}
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


def _addresses(site: Site, on_nic: tuple[str, ...]) -> Iterator[str]:
    """Yield the pools' IPv4 addresses that lie in a network of the NIC; a whole /8 of IPv6 costs nothing."""
    networks = [network for text in on_nic if (network := ipaddress.ip_interface(text).network).version == 4]
    for pool in site.metallb.pools:
        for first, last in pool.ranges:
            for network in networks if first.version == 4 else ():
                begin = max(int(first), int(network.network_address))
                end = min(int(last), int(network.broadcast_address))
                yield from (str(ipaddress.IPv4Address(number)) for number in range(begin, end + 1))


def _owners(answer: str) -> list[tuple[str, str]]:
    """Return (address, mac) of the entries of `ip neigh show` that somebody answered for."""
    found = []
    for line in answer.splitlines():
        words = line.split()
        if "lladdr" in words and words[-1] not in ("FAILED", "INCOMPLETE"):
            found.append((words[0], words[words.index("lladdr") + 1]))
    return found

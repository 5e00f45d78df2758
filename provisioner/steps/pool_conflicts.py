"""Part of the steps preflight and pools: which addresses of the pools are in use on the segment, probed from a host.

A datagram to the discard port makes the host's kernel resolve the address, by ARP or neighbor discovery. This needs no
raw socket, and nothing to be installed on a blank machine.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from provisioner.addresses import Range
from provisioner.site import Site
from provisioner.ssh import Host

MAX_ADDRESSES = 1024  # of an IP version; the kernel's neighbor table holds no more (gc_thresh3 in arp(7))
_IPVS = "kube-ipvs0"

# Linux sends three solicitations at one-second intervals, then marks the entry FAILED. Existing entries are flushed
# first: an answer of half a minute ago must not count.
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
    """Return a sentence for each address of these ranges that answers from a MAC of none of the site's hosts.

    Probes the addresses in the host's own networks, at most MAX_ADDRESSES of an IP version, and reports if more exist.
    """
    nic = host.facts.address_nic(host.spec.address)
    if nic is None:
        return []
    probed: dict[str, None] = {}
    for version in (4, 6):
        found = dict.fromkeys(islice(_addresses(ranges, nic.addresses, version), MAX_ADDRESSES + 1))
        if len(found) > MAX_ADDRESSES:
            found.popitem()
            note = f"probed only the first {MAX_ADDRESSES} of the pools' IPv{version} addresses on {nic.name}"
            host.report.emit("note", note, host=host.name)
        probed |= found
    if not probed:
        return []
    known = known_macs(host)
    return [
        f"{address} of the MetalLB pools is in use by {mac}: remove it from metallb.pools or from that machine"
        for address, mac in in_use(host, nic.name, probed).items()
        if mac.lower() not in known
    ]


def in_use(host: Host, nic: str, addresses: Collection[str]) -> dict[str, str]:
    """Return the MAC that answers for each address in use on the segment of a host's NIC; at most MAX_ADDRESSES."""
    answer = host.run(question(nic, addresses), timeout=30).stdout
    return {address: mac for address, mac in owners(answer) if address in addresses}


def known_macs(host: Host) -> set[str]:
    """Return the MACs of the site's hosts, as far as they answer."""
    return {nic.mac.lower() for facts in host.reachable_facts().values() for nic in facts.nics}


def question(nic: str, addresses: Iterable[str]) -> str:
    """Return the command that asks on a NIC who has these addresses, and prints the neighbor table."""
    return f"bash -c '{_SCRIPT}' scan {shlex.quote(nic)} {' '.join(addresses)}"


def pool_addresses_of(host: Host, site: Site) -> list[str]:
    """Return a sentence for each pool address that is on a NIC of this host, such as a VIP of keepalived."""
    if not site.metallb.enabled:
        return []
    ranges = [(first, last) for pool in site.metallb.pools for first, last in pool.ranges]
    own = [
        (nic.name, ipaddress.ip_interface(text).ip)
        for nic in host.facts.nics
        if nic.name != _IPVS  # in ipvs mode, kube-proxy assigns the Services' addresses to it
        for text in nic.addresses
    ]
    return [
        f"{address} of the MetalLB pools is on its NIC {name}: remove it from metallb.pools or from the NIC"
        for name, address in own
        if any(int(first) <= int(address) <= int(last) for first, last in ranges if first.version == address.version)
    ]


def _addresses(ranges: Sequence[Range], on_nic: tuple[str, ...], version: int) -> Iterator[str]:
    """Yield the addresses of the ranges that are in a network of the NIC; lazily, since a range may be an IPv6 /8."""
    networks = [network for text in on_nic if (network := ipaddress.ip_interface(text).network).version == version]
    for first, last in (part for part in ranges if part.first.version == version):
        for network in networks:
            begin = max(int(first), int(network.network_address))
            end = min(int(last), int(network.broadcast_address))
            yield from (str(type(first)(number)) for number in range(begin, end + 1))


def owners(answer: str) -> list[tuple[str, str]]:
    """Return (address, MAC) of the resolved entries of `ip neigh show`."""
    found = []
    for line in answer.splitlines():
        words = line.split()
        if "lladdr" in words[1:-1] and words[-1] not in ("FAILED", "INCOMPLETE"):
            found.append((words[0], words[words.index("lladdr") + 1]))
    return found

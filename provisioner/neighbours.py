"""Ask, from a host on the segment, which addresses of the pools are already somebody's.

The kernel's own neighbour discovery is used (a datagram to the discard port makes it ask), so that nothing has to
be installed on a blank machine and no raw socket is needed.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioner.host import Host
    from provisioner.site import Site

MOST_ADDRESSES = 1024

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
    wanted = _addresses(site, nic.addresses)
    if not wanted:
        return []
    known = {nic.mac.lower() for other in host.fleet.values() for nic in other.facts.nics}
    command = f"bash -c '{_SCRIPT}' scan {nic.name} {' '.join(wanted)}"
    answer = host.run(command, timeout=30).stdout
    return [
        f"{address} of the MetalLB pool is in use by {mac}: take it out of metallb.pools, or that machine off it"
        for address, mac in _owners(answer)
        if address in wanted and mac.lower() not in known
    ]


def _addresses(site: Site, on_nic: tuple[str, ...]) -> dict[str, None]:
    networks = [ipaddress.ip_interface(address).network for address in on_nic]
    found: dict[str, None] = {}
    for pool in site.metallb.pools:
        for first, last in pool.ranges:
            for number in range(int(first), int(last) + 1):
                address = type(first)(number)
                if address.version == 4 and any(address in network for network in networks):
                    found[str(address)] = None
                if len(found) >= MOST_ADDRESSES:
                    return found
    return found


def _owners(answer: str) -> list[tuple[str, str]]:
    """Return (address, mac) of the entries of `ip neigh show` that somebody answered for."""
    found = []
    for line in answer.splitlines():
        words = line.split()
        if "lladdr" in words and words[-1] not in ("FAILED", "INCOMPLETE"):
            found.append((words[0], words[words.index("lladdr") + 1]))
    return found

"""Part of the step preflight: whether the vip is free, asked on the segment before keepalived is installed.

The host's kernel asks for the address, as for those of the pools. VRRP is listened for with Perl, since perl-base is
on every Debian machine: a master advertises itself once a second, so four seconds show it.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from provisioner.addresses import why_unusable
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps import vip
from provisioner.steps.pool_conflicts import known_macs, owners, question

SECONDS = 4
# A packet socket (packet(7)) sees the frames of IPv4 and IPv6 with their MACs. Values of <linux/if_packet.h>:
# PF_PACKET 17, ETH_P_ALL 3, SOL_PACKET 263, PACKET_ADD_MEMBERSHIP 1, PACKET_MR_ALLMULTI 2. For switches with MLD
# snooping it joins VRRP's group (RFC 9568, 5.1.2.3: ff02::12): IPPROTO_IPV6 41, IPV6_JOIN_GROUP 20. VRRP and CARP
# are protocol 112, and have version, type and group in their first two bytes.
_LISTENER = r"""
my ($nic, $seconds) = @ARGV;
open(my $file, "<", "/sys/class/net/$nic/ifindex") or die; my $index = <$file> + 0;
socket(my $wire, 17, 3, unpack("S", pack("n", 3))) or die;
bind($wire, pack("SnlSCCa8", 17, 3, $index, 0, 0, 0, "")) or die;
setsockopt($wire, 263, 1, pack("lSSa8", $index, 2, 0, "")) or die;
if (socket(my $join, 10, 2, 17)) { setsockopt($join, 41, 20, pack("H32l", "ff02" . "0" x 26 . "12", $index)); }
my $end = time + $seconds;
while ((my $left = $end - time) > 0) {
  my $bits = ""; vec($bits, fileno($wire), 1) = 1;
  next unless select($bits, undef, undef, $left) > 0 and defined recv($wire, my $frame, 2048, 0);
  my $type = unpack("n", substr($frame, 12, 2));
  my ($source, $start);
  if ($type == 0x0800 and length($frame) > 36 and ord(substr($frame, 23, 1)) == 112) {
    $source = join(".", unpack("C4", substr($frame, 26, 4))); $start = 14 + 4 * (ord(substr($frame, 14, 1)) & 15);
  } elsif ($type == 0x86dd and length($frame) > 56 and ord(substr($frame, 20, 1)) == 112) {
    $source = join(":", unpack("(H4)8", substr($frame, 22, 16))); $start = 54;
  } else { next; }
  next if length($frame) < $start + 3;
  my ($version, $group) = unpack("CC", substr($frame, $start, 2));
  next unless ($version & 15) == 1;
  print "vrrp ", join(":", unpack("(H2)6", substr($frame, 6, 6))), " $source $group\n";
}
print "vrrp listened\n";
"""


class Advert(NamedTuple):
    """An advertisement of a virtual router: its sender's MAC and address, and its group (VRID)."""

    mac: str
    source: str
    group: int


def vip_problems(host: Host, site: Site) -> Iterator[str]:
    """Yield a sentence for a vip that is not on this control plane's segment, and for another keepalived."""
    if not (site.cluster.vip and host.spec.is_control_plane):
        return
    address, nic = ipaddress.ip_address(site.cluster.vip), host.facts.address_nic(host.spec.address)
    if nic is not None:  # else preflight says so
        own = ipaddress.ip_address(host.spec.address)
        networks = [ipaddress.ip_interface(text) for text in nic.addresses]
        network = next(interface.network for interface in networks if interface.ip == own)
        where = f"choose a free address of {network} for cluster.vip"
        if address not in network:
            yield f"the vip {address} is not in {network}, the network of {host.spec.address}: {where}"
        elif why := why_unusable(address, [network]):
            yield f"the vip {address} {why}: {where}"
    found = host.facts.files[vip.CONFIG]
    if found.exists and not (found.content or "").startswith(vip.MARK):
        yield (
            f"has a {vip.CONFIG} of its own, which cluster.vip would replace: remove keepalived there, or remove vip "
            "and set endpoint to the address that it holds"
        )


def vip_conflicts(host: Host, site: Site) -> list[str]:
    """Return a sentence if another machine answers for the vip or uses its VRRP number; takes some seconds.

    Asks nothing while one of the hosts has the address already.
    """
    address, nic = site.cluster.vip, host.facts.address_nic(host.spec.address)
    if not address or nic is None or any(facts.address_nic(address) for facts in host.reachable_facts().values()):
        return []
    known = known_macs(host)
    answer = host.run(f"{listener(nic.name)} & {question(nic.name, [address])}; wait", timeout=30).stdout
    found = [
        f"the vip {address} is in use by {mac}: choose a free address for cluster.vip, or remove it from that machine"
        for owned, mac in owners(answer)
        if owned == address and mac.lower() not in known
    ]
    if "vrrp listened" not in answer.splitlines():
        host.report.emit("note", "VRRP could not be listened for: Perl failed or is missing", host=host.name)
    heard = [advert for advert in adverts(answer) if advert.mac not in known]
    used = {advert.group for advert in heard}
    router_id, version = site.cluster.router_id, ipaddress.ip_address(address).version
    clashes = (one for one in heard if one.group == router_id and ipaddress.ip_address(one.source).version == version)
    if clash := next(clashes, None):
        free = next((number for number in range(1, 256) if number not in used), None)
        remedy = f"set vip_router_id = {free} under [cluster]" if free else "all 255 are: find out who sends them"
        found.append(f"the VRRP number {router_id} of the vip is in use by {clash.mac} ({clash.source}): {remedy}")
    return found


def listener(nic: str) -> str:
    """Return the command that prints "vrrp MAC SOURCE GROUP" for each advertisement that it hears on a NIC."""
    return f"perl -e {shlex.quote(_LISTENER)} {shlex.quote(nic)} {SECONDS}"


def adverts(answer: str) -> list[Advert]:
    """Return the advertisements in the listener's output, each sender and group once."""
    found: dict[Advert, None] = {}
    for line in answer.splitlines():
        with suppress(ValueError):  # whatever else the host prints
            word, mac, source, group = line.split()
            if word == "vrrp":
                found[Advert(mac, str(ipaddress.ip_address(source)), int(group))] = None
    return [*found]

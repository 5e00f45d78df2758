"""Part of the step preflight: what hosts.toml may say but hardly means, told before the cluster is made."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface

from provisioner.addresses import network_range
from provisioner.catalogue import newest_patches
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.version import Version


def notes(host: Host, site: Site) -> Iterator[str]:
    """Yield a sentence for each; a network that is routed here, or a release of tomorrow, may be meant."""
    newest = newest_patches().get(site.version.minor_text, "")
    if newest and site.version > Version.parse(newest):
        yield (
            f"Kubernetes {site.version} is newer than any that this release of provisioner knows ({newest}); "
            f'if it is a mistake: kubernetes = "{newest}"'
        )
    nic = host.facts.address_nic(host.spec.address)
    own = [ip_interface(text) for text in nic.addresses] if nic is not None else []
    networks = [each.network for each in own if not each.is_link_local]
    for pool in site.metallb.pools if site.metallb.enabled and networks else ():
        for part in pool.ranges:
            same = [network for network in networks if network.version == part.first.version]
            if same and not any(network_range(network).overlaps(part) for network in same):
                yield (
                    f"pool {pool.name} ({part}) is outside of the hosts' network {same[0]}: its addresses answer only "
                    "where a route to them leads here; for machines of this segment take addresses of that network"
                )

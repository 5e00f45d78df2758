"""The facts in hosts.toml, which are all that is known while the cluster is not contacted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.l2.facts import Facts, Node, Pool

if TYPE_CHECKING:
    from provisioner.site import Site


def site_facts(site: Site) -> Facts:
    """Return the facts in hosts.toml: the nodes' addresses and the pools. All others are unknown."""
    return Facts(
        nodes=tuple(Node(name=host.name, internal_ips=(host.address,)) for host in site.hosts),
        pools=tuple(
            Pool(
                name=pool.name,
                addresses=pool.addresses,
                auto_assign=pool.auto_assign,
                avoid_buggy_ips=pool.avoid_buggy_ips,
            )
            for pool in site.metallb.pools
        ),
    )

"""Which addresses MetalLB's pools can assign, and whether they suffice for the Services that have some."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object, address_pools
from provisioner.steps import pools
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import load_balancer
from tests.unit.steps.doubles import site_at

OLD = 'kubernetes = "1.20.2"'
HIDDEN = """
[[metallb.pools]]
name = "hidden"
addresses = ["192.168.56.240-192.168.56.249"]
auto_assign = false
"""
BUGGY = """
[[metallb.pools]]
name = "buggy"
addresses = ["192.168.55.252-192.168.56.1"]
avoid_buggy_ips = true
"""


def many(number: int, **asking: str) -> list[Object]:
    """Return Services whose addresses are in no pool."""
    return [load_balancer(f"s{n}", f"192.168.60.{n}", **asking) for n in range(1, number + 1)]


@pytest.mark.parametrize(
    ("rest", "services", "said"),
    [
        # lab has 4; a pool without auto_assign does not count.
        (HIDDEN, many(5), "5 IPv4 addresses from auto_assign pools, .* only 4"),
        (HIDDEN, many(4), ""),
        # Its own 10 suffice for ten Services that request it.
        (HIDDEN, many(10, address_pool="hidden"), ""),
        (HIDDEN, many(11, address_pool="hidden"), "11 IPv4 addresses of pool hidden, .* only 10"),
        (HIDDEN, [load_balancer("kept", "192.168.56.240"), *many(4)], ""),
        (HIDDEN, [load_balancer("kept", "192.168.56.200"), *many(4)], "5 IPv4 addresses .* only 4"),
        # 192.168.55.252 to .254 and 192.168.56.1, but not .255 and .0.
        (BUGGY, many(8), ""),
        (BUGGY, many(9), "9 IPv4 addresses .* only 8"),
        (
            BUGGY,
            [load_balancer("asks", "192.168.56.0", loadBalancerIPs="192.168.56.0")],
            "which is in no pool of hosts.toml",
        ),
    ],
)
def test_pools_too_small_for_the_services(tmp_path: Path, rest: str, services: list[Object], said: str) -> None:
    of_site = address_pools.site_pools(site_at(tmp_path, OLD, rest))
    if not said:
        address_pools.refuse_address_loss(services, of_site)
        return
    with pytest.raises(ClusterError, match=said) as raised:
        address_pools.refuse_address_loss(services, of_site)
    assert raised.value.remedy


def test_the_config_map_of_metallb_below_0_13_counts_as_pools(tmp_path: Path) -> None:
    site = site_at(tmp_path, OLD)
    config: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config", "namespace": "metallb-system"},
        "data": {"config": pools.old_configuration(site)},
    }
    cluster = FakeCluster(config)
    assert address_pools.new_ranges(cast(Cluster, cluster), site) == []
    assert address_pools.new_ranges(cast(Cluster, FakeCluster()), site) == list(site.metallb.pools[0].ranges)

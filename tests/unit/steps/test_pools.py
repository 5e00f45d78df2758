"""The pools step: what MetalLB is given, in which order, and that no Service stays behind or loses its address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import yaml

from provisioner.addresses import parse_range
from provisioner.errors import ClusterError, HostError
from provisioner.kube import ApiState, Cluster, Object
from provisioner.steps import pool_supply, pools
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import HOSTS, RecordingHost, carry_out, drain, fleet_for, site_at

OLD = 'kubernetes = "1.20.2"'
CONTROLLER: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "controller", "namespace": "metallb-system", "generation": 1},
    "spec": {"replicas": 1},
    "status": {"observedGeneration": 1, "updatedReplicas": 1, "readyReplicas": 1},
}
POD: Object = {
    "kind": "Pod",
    "metadata": {
        "name": "controller-1",
        "namespace": "metallb-system",
        "labels": {"app": "metallb", "component": "controller"},
    },
}


def machine(tmp_path: Path, cluster: str = OLD, rest: str = "") -> RecordingHost:
    return fleet_for(pools.STEP, site_at(tmp_path, cluster, rest))["master"]


def ours(kind: str, name: str, **spec: object) -> Object:
    return {
        "apiVersion": "metallb.io/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "metallb-system", "managedFields": [{"manager": "provisioner"}]},
        "spec": spec,
    }


def service(name: str, *ips: str, **annotations: str) -> Object:
    return {
        "kind": "Service",
        "metadata": {
            "namespace": "course",
            "name": name,
            "annotations": {
                f"metallb.universe.tf/{key.replace('_', '-')}": value for key, value in annotations.items()
            },
        },
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}},
    }


POOLS = """
[[metallb.pools]]
name = "slow"
addresses = ["192.168.56.240/30", "192.168.56.250-192.168.56.251"]
auto_assign = false
avoid_buggy_ips = true
interfaces = ["eth1"]
"""


def test_pools(tmp_path: Path) -> None:
    first, second, third, fourth = pools.wanted(site_at(tmp_path, OLD, POOLS))
    assert first["kind"] == third["kind"] == "IPAddressPool"
    assert second["kind"] == fourth["kind"] == "L2Advertisement"
    assert first["spec"] == {
        "addresses": ["192.168.56.200-192.168.56.203"],
        "autoAssign": True,
        "avoidBuggyIPs": False,
    }
    assert third["metadata"] == {"name": "slow", "namespace": "metallb-system"}
    assert third["spec"] == {
        "addresses": ["192.168.56.240/30", "192.168.56.250-192.168.56.251"],
        "autoAssign": False,
        "avoidBuggyIPs": True,
    }
    assert fourth["spec"] == {"ipAddressPools": ["slow"], "interfaces": ["eth1"]}


def test_pools_are_applied_once(tmp_path: Path) -> None:
    host, cluster = machine(tmp_path), FakeCluster()
    assert carry_out(pools.STEP, host, cluster) == [
        "apply IPAddressPool metallb-system/lab",
        "apply L2Advertisement metallb-system/lab",
    ]
    assert drain(pools.STEP, host, cluster) == []


@pytest.mark.parametrize(
    ("said", "waited"),
    [
        ('Internal error occurred: failed calling webhook "x": Post "https://y": connection refused (500)', True),
        ('no endpoints available for service "webhook-service" (500)', True),
        ("x509: certificate signed by unknown authority (500)", True),
        ('admission webhook "x" denied the request: CIDR overlaps (403)', False),
        ('IPAddressPool.metallb.io "lab" is invalid: spec.addresses (422)', False),
    ],
)
def test_a_webhook_to_come_is_waited_for_and_a_refusal_is_told(tmp_path: Path, said: str, waited: bool) -> None:
    host, cluster = machine(tmp_path), FakeCluster()

    def refuse(*_: object, **__: object) -> Object:
        raise ClusterError(f"the API refused to apply: {said}")

    cluster.apply = refuse  # type: ignore[method-assign]

    def wait(what: str, look: Callable[[], object], *_: object) -> object:
        try:
            return look()
        except ClusterError as error:
            raise ClusterError(f"waited for {what} ({error})") from error

    cluster.wait = wait  # type: ignore[method-assign, assignment]
    with pytest.raises(ClusterError) as raised:
        carry_out(pools.STEP, host, cluster)
    assert str(raised.value).startswith("waited for the webhook to accept IPAddressPool") is waited
    assert said in str(raised.value)
    assert drain(pools.STEP, host, cluster), "and it is still to do"


def test_a_silent_api_is_no_plan(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="does not answer"):
        drain(pools.STEP, machine(tmp_path), FakeCluster(api=ApiState.UNREACHABLE))


def test_a_pool_that_hosts_toml_names_no_more_goes_and_only_ours(tmp_path: Path) -> None:
    theirs = ours("IPAddressPool", "by-hand", addresses=["192.168.56.90-192.168.56.91"])
    theirs["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    cluster = FakeCluster(
        ours("IPAddressPool", "old", addresses=["192.168.56.100-192.168.56.103"]),
        ours("L2Advertisement", "old"),
        theirs,
    )
    assert carry_out(pools.STEP, machine(tmp_path), cluster)[:2] == [
        "remove L2Advertisement metallb-system/old, which hosts.toml does not name",
        "remove IPAddressPool metallb-system/old, which hosts.toml does not name",
    ]
    assert cluster.deleted == [
        ("L2Advertisement", "metallb-system", "old"), ("IPAddressPool", "metallb-system", "old")
    ]  # fmt: skip
    assert drain(pools.STEP, machine(tmp_path), cluster) == []


def test_a_pool_that_gives_addresses_away_comes_first(tmp_path: Path) -> None:
    giving = '[[metallb.pools]]\nname = "z"\naddresses = ["192.168.56.240/30"]'
    cluster = FakeCluster(ours("IPAddressPool", "z", addresses=["192.168.56.240/30", "192.168.56.200-192.168.56.203"]))
    done = carry_out(pools.STEP, machine(tmp_path, rest=giving), cluster)
    assert done[0] == "apply IPAddressPool metallb-system/z"
    assert "apply IPAddressPool metallb-system/lab" in done[1:]


def test_a_range_that_shrinks_is_no_new_range(tmp_path: Path) -> None:
    """z keeps the upper half of what it had, written in other words; lab takes the lower half."""
    shrunk = '[[metallb.pools]]\nname = "z"\naddresses = ["192.168.56.204-192.168.56.207"]'
    had = ["192.168.56.200-192.168.56.205", "192.168.56.206/31"]
    cluster = FakeCluster(ours("IPAddressPool", "z", addresses=had))
    done = carry_out(pools.STEP, machine(tmp_path, rest=shrunk), cluster)
    assert done[0] == "apply IPAddressPool metallb-system/z"
    assert "apply IPAddressPool metallb-system/lab" in done[1:]


def test_joined_ranges() -> None:
    texts = [
        "192.0.2.8/31",
        "192.0.2.0-192.0.2.5",
        "192.0.2.4-192.0.2.4",
        "192.0.2.6/31",
        "fd00::/127",
        "192.0.2.20/32",
    ]
    joined = pool_supply.joined(parse_range(text) for text in texts)
    assert [str(one) for one in joined] == ["192.0.2.0-192.0.2.9", "192.0.2.20", "fd00::/127"]


def test_a_service_on_a_pool_made_by_hand_stays_there(tmp_path: Path) -> None:
    theirs = ours("IPAddressPool", "by-hand", addresses=["192.168.56.90/28", "nonsense"])
    theirs["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    cluster = FakeCluster(
        theirs,
        service("there", "192.168.56.91"),
        service("asking", "192.168.56.92", loadBalancerIPs="192.168.56.92"),
        service("naming", "192.168.56.93", address_pool="by-hand"),
        *(service(str(n), f"192.168.56.{80 + n}") for n in range(4)),
    )
    done = carry_out(pools.STEP, machine(tmp_path), cluster)
    assert not [text for text in done if "move" in text]


def test_a_plan_is_told_although_the_webhook_still_sees_the_old_pool(tmp_path: Path) -> None:
    cluster = FakeCluster(ours("IPAddressPool", "old", addresses=["192.168.56.200-192.168.56.203"]))
    judge = cluster.diff

    def overlapping(manifest: Object) -> str:
        if manifest["kind"] == "IPAddressPool" and "old" in cluster.names("IPAddressPool"):
            raise ClusterError(
                'denied the request: CIDR "x" in pool "lab" overlaps with already defined CIDR "x" (403)'
            )
        return judge(manifest)

    cluster.diff = overlapping  # type: ignore[method-assign, assignment]
    planned = [change.summary for change in drain(pools.STEP, machine(tmp_path), cluster)]
    assert planned == carry_out(pools.STEP, machine(tmp_path), cluster)
    assert planned == [
        "remove IPAddressPool metallb-system/old, which hosts.toml does not name",
        "apply IPAddressPool metallb-system/lab",
        "apply L2Advertisement metallb-system/lab",
    ]


def test_a_service_outside_of_the_pools_is_moved(tmp_path: Path) -> None:
    stays, moves = service("stays", "192.168.56.201"), service("moves", "192.168.56.100")
    cluster = FakeCluster(stays, moves, CONTROLLER, POD)
    cluster.on_delete = lambda kind, name: cluster.hold(service("moves", "192.168.56.202"))
    assert carry_out(pools.STEP, machine(tmp_path), cluster)[-1] == (
        "move to the pools: course/moves (192.168.56.100); MetalLB's controller restarts for it"
    )
    assert cluster.deleted == [("Pod", "metallb-system", "controller-1")]
    assert drain(pools.STEP, machine(tmp_path), cluster) == []


def test_a_service_that_gets_no_new_address_is_an_error_with_its_events(tmp_path: Path) -> None:
    cluster = FakeCluster(service("moves", "192.168.56.100"), CONTROLLER)
    with pytest.raises(ClusterError, match="an address of the pools for Service course/moves") as raised:
        carry_out(pools.STEP, machine(tmp_path), cluster)
    assert "course/moves" in raised.value.tail


@pytest.mark.parametrize(
    ("stranded", "said"),
    [
        ([service("a", "192.168.56.100", loadBalancerIPs="192.168.56.100")], "asks for 192.168.56.100, which no pool"),
        (
            [service("a", "192.168.56.100", address_pool="old")],
            "asks for the pool old, which hosts.toml does not name",
        ),
        ([service(str(n), f"192.168.56.{100 + n}") for n in range(5)], "5 external IPv4 addresses .* hold 4"),
    ],
)
def test_no_service_loses_its_address(tmp_path: Path, stranded: list[Object], said: str) -> None:
    cluster = FakeCluster(*stranded)
    with pytest.raises(ClusterError, match=said):
        carry_out(pools.STEP, machine(tmp_path), cluster)
    assert cluster.applied == []
    assert cluster.deleted == []


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
    """Return Services whose addresses are in no pool any more."""
    return [service(f"s{n}", f"192.168.60.{n}", **asking) for n in range(1, number + 1)]


@pytest.mark.parametrize(
    ("rest", "services", "said"),
    [
        # lab has 4; what nobody gets unasked does not count.
        (HIDDEN, many(5), "5 external IPv4 addresses .* given out unasked .* hold 4"),
        (HIDDEN, many(4), ""),
        # Its own 10 do for those that ask for it, and for no more.
        (HIDDEN, many(10, address_pool="hidden"), ""),
        (HIDDEN, many(11, address_pool="hidden"), "11 external IPv4 addresses of the pool hidden .* holds 10"),
        (HIDDEN, [service("kept", "192.168.56.240"), *many(4)], ""),
        (HIDDEN, [service("kept", "192.168.56.200"), *many(4)], "5 external IPv4 addresses .* hold 4"),
        # 192.168.55.252 to .254 and 192.168.56.1, but not .255 and .0.
        (BUGGY, many(8), ""),
        (BUGGY, many(9), "9 external IPv4 addresses .* hold 8"),
        (
            BUGGY,
            [service("asks", "192.168.56.0", loadBalancerIPs="192.168.56.0")],
            "which no pool of hosts.toml holds",
        ),
    ],
)
def test_what_there_is_to_give_out(tmp_path: Path, rest: str, services: list[Object], said: str) -> None:
    supply = pool_supply.supplies(site_at(tmp_path, OLD, rest))
    if not said:
        pool_supply.refuse_loss(services, supply)
        return
    with pytest.raises(ClusterError, match=said) as raised:
        pool_supply.refuse_loss(services, supply)
    assert raised.value.remedy


def test_other_controllers_services_are_not_looked_at(tmp_path: Path) -> None:
    other = service("other", "203.0.113.9")
    other["spec"]["loadBalancerClass"] = "example.com/lb"
    cluster = FakeCluster(other)
    assert not [text for text in carry_out(pools.STEP, machine(tmp_path), cluster) if "move" in text]


def test_below_013_the_pools_are_one_config_map(tmp_path: Path) -> None:
    hosts = HOSTS.replace("[metallb]", '[metallb]\nversion = "0.12.1"')
    site = site_at(tmp_path, OLD, POOLS.replace('interfaces = ["eth1"]', ""), hosts=hosts)  # it knows none
    (config,) = pools.wanted(site)
    assert (config["kind"], config["metadata"]) == ("ConfigMap", {"name": "config", "namespace": "metallb-system"})
    assert yaml.safe_load(config["data"]["config"]) == {
        "address-pools": [
            {"name": "lab", "protocol": "layer2", "addresses": ["192.168.56.200-192.168.56.203"],
             "auto-assign": True, "avoid-buggy-ips": False},
            {"name": "slow", "protocol": "layer2", "addresses": ["192.168.56.240/30", "192.168.56.250-192.168.56.251"],
             "auto-assign": False, "avoid-buggy-ips": True},
        ]
    }  # fmt: skip


WIDER = POOLS.replace("192.168.56.240/30", "192.168.56.240/29")


def test_only_addresses_new_to_the_cluster_are_looked_for_on_the_segment(tmp_path: Path) -> None:
    host = machine(tmp_path, rest=WIDER)
    live = [
        ours("IPAddressPool", "lab", addresses=["192.168.56.200-192.168.56.203"]),
        ours("IPAddressPool", "slow", addresses=["192.168.56.240/30", "192.168.56.250-192.168.56.251"]),
    ]
    cluster = FakeCluster(*live)
    drain(pools.STEP, host, cluster)
    (command,) = host.commands
    assert command.rsplit(" scan ", 1)[1].split() == ["eth1", *(f"192.168.56.{last}" for last in range(244, 248))]


def test_a_new_address_that_somebody_has_stops_the_pools(tmp_path: Path) -> None:
    host = machine(tmp_path, rest=WIDER)
    host.says["neigh show"] = "192.168.56.245 lladdr aa:bb:cc:dd:ee:ff REACHABLE\n"
    cluster = FakeCluster(ours("IPAddressPool", "lab", addresses=["192.168.56.200-192.168.56.203"]))
    with pytest.raises(HostError, match=r"192\.168\.56\.245 of the MetalLB pool is in use by aa:bb:cc:dd:ee:ff"):
        drain(pools.STEP, host, cluster)
    assert cluster.applied == []


def test_the_pools_of_an_old_metallb_are_known_as_well(tmp_path: Path) -> None:
    site = site_at(tmp_path, OLD)
    config: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config", "namespace": "metallb-system"},
        "data": {"config": pools.old_configuration(site)},
    }
    cluster = FakeCluster(config)
    assert pool_supply.added(cast(Cluster, cluster), site) == []
    assert pool_supply.added(cast(Cluster, FakeCluster()), site) == list(site.metallb.pools[0].ranges)


@pytest.mark.parametrize(
    ("ranges", "taken", "left"),
    [
        (["192.0.2.0/28"], [], ["192.0.2.0/28"]),
        (["192.0.2.0/28"], ["192.0.2.0/28"], []),
        (["192.0.2.0/28"], ["192.0.2.4-192.0.2.5"], ["192.0.2.0/30", "192.0.2.6-192.0.2.15"]),
        (["192.0.2.0/28"], ["192.0.2.0/29", "192.0.2.12/30"], ["192.0.2.8/30"]),
        (["192.0.2.0/28", "fd00::/127"], ["fd00::/128"], ["192.0.2.0/28", "fd00::1/128"]),
        (["192.0.2.0/28"], ["192.0.2.16/28", "192.0.1.0/24", "fd00::/64"], ["192.0.2.0/28"]),
    ],
)
def test_ranges_without_others(ranges: list[str], taken: list[str], left: list[str]) -> None:
    assert pool_supply.without(map(parse_range, ranges), map(parse_range, taken)) == list(map(parse_range, left))

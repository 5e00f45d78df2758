"""The pools step: which pools MetalLB gets, in which order, and what happens to the Services' addresses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.errors import ClusterError, HostError
from provisioner.kube import ApiState, Object
from provisioner.steps import pools
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import load_balancer
from tests.unit.steps.doubles import HOSTS, POOL, RecordingHost, carry_out, drain, fleet_for, site_at

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
def test_a_missing_webhook_is_waited_for_and_a_refusal_is_not(tmp_path: Path, said: str, waited: bool) -> None:
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
    assert drain(pools.STEP, host, cluster), "still pending"


@pytest.mark.parametrize(
    ("said", "connections"),
    [('failed calling webhook "x": service "webhook-service" not found (500)', 2), ("connection refused (500)", 0)],
)
def test_another_api_server_is_asked_when_one_has_missed_the_service(
    tmp_path: Path, said: str, connections: int
) -> None:
    """As one may for minutes after etcd lost its leader; each connection leads to the next server of the endpoint."""
    host, cluster = machine(tmp_path), FakeCluster()
    apply, refusals = cluster.apply, [said, said]

    def stale(manifest: Object, *arguments: Any, **options: Any) -> Object:
        if refusals:
            raise ClusterError(f"the API refused to apply: {refusals.pop()}")
        return apply(manifest, *arguments, **options)

    cluster.apply = stale  # type: ignore[method-assign]
    carry_out(pools.STEP, host, cluster)
    assert cluster.disconnects == connections
    assert drain(pools.STEP, host, cluster) == []


def test_a_silent_api_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="does not answer"):
        drain(pools.STEP, machine(tmp_path), FakeCluster(api=ApiState.UNREACHABLE))


def test_our_pools_that_left_hosts_toml_are_deleted(tmp_path: Path) -> None:
    theirs = ours("IPAddressPool", "by-hand", addresses=["192.168.56.90-192.168.56.91"])
    theirs["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    cluster = FakeCluster(
        ours("IPAddressPool", "old", addresses=["192.168.56.100-192.168.56.103"]),
        ours("L2Advertisement", "old"),
        theirs,
    )
    assert carry_out(pools.STEP, machine(tmp_path), cluster)[:2] == [
        "delete L2Advertisement metallb-system/old: not in hosts.toml",
        "delete IPAddressPool metallb-system/old: not in hosts.toml",
    ]
    assert cluster.deleted == [
        ("L2Advertisement", "metallb-system", "old"), ("IPAddressPool", "metallb-system", "old")
    ]  # fmt: skip
    assert drain(pools.STEP, machine(tmp_path), cluster) == []


def test_a_pool_that_gives_addresses_up_comes_first(tmp_path: Path) -> None:
    giving = '[[metallb.pools]]\nname = "z"\naddresses = ["192.168.56.240/30"]'
    cluster = FakeCluster(ours("IPAddressPool", "z", addresses=["192.168.56.240/30", "192.168.56.200-192.168.56.203"]))
    done = carry_out(pools.STEP, machine(tmp_path, rest=giving), cluster)
    assert done[0] == "apply IPAddressPool metallb-system/z"
    assert "apply IPAddressPool metallb-system/lab" in done[1:]


def test_a_pool_that_shrinks_comes_first(tmp_path: Path) -> None:
    """z keeps the upper half of its range, in other notation; lab takes the lower half."""
    shrunk = '[[metallb.pools]]\nname = "z"\naddresses = ["192.168.56.204-192.168.56.207"]'
    had = ["192.168.56.200-192.168.56.205", "192.168.56.206/31"]
    cluster = FakeCluster(ours("IPAddressPool", "z", addresses=had))
    done = carry_out(pools.STEP, machine(tmp_path, rest=shrunk), cluster)
    assert done[0] == "apply IPAddressPool metallb-system/z"
    assert "apply IPAddressPool metallb-system/lab" in done[1:]


def test_a_service_on_an_unmanaged_pool_keeps_its_address(tmp_path: Path) -> None:
    theirs = ours("IPAddressPool", "by-hand", addresses=["192.168.56.90/28", "nonsense"])
    theirs["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    cluster = FakeCluster(
        theirs,
        load_balancer("there", "192.168.56.91"),
        load_balancer("asking", "192.168.56.92", loadBalancerIPs="192.168.56.92"),
        load_balancer("naming", "192.168.56.93", address_pool="by-hand"),
        *(load_balancer(str(n), f"192.168.56.{80 + n}") for n in range(4)),
    )
    done = carry_out(pools.STEP, machine(tmp_path), cluster)
    assert not [text for text in done if "restart" in text]


def test_a_plan_is_complete_although_the_webhook_still_sees_the_old_pool(tmp_path: Path) -> None:
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
        "delete IPAddressPool metallb-system/old: not in hosts.toml",
        "apply IPAddressPool metallb-system/lab",
        "apply L2Advertisement metallb-system/lab",
    ]


def test_a_service_outside_the_pools_gets_a_new_address(tmp_path: Path) -> None:
    stays, moves = load_balancer("stays", "192.168.56.201"), load_balancer("moves", "192.168.56.100")
    cluster = FakeCluster(stays, moves, CONTROLLER, POD)
    cluster.on_delete = lambda kind, name: cluster.hold(load_balancer("moves", "192.168.56.202"))
    assert carry_out(pools.STEP, machine(tmp_path), cluster)[-1] == (
        "restart MetalLB's controller to give new addresses to course/moves (192.168.56.100)"
    )
    assert cluster.deleted == [("Pod", "metallb-system", "controller-1")]
    assert drain(pools.STEP, machine(tmp_path), cluster) == []


def test_a_service_that_gets_no_new_address_is_an_error_with_its_events(tmp_path: Path) -> None:
    cluster = FakeCluster(load_balancer("moves", "192.168.56.100"), CONTROLLER)
    with pytest.raises(ClusterError, match="an address from the pools for Service course/moves") as raised:
        carry_out(pools.STEP, machine(tmp_path), cluster)
    assert "course/moves" in raised.value.tail


@pytest.mark.parametrize(
    ("stranded", "said"),
    [
        (
            [load_balancer("a", "192.168.56.100", loadBalancerIPs="192.168.56.100")],
            "requests 192.168.56.100, which is",
        ),
        (
            [load_balancer("a", "192.168.56.100", address_pool="old")],
            "requests pool old, which hosts.toml does not define",
        ),
        ([load_balancer(str(n), f"192.168.56.{100 + n}") for n in range(5)], "5 IPv4 addresses .* only 4"),
    ],
)
def test_no_service_loses_its_address(tmp_path: Path, stranded: list[Object], said: str) -> None:
    cluster = FakeCluster(*stranded)
    with pytest.raises(ClusterError, match=said):
        carry_out(pools.STEP, machine(tmp_path), cluster)
    assert cluster.applied == []
    assert cluster.deleted == []


def test_services_of_other_controllers_are_ignored(tmp_path: Path) -> None:
    other = load_balancer("other", "203.0.113.9")
    other["spec"]["loadBalancerClass"] = "example.com/lb"
    cluster = FakeCluster(other)
    assert not [text for text in carry_out(pools.STEP, machine(tmp_path), cluster) if "restart" in text]


def test_below_013_the_pools_are_one_config_map(tmp_path: Path) -> None:
    hosts = f'{HOSTS}[metallb]\nversion = "0.12.1"\n{POOL}'
    site = site_at(tmp_path, OLD, POOLS.replace('interfaces = ["eth1"]', ""), hosts=hosts)  # which it does not support
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


def test_only_addresses_new_to_the_cluster_are_probed(tmp_path: Path) -> None:
    host = machine(tmp_path, rest=WIDER)
    live = [
        ours("IPAddressPool", "lab", addresses=["192.168.56.200-192.168.56.203"]),
        ours("IPAddressPool", "slow", addresses=["192.168.56.240/30", "192.168.56.250-192.168.56.251"]),
    ]
    cluster = FakeCluster(*live)
    drain(pools.STEP, host, cluster)
    (command,) = host.commands
    assert command.rsplit(" scan ", 1)[1].split() == ["eth1", *(f"192.168.56.{last}" for last in range(244, 248))]


def test_a_new_address_in_use_is_refused(tmp_path: Path) -> None:
    host = machine(tmp_path, rest=WIDER)
    host.says["neigh show"] = "192.168.56.245 lladdr aa:bb:cc:dd:ee:ff REACHABLE\n"
    cluster = FakeCluster(ours("IPAddressPool", "lab", addresses=["192.168.56.200-192.168.56.203"]))
    with pytest.raises(HostError, match=r"192\.168\.56\.245 of the MetalLB pools is in use by aa:bb:cc:dd:ee:ff"):
        drain(pools.STEP, host, cluster)
    assert cluster.applied == []

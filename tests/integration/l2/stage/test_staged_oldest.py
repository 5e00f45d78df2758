"""MetalLB 0.12 uses the pools in the ConfigMap that `apply` writes, and is diagnosed like any other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from provisioner.engine import Change
from provisioner.site import Site, load_site
from provisioner.ssh import Host
from provisioner.steps import pools
from tests.integration.kube import reaching
from tests.integration.kube.apiserver import ControlPlane
from tests.integration.l2.stage import oldest
from tests.integration.l2.stage.metallb import Api
from tests.integration.l2.stage.network import StageNetwork, until
from tests.integration.l2.stage.oldest import Oldest
from tests.integration.l2.stage.stage import Stage

pytestmark = pytest.mark.integration

NAMESPACE = "metallb-system"
RESERVED = '[[metallb.pools]]\nname = "reserve"\naddresses = ["192.0.2.240-192.0.2.245"]\nauto_assign = false\n'


def site_of(folder: Path, addresses: str) -> Site:
    """Return the site with these addresses in its first pool, and a second pool without auto-assignment."""
    text = reaching.HOSTS.replace("0.13.12", "0.12.1").replace("192.0.2.200-192.0.2.230", addresses)
    path = folder / f"hosts-{addresses}.toml"
    path.write_text(text.replace("[ingress]", f"{RESERVED}[ingress]"))
    return load_site(path)


@dataclass
class OldestStage:
    """A stage with one MetalLB of 0.12 that has no configuration yet."""

    stage: Stage
    metallb: Oldest
    folder: Path

    def changes(self, addresses: str = "192.0.2.200-192.0.2.230") -> list[Change]:
        """Return the changes of the pools step for a hosts.toml with these addresses."""
        # Addresses already in use are preflight's concern, tested elsewhere.
        site = site_of(self.folder, addresses)
        host = SimpleNamespace(name="master", spec=site.first, facts=SimpleNamespace(address_nic=lambda _: None))
        return [*pools.changes(cast(Host, host), self.metallb.cluster, site)]

    def assigned(self, name: str) -> str:
        """Wait until a Service has an address and return it."""
        until(lambda: self.metallb.address(name), f"an address for {name}", 60)
        return self.metallb.address(name)


@pytest.fixture(scope="module")
def oldest_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldestStage]:
    """Yield two nodes with speakers, and a controller; skip if that is impossible."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    for name in ("metallb", "controller"):
        oldest.program(name)
    folder = tmp_path_factory.mktemp("oldest")
    site = site_of(folder, "192.0.2.200-192.0.2.230")
    plane = ControlPlane(folder)
    network = StageNetwork(f"pol-{os.getpid()}-", folder=folder)
    try:
        plane.start_etcd()
        plane.start_api()
        with reaching.connecting(site) as connect:
            cluster = connect(plane.kubeconfig())
            stage = Stage(network, Api(plane))
            oldest.define(cluster)
            metallb = Oldest(stage.api, network, NAMESPACE, cluster=cluster, site=site)
            network.namespace("bridge")
            network.shell("bridge", "ip link add br0 type bridge; ip link set br0 up")
            network.node("prober", 1, "192.0.2.1/24")
            for name, number in (("w1", 11), ("w2", 12)):
                network.node(name, number, f"192.0.2.{number}/24")
                network.serve(name)
                metallb.node(name, f"192.0.2.{number}")
            for name in metallb.nodes:
                metallb.start(name)
            metallb.start_controller("w1")
            yield OldestStage(stage, metallb, folder)
    finally:
        network.close()
        plane.stop()


def test_a_real_controller_assigns_addresses_from_the_config_map(oldest_stage: OldestStage) -> None:
    """From the first pool by default, from the second on request; a second plan is empty."""
    todo = oldest_stage.changes()
    assert [change.summary for change in todo] == ["apply ConfigMap metallb-system/config"]
    for change in todo:
        change.do()
    assert oldest_stage.changes() == []
    metallb = oldest_stage.metallb
    metallb.pending_service("web", on=("w1", "w2"))
    metallb.pending_service("own", on=("w1",), address_pool="reserve")
    assert oldest_stage.assigned("web") == "192.0.2.200"
    assert oldest_stage.assigned("own") == "192.0.2.240"


def test_its_speakers_answer_and_the_pools_are_read_from_the_config_map(oldest_stage: OldestStage) -> None:
    """The facts are from `l2 collect`; the election is that of later releases."""
    metallb = oldest_stage.metallb
    ip = oldest_stage.assigned("web")
    until(lambda: len(metallb.announcers(ip)) == 1, f"{ip} to be announced by one", 60)
    facts: Any = metallb.collected()
    assert facts["metallb"]["version"] == "0.12.1"
    assert [pool["name"] for pool in facts["pools"]] == ["lab", "reserve"]
    one = oldest_stage.stage.check(metallb, ip, facts=facts)
    assert one.verdict == "OK", one.result
    (announcer,) = metallb.announcers(ip)
    assert one.owner_kinds() == {(announcer, "eth1", "speaker")}


def test_an_address_removed_from_its_pool_moves_when_the_controller_restarts(
    oldest_stage: OldestStage,
) -> None:
    """Until then it keeps its old pools, so no Service loses its address; the step therefore restarts it."""
    metallb = oldest_stage.metallb
    todo = oldest_stage.changes("192.0.2.220-192.0.2.225")
    assert [change.summary for change in todo] == [
        "apply ConfigMap metallb-system/config",
        "restart MetalLB's controller to give new addresses to default/web (192.0.2.200)",
    ]
    todo[0].do()
    refused = "new config not compatible with assigned IPs"
    log = oldest_stage.stage.network.folder / f"{oldest.CONTROLLER}.log"
    until(lambda: refused in log.read_text(), "the controller to keep its pools", 60)
    assert metallb.address("web") == "192.0.2.200"
    metallb.start_controller("w1")  # as the kubelet does, once the step has deleted the pod
    until(lambda: metallb.address("web") == "192.0.2.220", "the Service to move", 60)
    assert metallb.address("own") == "192.0.2.240"
    assert oldest_stage.changes("192.0.2.220-192.0.2.225") == []
    until(lambda: len(metallb.announcers("192.0.2.220")) == 1, "the new address to be announced", 60)
    both = oldest_stage.stage.network.scan("192.0.2.200", "192.0.2.220", "--offline", "--interface", "eth1")
    assert both["192.0.2.200"] == [], "its log does not name the withdrawn address"
    assert len(both["192.0.2.220"]) == 1
    assert oldest_stage.stage.check(metallb, "192.0.2.220", facts=metallb.collected()).verdict == "OK"

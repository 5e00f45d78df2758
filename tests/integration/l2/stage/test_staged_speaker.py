"""A healthy MetalLB: its real speaker's frames, and reasons for an address to be silent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.integration.l2.conftest import mac
from tests.integration.l2.stage import collected
from tests.integration.l2.stage.metallb import leader
from tests.integration.l2.stage.stage import Checked, Stage

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def healthy(stage: Stage) -> dict[str, Checked]:
    """Check an address of each node and an IPv6 one in one run; return the results by the leader's name."""
    ips = {
        "w1": stage.free_in_system("w1"),
        "w2": stage.free_in_system("w2"),
        "w2, IPv6": stage.free(200, 255, "w2", ("w1", "w2"), "2001:db8::"),
    }
    services = {name: stage.announced(stage.system, ip, name[:2]) for name, ip in ips.items()}
    told = stage.check_all(stage.system, [*ips.values()])
    for name, ip in ips.items():
        assert told[ip].result["service"] == services[name]
    return {name: told[ip] for name, ip in ips.items()}


@pytest.mark.parametrize(("node", "number"), [("w1", 11), ("w2", 12)])
def test_the_predicted_leader_serves(healthy: dict[str, Checked], node: str, number: int) -> None:
    """w1 has the label that excludes it from load balancers, but 0.13 ignores it."""
    one = healthy[node]
    assert (one.exit, one.verdict, one.notable) == (0, "OK", []), one.result
    assert one.owner_kinds() == {(node, "eth1", "speaker")}
    owner = one.owners[mac(number)]
    assert owner["matched_by"] == "inventory"
    assert {"Z", "B"} <= set(owner["answered"])
    assert one.result["family"] == "ipv4"
    assert one.result["predicted_leader"] == node
    assert one.result["pool"] == "main"


def test_an_ipv6_address_serves(healthy: dict[str, Checked]) -> None:
    one = healthy["w2, IPv6"]
    assert (one.exit, one.verdict) == (0, "OK"), one.result
    assert set(one.owners) == {mac(12)}
    assert one.result["family"] == "ipv6"
    assert one.result["predicted_leader"] == "w2"


SILENT: Mapping[str, tuple[str, dict[str, Any]]] = {
    "NO_L2ADVERTISEMENT": ("192.0.2.240", {}),
    "NODE_SELECTOR_EMPTY": ("192.0.2.235", {}),
    "NO_ENDPOINTS": ("192.0.2.225", {"on": ()}),
    "LOCAL_NO_CANDIDATE": ("192.0.2.230", {"on": ("w2",), "externalTrafficPolicy": "Local"}),
    "INTERFACE_MISSING": ("192.0.2.245", {}),
}


@pytest.fixture(scope="module")
def silent(stage: Stage) -> dict[str, Checked]:
    """Check all of them in one run; return the results by the expected verdict."""
    for verdict, (ip, spec) in SILENT.items():
        name = f"silent-{verdict.lower().replace('_', '-')}"
        stage.system.service(name, ip, **{"on": ("w1", "w2"), **spec})
    stage.system.service("silent-six", "2001:db8::2aa")
    told = stage.check_all(stage.system, [*[ip for ip, _ in SILENT.values()], "2001:db8::2aa"])
    return {**{verdict: told[ip] for verdict, (ip, _) in SILENT.items()}, "IPv6": told["2001:db8::2aa"]}


@pytest.mark.parametrize("verdict", SILENT)
def test_the_cause_of_silence(silent: dict[str, Checked], verdict: str) -> None:
    """In frames, all of them are the same silence."""
    one = silent[verdict]
    assert (one.exit, one.verdict, one.owners) == (1, verdict, {}), one.result


def test_the_cause_of_ipv6_silence(silent: dict[str, Checked]) -> None:
    one = silent["IPv6"]
    assert (one.exit, one.verdict, one.owners) == (1, "NO_ENDPOINTS", {}), one.result
    assert one.result["family"] == "ipv6"


def test_a_pool_off_the_segments_subnet(stage: Stage) -> None:
    """The speaker answers, but by its routes no client sends a request."""
    ip = stage.free(1, 12, "w1", ("w1", "w2"), "198.51.100.")
    stage.announced(stage.system, ip, "w1")
    one = stage.check(stage.system, ip)
    assert (one.exit, one.verdict) == (1, "POOL_OFF_SUBNET"), one.result


def test_a_pool_that_contains_a_nodes_address(stage: Stage) -> None:
    one = stage.check(stage.system, "192.0.2.11")
    assert (one.exit, one.verdict) == (1, "POOL_OVERLAPS_NODE"), one.result
    assert one.owner_kinds() == {("w1", "eth1", "kernel")}
    assert one.result["pool"] == "low"


def test_an_address_that_the_leaders_kernel_also_has(stage: Stage) -> None:
    ip = stage.free_in_system("w1")
    stage.announced(stage.system, ip, "w1")
    before = collected.facts(stage.system)  # so that only frames can reveal it
    with stage.kernel_address("w1", ip):
        one = stage.check(stage.system, ip, facts=before)
    assert (one.exit, one.verdict, one.notable) == (0, "OK", ["KERNEL_ALSO_OWNS"]), one.result
    assert set(one.owners) == {mac(11)}


def test_a_kernel_silenced_by_arptables_is_no_second_owner(stage: Stage) -> None:
    """arptables filters before the kernel's ARP, but not before the speaker's packet socket."""
    ip = stage.free_in_system("w1")
    stage.announced(stage.system, ip, "w1")
    before = collected.facts(stage.system)  # so that only frames can reveal it
    stage.network.shell("w1", f"arptables -A INPUT -d {ip} -j DROP")
    with stage.kernel_address("w1", ip):
        one = stage.check(stage.system, ip, facts=before)
    assert (one.exit, one.verdict, one.notable) == (0, "OK", []), one.result
    assert one.owner_kinds() == {("w1", "eth1", "speaker")}


def test_one_address_shared_by_services_on_different_nodes(stage: Stage) -> None:
    """Policy Local, endpoints on different nodes: each node announces for the Service whose pod it has."""
    ip = stage.free_in_system("w1")
    shared = {"metallb.universe.tf/allow-shared-ip": "both"}
    for node, port in (("w1", 80), ("w2", 81)):
        stage.system.service(f"shared-{node}", ip, on=(node,), port=port, notes=shared, externalTrafficPolicy="Local")
    stage.wait_announced(stage.system, ip, "w1", "w2")
    one = stage.check(stage.system, ip)
    assert (one.exit, one.verdict) == (1, "SHARED_IP_SPLIT"), one.result
    assert one.owner_kinds() == {("w1", "eth1", "speaker"), ("w2", "eth1", "speaker")}


def test_a_check_from_a_node_is_inconclusive(stage: Stage) -> None:
    ip = stage.free_in_system("w2")
    stage.announced(stage.system, ip, "w2")
    one = stage.check(stage.system, ip, at="w1")
    assert (one.exit, one.verdict) == (2, "INCONCLUSIVE_PROBE_LOCATION"), one.result
    assert one.evidence_has("w1")


def test_the_election_matches_the_specification() -> None:
    """iris2 wins 10.20.30.1 and iris1 10.20.30.2; this oracle is independent of the product."""
    assert [leader(ip, ("iris1", "iris2")) for ip in ("10.20.30.1", "10.20.30.2")] == ["iris2", "iris1"]

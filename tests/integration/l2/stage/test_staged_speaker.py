"""One MetalLB in good order: what its real speaker says on the wire, and why an address of it may be silent."""

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
def well(stage: Stage) -> dict[str, Checked]:
    """Check an address of each node and an IPv6 one in one run; return what it said, by the leader's name."""
    ips = {
        "w1": stage.of_system("w1"),
        "w2": stage.of_system("w2"),
        "w2, IPv6": stage.free(200, 255, "w2", ("w1", "w2"), "2001:db8::"),
    }
    services = {name: stage.announced(stage.system, ip, name[:2]) for name, ip in ips.items()}
    told = stage.check_all(stage.system, [*ips.values()])
    for name, ip in ips.items():
        assert told[ip].result["service"] == services[name]
    return {name: told[ip] for name, ip in ips.items()}


@pytest.mark.parametrize(("node", "number"), [("w1", 11), ("w2", 12)])
def test_the_predicted_leader_serves(well: dict[str, Checked], node: str, number: int) -> None:
    """w1 carries the label that excludes it from load balancers: 0.13 does not honour it, and w1 announces."""
    one = well[node]
    assert (one.exit, one.verdict, one.notable) == (0, "OK", []), one.result
    assert one.who() == {(node, "eth1", "speaker")}
    owner = one.owners[mac(number)]
    assert owner["matched_by"] == "inventory"
    assert {"Z", "B"} <= set(owner["answered"])
    assert one.result["family"] == "ipv4"
    assert one.result["predicted_leader"] == node
    assert one.result["pool"] == "main"


def test_an_ipv6_address_serves(well: dict[str, Checked]) -> None:
    one = well["w2, IPv6"]
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
    """Check all of them in one run; return what it said, by what it should say."""
    for verdict, (ip, spec) in SILENT.items():
        name = f"silent-{verdict.lower().replace('_', '-')}"
        stage.system.service(name, ip, **{"on": ("w1", "w2"), **spec})
    stage.system.service("silent-six", "2001:db8::2aa")
    told = stage.check_all(stage.system, [*[ip for ip, _ in SILENT.values()], "2001:db8::2aa"])
    return {**{verdict: told[ip] for verdict, (ip, _) in SILENT.items()}, "IPv6": told["2001:db8::2aa"]}


@pytest.mark.parametrize("verdict", SILENT)
def test_why_nobody_announces(silent: dict[str, Checked], verdict: str) -> None:
    """On the wire all of these are the same silence."""
    one = silent[verdict]
    assert (one.exit, one.verdict, one.owners) == (1, verdict, {}), one.result


def test_ipv6_is_silent_for_a_reason_too(silent: dict[str, Checked]) -> None:
    one = silent["IPv6"]
    assert (one.exit, one.verdict, one.owners) == (1, "NO_ENDPOINTS", {}), one.result
    assert one.result["family"] == "ipv6"


def test_a_pool_that_no_client_of_the_segment_asks_for(stage: Stage) -> None:
    """The speaker answers all the same: only a client's routes keep it from asking."""
    ip = stage.free(1, 12, "w1", ("w1", "w2"), "198.51.100.")
    stage.announced(stage.system, ip, "w1")
    one = stage.check(stage.system, ip)
    assert (one.exit, one.verdict) == (1, "POOL_OFF_SUBNET"), one.result


def test_a_pool_that_holds_a_node(stage: Stage) -> None:
    one = stage.check(stage.system, "192.0.2.11")
    assert (one.exit, one.verdict) == (1, "POOL_OVERLAPS_NODE"), one.result
    assert one.who() == {("w1", "eth1", "kernel")}
    assert one.result["pool"] == "low"


def test_an_address_that_the_leaders_kernel_has_too(stage: Stage) -> None:
    ip = stage.of_system("w1")
    stage.announced(stage.system, ip, "w1")
    before = collected.facts(stage.system)  # so that only the wire tells
    with stage.held("w1", ip):
        one = stage.check(stage.system, ip, facts=before)
    assert (one.exit, one.verdict, one.notable) == (0, "OK", ["KERNEL_ALSO_OWNS"]), one.result
    assert set(one.owners) == {mac(11)}


def test_a_kernel_that_arptables_keeps_quiet_is_no_second_owner(stage: Stage) -> None:
    """arptables stands before the kernel's ARP, not before the speaker, which reads frames."""
    ip = stage.of_system("w1")
    stage.announced(stage.system, ip, "w1")
    before = collected.facts(stage.system)  # so that only the wire tells
    stage.network.shell("w1", f"arptables -A INPUT -d {ip} -j DROP")
    with stage.held("w1", ip):
        one = stage.check(stage.system, ip, facts=before)
    assert (one.exit, one.verdict, one.notable) == (0, "OK", []), one.result
    assert one.who() == {("w1", "eth1", "speaker")}


def test_one_address_for_two_services_in_two_places(stage: Stage) -> None:
    """Local traffic, endpoints on different nodes: each node announces for the Service whose pod it has."""
    ip = stage.of_system("w1")
    shared = {"metallb.universe.tf/allow-shared-ip": "both"}
    for node, port in (("w1", 80), ("w2", 81)):
        stage.system.service(f"shared-{node}", ip, on=(node,), port=port, notes=shared, externalTrafficPolicy="Local")
    stage.wait_announced(stage.system, ip, "w1", "w2")
    one = stage.check(stage.system, ip)
    assert (one.exit, one.verdict) == (1, "SHARED_IP_SPLIT"), one.result
    assert one.who() == {("w1", "eth1", "speaker"), ("w2", "eth1", "speaker")}


def test_from_a_node_nothing_is_concluded(stage: Stage) -> None:
    ip = stage.of_system("w2")
    stage.announced(stage.system, ip, "w2")
    one = stage.check(stage.system, ip, at="w1")
    assert (one.exit, one.verdict) == (2, "INCONCLUSIVE_PROBE_LOCATION"), one.result
    assert one.says("w1")


def test_the_election_is_the_one_that_the_specification_knows() -> None:
    """Of iris1 and iris2, iris2 wins 10.20.30.1 and iris1 10.20.30.2: this oracle is no copy of the product's."""
    assert [leader(ip, ("iris1", "iris2")) for ip in ("10.20.30.1", "10.20.30.2")] == ["iris2", "iris1"]

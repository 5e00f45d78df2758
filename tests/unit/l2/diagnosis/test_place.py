"""The place of this machine: a node, another segment, a machine that only looks like a node."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

import pytest

from provisioner.l2 import diagnosis
from provisioner.l2.facts import Facts
from tests.unit.l2.diagnosis.segment import (
    IP,
    IP6,
    PROBER,
    W1,
    W2,
    address,
    capture,
    facts,
    healthy,
    heard,
    judge,
    nat,
    nic,
    node,
    nodes,
    syn,
    vantage,
)

AWAY = (IPv4Interface("203.0.113.1/24"),)
NAT_MAC, NAT_IP = nat().mac, address("10.0.2.15")
DOCKER = address("172.17.0.1")


def docker(name: str) -> dict[str, Any]:
    bridge = nic(name).model_copy(
        update={"name": "docker0", "mac": "02:42:00:00:00:01", "addresses": ("172.17.0.1/16",)}
    )
    return {"nics": (nat(), nic(name), bridge)}


@pytest.mark.parametrize(
    ("changes", "known", "evidence"),
    [
        pytest.param(
            {"mac": W1}, facts(), f"This machine's MAC {W1} is that of w1's eth1.", id="the probing MAC is a node's"
        ),
        pytest.param(
            {"own_macs": frozenset({PROBER, W2})},
            facts(),
            f"This machine's MAC {W2} is that of w2's eth1.",
            id="another MAC of this machine is a node's",
        ),
        pytest.param(
            {"own_addresses": frozenset({address("192.0.2.11")})},
            facts(nodes=nodes(w1={"nics": None})),
            "This machine's address 192.0.2.11 is w1's.",
            id="an address of this machine is a node's",
        ),
        pytest.param(
            {"mac": W2},
            facts(nodes=nodes(w1={"nics": (nic("w1", mac=W2),)})),
            f"This machine's MAC {W2} is that of w1's eth1.",
            id="a MAC of two nodes",
        ),
        pytest.param(
            {"addresses": AWAY},
            facts(),
            "eth1 is in 203.0.113.0/24: 192.0.2.200 is not on this segment, nor is any node",
            id="on another segment",
        ),
        pytest.param({"addresses": AWAY}, None, "192.0.2.200 is not on this segment.", id="no facts"),
        pytest.param({"addresses": ()}, facts(), "eth1 has no address: 192.0.2.200 is not", id="no address"),
        pytest.param(
            {"addresses": (IPv6Interface("fe80::1/64"),)},
            facts(),
            "eth1 has no address",
            id="only a link-local address",
        ),
    ],
)
def test_nothing_is_concluded_from_a_wrong_place(changes: dict[str, Any], known: Facts | None, evidence: str) -> None:
    result = diagnosis.diagnose_location(vantage(**changes), known, [address(IP)])
    assert result is not None
    assert result.verdict == "INCONCLUSIVE_PROBE_LOCATION"
    assert evidence in result.evidence[0]
    assert result.remedy
    assert result.command in (f"provisioner l2 check {IP}", "ip -brief address")
    # The verdict is the same after probing.
    assert judge(capture(vantage=vantage(**changes), quiet=True), known).verdict == "INCONCLUSIVE_PROBE_LOCATION"


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        pytest.param({}, facts(), id="a machine on the segment"),
        pytest.param({}, None, id="no facts"),
        pytest.param(
            {"own_macs": frozenset({PROBER, NAT_MAC}), "own_addresses": frozenset({NAT_IP})},
            facts(),
            id="the NAT interface that every VM has",
        ),
        pytest.param(
            {"own_macs": frozenset({PROBER, NAT_MAC}), "own_addresses": frozenset({NAT_IP})},
            facts(nodes=(node("w1", internal_ips=("10.0.2.15",)),)),
            id="the NAT interface, and a single node with its address",
        ),
        pytest.param(
            {"own_addresses": frozenset({DOCKER})},
            facts(nodes=nodes(w1=docker("w1"))),
            id="docker0, which is the same on every machine",
        ),
        pytest.param({"addresses": (IPv4Interface("192.0.2.1/24"),)}, facts(), id="IPv4 only, for an IPv6 address"),
    ],
)
def test_a_machine_on_the_segment_may_probe(changes: dict[str, Any], known: Facts | None) -> None:
    assert diagnosis.diagnose_location(vantage(**changes), known, [address(IP), address(IP6)]) is None


def test_a_host_that_answers_is_on_this_segment_whatever_its_subnets() -> None:
    assert judge(replace(healthy(), vantage=vantage(addresses=())), facts()).verdict == "OK"
    away = vantage(addresses=AWAY)
    # A node answers, and by the nodes' facts the address is in a subnet of the segment.
    assert judge(replace(healthy(), vantage=away), facts()).verdict == "OK"
    silent = judge(replace(capture(), vantage=away), facts())
    assert silent.verdict == "UNKNOWN"


def test_the_diagnosis_imports_no_scapy() -> None:
    code = "import sys; from provisioner.l2 import diagnosis; assert 'scapy' not in sys.modules"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_wrong_place_for_several_addresses_is_one_result_without_an_address() -> None:
    result = diagnosis.diagnose_location(vantage(addresses=AWAY), None, [address(IP), address(IP6)])
    assert result is not None
    assert (result.ip, result.family) == ("", "")
    assert "192.0.2.200 and 2001:db8::200" in result.evidence[0]


def test_a_sweep_of_many_addresses_looks_at_each_frame_once() -> None:
    """16384 addresses and 400 replies take seconds: no work grows with their product."""
    ips = [address(f"198.18.{high}.{low}") for high in range(64) for low in range(256)]
    frames = [one for ip in ips[:400] for one in heard(W2, "ZB", str(ip))]
    run = capture(frames, syn(W2), targets=tuple(ips))
    began = time.process_time()
    results = diagnosis.diagnose_all(run, facts(), ips)
    assert time.process_time() - began < 15
    assert len(results) == len(ips)

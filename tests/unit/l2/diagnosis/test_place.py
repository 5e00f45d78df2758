"""Where it is asked from: a node, another segment, a machine that only looks like a node."""

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
    heard,
    judge,
    nat,
    nic,
    node,
    nodes,
    syn,
    vantage,
    well,
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
    ("changes", "known", "said"),
    [
        pytest.param({"mac": W1}, facts(), f"This machine's MAC {W1} is that of w1's eth1.", id="its MAC asks"),
        pytest.param(
            {"own_macs": frozenset({PROBER, W2})},
            facts(),
            f"This machine's MAC {W2} is that of w2's eth1.",
            id="its MAC is here",
        ),
        pytest.param(
            {"own_addresses": frozenset({address("192.0.2.11")})},
            facts(nodes=nodes(w1={"nics": None})),
            "This machine's address 192.0.2.11 is w1's.",
            id="its address is here",
        ),
        pytest.param(
            {"mac": W2},
            facts(nodes=nodes(w1={"nics": (nic("w1", mac=W2),)})),
            f"This machine's MAC {W2} is that of w1's eth1.",
            id="a MAC that two nodes have",
        ),
        pytest.param(
            {"addresses": AWAY},
            facts(),
            "eth1 is in 203.0.113.0/24: 192.0.2.200 is not on this segment, nor is any node",
            id="on another segment",
        ),
        pytest.param({"addresses": AWAY}, None, "192.0.2.200 is not on this segment.", id="nothing is known"),
        pytest.param({"addresses": ()}, facts(), "eth1 has no address: 192.0.2.200 is not", id="no address"),
        pytest.param(
            {"addresses": (IPv6Interface("fe80::1/64"),)},
            facts(),
            "eth1 has no address",
            id="a link-local address only",
        ),
    ],
)
def test_nothing_is_concluded_from_there(changes: dict[str, Any], known: Facts | None, said: str) -> None:
    result = diagnosis.diagnose_location(vantage(**changes), known, [address(IP)])
    assert result is not None
    assert result.verdict == "INCONCLUSIVE_PROBE_LOCATION"
    assert result.evidence[0].startswith(said) or said in result.evidence[0]
    assert result.remedy
    assert result.command in (f"provisioner l2 check {IP}", "ip -brief address")
    # The same is said when it was asked all the same.
    assert judge(capture(vantage=vantage(**changes), quiet=True), known).verdict == "INCONCLUSIVE_PROBE_LOCATION"


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        pytest.param({}, facts(), id="a machine of the segment"),
        pytest.param({}, None, id="nothing is known"),
        pytest.param(
            {"own_macs": frozenset({PROBER, NAT_MAC}), "own_addresses": frozenset({NAT_IP})},
            facts(),
            id="the NAT that all virtual machines have",
        ),
        pytest.param(
            {"own_macs": frozenset({PROBER, NAT_MAC}), "own_addresses": frozenset({NAT_IP})},
            facts(nodes=(node("w1", internal_ips=("10.0.2.15",)),)),
            id="the NAT, and a single node that took its address",
        ),
        pytest.param(
            {"own_addresses": frozenset({DOCKER})},
            facts(nodes=nodes(w1=docker("w1"))),
            id="docker0 is the same everywhere",
        ),
        pytest.param({"addresses": (IPv4Interface("192.0.2.1/24"),)}, facts(), id="IPv4 alone, for an IPv6 address"),
    ],
)
def test_a_machine_that_may_ask(changes: dict[str, Any], known: Facts | None) -> None:
    assert diagnosis.diagnose_location(vantage(**changes), known, [address(IP), address(IP6)]) is None


def test_whoever_answers_is_on_this_segment_whatever_the_subnets_say() -> None:
    assert judge(replace(well(), vantage=vantage(addresses=())), facts()).verdict == "OK"
    away = vantage(addresses=AWAY)
    # A node is heard and the address is in the segment's subnets by the nodes' own word.
    assert judge(replace(well(), vantage=away), facts()).verdict == "OK"
    silent = judge(replace(capture(), vantage=away), facts())
    assert silent.verdict == "UNKNOWN"


def test_a_diagnosis_without_strangers_needs_no_scapy() -> None:
    code = "import sys; from provisioner.l2 import diagnosis; assert 'scapy' not in sys.modules"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_one_place_for_many_addresses_names_none_of_them() -> None:
    result = diagnosis.diagnose_location(vantage(addresses=AWAY), None, [address(IP), address(IP6)])
    assert result is not None
    assert (result.ip, result.family) == ("", "")
    assert "192.0.2.200 and 2001:db8::200" in result.evidence[0]


def test_a_run_over_many_addresses_looks_at_each_frame_once() -> None:
    """16384 addresses, nearly all silent, and 400 answers end in seconds: no work grows with both."""
    ips = [address(f"198.18.{high}.{low}") for high in range(64) for low in range(256)]
    frames = [one for ip in ips[:400] for one in heard(W2, "ZB", str(ip))]
    run = capture(frames, syn(W2), targets=tuple(ips))
    began = time.process_time()
    results = diagnosis.diagnose_all(run, facts(), ips)
    assert time.process_time() - began < 15
    assert len(results) == len(ips)

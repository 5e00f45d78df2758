"""What a first good answer hides: loss, dead endpoints, UDP, packets that are too large, guards, a router's cache."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.l2.conftest import Segment, mac
from tests.integration.l2.staging import Stage, case, staged

pytestmark = pytest.mark.integration

VIP = "192.0.2.200"
PREROUTING = "type filter hook prerouting priority raw"


@pytest.fixture
def stage(segment: Segment) -> Iterator[Stage]:
    """Yield a stage with the nodes n1, which speaks for the address, and n2."""
    with staged(segment) as made:
        made.nodes("n1", "n2")
        made.speak("n1", VIP)
        yield made


def facts(*ports: dict[str, Any]) -> dict[str, Any]:
    """Return facts of one Service with these ports and ready endpoints on both nodes."""
    known = copy.deepcopy(case("unicast-lost-stale-fdb"))
    known["services"][0]["ports"] = list(ports) or [{"port": 80, "protocol": "TCP"}]
    return known


def test_everything_that_works_is_ok_and_says_what_it_covers(stage: Stage) -> None:
    stage.serve("n1", VIP, ports="80, 443", size=20000)
    stage.serve_udp("n1", VIP, 53)
    ports: list[dict[str, Any]] = [
        {"port": 80},
        {"port": 443},
        {"port": 53, "protocol": "UDP"},
        {"port": 5000, "protocol": "UDP"},
    ]
    result = stage.verdict(facts(*ports), "--attempts", "5")
    assert result["verdict"] == "OK", result
    assert result["covers"] == (
        "from this segment; TCP 80 and 443 opened 5 of 5 times; UDP 53 answered DNS 5 of 5 times; UDP 5000 not tried"
    )
    # Nothing is left of the conversation, here or there.
    for name in ("prober", "n1"):
        words = ("ss", "-Htan", "state", "established", "state", "syn-recv")
        assert stage.segment.run(name, *words).stdout == ""


def test_one_lost_syn_of_ten_is_never_ok(stage: Stage) -> None:
    stage.serve("n1", VIP)
    drop = "tcp flags syn / syn,ack ip daddr 192.0.2.200 numgen inc mod 10 == 4 drop"
    stage.nft("n1", "air", PREROUTING, drop)
    result = stage.verdict(facts())
    assert result["verdict"] == "LOSSY", result
    assert "TCP port 80 opened 10 of 10 times (1 only when asked again)" in result["evidence"][0]


@pytest.mark.parametrize(("target", "how"), [("8081", "refused"), ("8082", "unanswered")])
def test_every_second_connection_dead_is_a_verdict(stage: Stage, target: str, how: str) -> None:
    stage.serve("n1", VIP, to=f"numgen inc mod 2 map {{ 0 : 8080, 1 : {target} }}")
    stage.hang("n1", 8082)
    result = stage.verdict(facts())
    assert result["verdict"] == "BACKEND_PARTLY_DEAD", result
    assert f"TCP port 80 opened 5 of 10 times (5 {how})" in result["evidence"][0]


@pytest.mark.parametrize("refused", [True, False])
def test_a_udp_port_that_does_not_answer_its_protocol_is_not_ok(stage: Stage, refused: bool) -> None:
    if refused:
        stage.segment.run("n1", "ip", "address", "add", f"{VIP}/32", "dev", "lo")
        stage.segment.run("n1", "sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1")
    result = stage.verdict(facts({"port": 53, "protocol": "UDP"}))
    assert result["verdict"] == "NOT_SERVING", result
    # A kernel limits how many ICMP errors it sends, so a refusal may look like silence.
    assert ("refused" if refused else "does not answer (0 of 2)") in result["evidence"][0], result


def test_large_answers_that_are_lost_are_a_verdict(stage: Stage) -> None:
    stage.serve("n1", VIP, size=20000)
    assert stage.verdict(facts())["verdict"] == "OK"
    stage.nft("bridge", "mtu", "type filter hook forward priority filter", "meta length > 1400 drop", family="bridge")
    result = stage.verdict(facts())
    assert (result["verdict"], result["confidence"]) == ("MTU_BLACK_HOLE", "certain"), result


def test_a_spoof_guard_is_told_from_a_return_path(stage: Stage) -> None:
    stage.serve("n1", VIP)
    guard = f"iifname p11 ip saddr {VIP} drop"
    stage.nft("bridge", "guard", "type filter hook forward priority filter", guard, family="bridge")
    result = stage.verdict(facts())
    assert result["verdict"] == "SPOOF_GUARD", result
    assert "only IP from 192.0.2.200 is missing" in result["evidence"][1]


@pytest.mark.parametrize("stale", [False, True])
def test_a_routers_stale_entry_is_seen_through_it(stage: Stage, stale: bool) -> None:
    stage.serve("n1", VIP)
    stage.host("router", 254, "192.0.2.254/24")
    stage.segment.run("router", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.eth1.send_redirects=0")
    right = ["ip", "neigh", "replace", VIP, "lladdr", mac(12 if stale else 11), "dev", "eth1", "nud", "permanent"]
    stage.segment.run("router", *right)
    result = stage.verdict(facts(), "--via", "192.0.2.254")
    assert result["verdict"] == ("ROUTER_STALE" if stale else "OK"), result
    if not stale:
        assert "TCP through 192.0.2.254, too" in result["covers"]


def test_nodes_with_one_mac_are_named_as_copies(stage: Stage) -> None:
    known = facts()
    for node in known["nodes"]:
        node["nics"][0]["mac"] = mac(11)
    result = stage.verdict(known)
    assert result["verdict"] == "CLONED_MAC", result


def test_a_switch_that_snoops_mld_is_named(segment: Segment) -> None:
    with staged(segment) as stage:
        stage.nodes("n1")
        stage.speak("n1", "2001:db8::200", "join=0")
        # What a snooping switch that has forgotten the group does.
        drop = "oifname p11 ip6 daddr ff02::1:ff00:200 drop"
        stage.nft("bridge", "snoop", "type filter hook forward priority filter", drop, family="bridge")
        result = stage.verdict(case("ndp-unicast-unanswered"))
        assert result["verdict"] == "MULTICAST_SNOOPING", result
        everything = "oifname p11 ip6 daddr ff02::/16 drop"
        stage.nft("bridge", "more", "type filter hook forward priority filter", everything, family="bridge")
        known = case("ndp-unicast-unanswered")
        assert stage.verdict(known)["verdict"] == "NDP_FILTERED"


def test_one_cause_is_one_verdict_with_its_addresses(stage: Stage) -> None:
    known = facts()
    (service,) = known["services"]
    known["services"] = [
        {**copy.deepcopy(service), "name": f"web{last}", "ingress_ips": [f"192.0.2.{last}"]}
        for last in range(201, 221)
    ]
    status, made = stage.check(known)
    (cause,) = made["causes"]
    assert (status, cause["scope"], len(cause["addresses"])) == (1, "all addresses", 20), cause
    _, text = stage.run(known, "check")
    assert "192.0.2.201-192.0.2.220" in text
    assert len(text.splitlines()) < 30

"""Faults that were reported for MetalLB and its kind, staged on a segment, and what a check says about each.

The facts of each are in cases/. A comment names the report.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.integration.l2.conftest import Segment, mac
from tests.integration.l2.probing import background
from tests.integration.l2.staging import Stage, case, staged

pytestmark = pytest.mark.integration

VIP = "192.0.2.200"


@pytest.fixture
def stage(segment: Segment) -> Iterator[Stage]:
    """Yield a stage with the nodes n1 and n2."""
    with staged(segment) as made:
        made.nodes("n1", "n2")
        yield made


def test_a_shared_address_whose_udp_service_is_dead_is_not_ok(stage: Stage) -> None:
    """The TCP and the UDP Service of a DNS server share an address, and the second has no endpoint."""
    stage.speak("n1", VIP)
    stage.serve("n1", VIP)
    known = case("shared-ip-udp-dead")
    for words in ((), ("default/dns-udp",)):
        status, made = stage.check(known, *words)
        (result,) = made["results"]
        assert (status, result["verdict"]) == (1, "NO_ENDPOINTS"), result
        assert result["evidence"][0] == "Service default/dns-udp has no endpoints."
        (dns,) = [one for one in result["services"] if one["service"] == "default/dns-udp"]
        assert (dns["ports"][0]["asked"], dns["ports"][0]["opened"]) == ("DNS", 0)
    assert stage.verdict(known, "default/web")["verdict"] == "OK"


@pytest.mark.parametrize("facts", ["lossy-air-called-proxy-arp", "lossy-air-called-proxy-arp-nics"])
def test_loss_is_not_proxy_arp(stage: Stage, facts: str) -> None:
    """metallb/metallb 368 and 789: nodes on Wi-Fi answer some of the requests only."""
    stage.speak("n1", VIP, "every=2")
    stage.serve("n1", VIP)
    result = stage.verdict(case(facts))
    assert result["verdict"] == "LOSSY", result
    assert "ARP requests" in result["evidence"][0]
    assert "PROXY_ARP" not in result["alternatives"]


def test_a_stale_mac_table_is_told_from_a_return_path(stage: Stage) -> None:
    """metallb/metallb 571: after a migration the switch sends frames for the node's MAC to another port."""
    stage.host("other", 66)
    stage.speak("n1", VIP)
    stage.serve("n1", VIP)
    stage.port(11, "learning", "off")
    stage.segment.run("bridge", "bridge", "fdb", "replace", mac(11), "dev", "p66", "master", "static")
    result = stage.verdict(case("unicast-lost-stale-fdb"))
    assert (result["verdict"], result["owners"][0]["answered"]) == ("UNICAST_LOST", ["Z", "B"]), result
    assert "MAC table" in result["remedy"]


def test_client_isolation_is_inconclusive_and_named(stage: Stage) -> None:
    """An access point's client isolation, a private VLAN: this machine reaches the router only."""
    stage.host("router", 254, "192.0.2.254/24")
    stage.segment.run("prober", "ip", "route", "add", "default", "via", "192.0.2.254")
    for number in (1, 11, 12):
        stage.port(number, "isolated", "on")
    stage.speak("n1", VIP)
    status, made = stage.check(case("isolated-clients"))
    (result,) = made["results"]
    assert (status, result["verdict"]) == (2, "SEGMENT_ISOLATED"), result
    assert "No node answers even for its own address: n1 (192.0.2.11)" in result["evidence"][0]
    assert "The router 192.0.2.254 answers" in result["evidence"][1]
    status, text = stage.run(case("isolated-clients"), "scan", "192.0.2.11-192.0.2.12")
    assert status == 2, text


def test_an_external_ip_of_the_spec_is_announced_by_nobody(stage: Stage) -> None:
    """metallb/metallb 924: the address stands in spec.externalIPs."""
    stage.speak("n1", VIP)
    known = case("external-ips-of-spec")
    result = stage.verdict(known, "192.0.2.210")
    assert (result["verdict"], result["alternatives"]) == ("UNKNOWN", [])
    assert any("spec.externalIPs" in sentence for sentence in result["evidence"])
    assert "free" not in " ".join(result["evidence"])
    result = stage.verdict({**known, "external_ips": {"192.0.2.210": ["shop/old"]}}, "192.0.2.210")
    assert result["verdict"] == "EXTERNAL_IP_NOT_ANNOUNCED", result


def test_an_advertisement_of_a_renamed_pool_is_edited(stage: Stage) -> None:
    result = stage.verdict(case("advert-name-collides"))
    assert result["verdict"] == "NO_L2ADVERTISEMENT", result
    assert result["evidence"][0] == "L2Advertisement lab names pool old, which does not exist."
    assert result["command"] == "kubectl -n metallb-system edit l2advertisement lab"


def test_the_routers_address_in_a_pool_is_said_first(stage: Stage) -> None:
    """metallb/metallb 772, canonical/microk8s 5258: a Service requests the router's address."""
    stage.host("router", 254, "192.0.2.254/24")
    stage.segment.run("prober", "ip", "route", "add", "default", "via", "192.0.2.254")
    stage.speak("n1", "192.0.2.254")
    result = stage.verdict(case("address-is-the-router"))
    assert (result["verdict"], result["confidence"]) == ("POOL_OVERLAPS_NODE", "certain"), result
    assert result["evidence"][0] == "192.0.2.254 of pool lab is the router of this segment."


def test_unanswered_unicast_solicitations_are_a_warning_with_their_consequence(stage: Stage) -> None:
    """metallb/metallb 2920: routers that verify a neighbor by unicast drop the entry every 30 minutes."""
    stage.speak("n1", "2001:db8::200")
    stage.serve("n1", "2001:db8::200")
    result = stage.verdict(case("ndp-unicast-unanswered"))
    assert (result["verdict"], result["warnings"]) == ("OK", ["NDP_UNICAST_UNANSWERED"]), result
    assert any("Routers that verify" in sentence and "30 minutes" in sentence for sentence in result["evidence"])
    _, text = stage.run(case("ndp-unicast-unanswered"), "watch", "2001:db8::200", "--timeout", "12", as_json=True)
    assert json.loads(text)["warnings"] == ["NDP_UNICAST_UNANSWERED"]


def test_an_odd_address_of_one_service_does_not_end_the_check_of_the_others(stage: Stage) -> None:
    stage.speak("n1", VIP)
    stage.serve("n1", VIP)
    _, made = stage.check(case("zero-address-crash"))
    verdicts = {result["ip"]: result["verdict"] for result in made["results"]}
    assert verdicts[VIP] == "OK"
    assert verdicts["0.0.0.0"] != "OK"


# Two speakers that take turns, two seconds each, until killed.
BOUNCING = """
import itertools, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
print("ready", flush=True)
for name in itertools.cycle(sys.argv[2:]):
    words = [sys.executable, "-m", "tests.integration.l2.speaker", "eth1", sys.argv[1], "garp=1.1"]
    one = subprocess.Popen(["ip", "netns", "exec", name, *words], stdout=subprocess.DEVNULL)
    try:
        time.sleep(2)
    finally:
        one.kill()
        one.wait()
"""


def test_a_leader_that_bounces_has_a_verdict_and_ends_a_watch(stage: Stage) -> None:
    """metallb/metallb 1890 and 2747: policy Local, and pods that come and go."""
    for name in ("n1", "n2"):
        stage.serve(name, VIP)
    hosts = [f"{stage.segment.prefix}{name}" for name in ("n1", "n2")]
    with background(stage.segment, "bridge", sys.executable, "-uc", BOUNCING, VIP, *hosts, ready="ready") as bouncing:
        try:
            result = stage.verdict(case("leader-bounces"))
            assert result["verdict"] == "FLAPPING", result
            words = ("watch", VIP, "--port", "80", "--timeout", "60", "--until-stable")
            status, text = stage.run(case("leader-bounces"), *words, as_json=True)
        finally:
            bouncing.send_signal(signal.SIGTERM)  # so that it ends its speaker, too
    made = json.loads(text)
    assert (status, made["verdict"], made["run"]["ended_by"]) == (1, "FLAPPING", "flapping"), made["evidence"]
    assert made["moves"] >= 4
    assert "moved back and forth" in made["title"]

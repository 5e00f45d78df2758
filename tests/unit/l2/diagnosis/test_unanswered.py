"""Silence where a reply is due is a fault even without a known cause; what was not measured is not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from provisioner.l2 import report
from provisioner.l2.facts import Facts, Service
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Capture
from tests.unit.l2.diagnosis.segment import (
    IP,
    IP6,
    SILENT,
    W1,
    address,
    capture,
    counted,
    facts,
    heard,
    ipv6,
    judge,
    nodes,
    pools,
    service,
    vantage,
)

AWAY = vantage(addresses=(IPv4Interface("203.0.113.1/24"),))
OTHER_CLASS = service(ingress_ips=("198.51.100.9",), load_balancer_class="cloud.example/lb")
FAR = capture(targets=(address("198.51.100.9"),))


@pytest.mark.parametrize(
    ("run", "known"),
    [
        pytest.param(SILENT, facts(), id="every kind of request"),
        pytest.param(replace(SILENT, vantage=AWAY), facts(), id="a pool of another subnet, and a node answers"),
        pytest.param(SILENT, Facts(services=(service(),)), id="only the Service is known"),
        pytest.param(replace(SILENT, asked={address(IP): frozenset({Kind.REQUEST})}), facts(), id="with --no-zero"),
    ],
)
def test_an_external_ip_without_a_reply_is_a_fault(run: Capture, known: Facts) -> None:
    result = judge(run, known)
    assert (result.verdict, result.confidence) == ("UNKNOWN", "certain")
    assert (result.unanswered, result.inconclusive, report.exit_status([result])) == (True, False, 1)
    assert "(possible)" not in report.render([result])


@pytest.mark.parametrize(
    ("run", "known", "ip"),
    [
        pytest.param(replace(SILENT, asked={}), facts(), IP, id="nothing was sent"),
        pytest.param(
            replace(SILENT, asked={address(IP6): frozenset({Kind.UNICAST})}), ipv6(), IP6, id="only unicast requests"
        ),
        pytest.param(capture(dropped=3), facts(), IP, id="frames were dropped here"),
        pytest.param(SILENT, facts(services=()), IP, id="it is free"),
        pytest.param(SILENT, None, IP, id="whether a Service has it is unknown"),
        pytest.param(
            capture(quiet=True, asked={address(IP): frozenset({Kind.PROBE})}),
            facts(),
            IP,
            id="only probes, which no host answers",
        ),
        pytest.param(
            FAR, facts(services=(OTHER_CLASS,)), "198.51.100.9", id="another controller's, in no subnet here"
        ),
        pytest.param(capture(heard(W1)), facts(), IP, id="a node answers"),
    ],
)
def test_silence_that_is_not_measured_or_not_due_is_not_a_fault(run: Capture, known: Facts | None, ip: str) -> None:
    result = judge(run, known, ip)
    assert (result.verdict, result.inconclusive, report.exit_status([result])) == ("UNKNOWN", True, 2), result


@pytest.mark.parametrize(
    ("before", "after", "verdict", "confidence", "evidence"),
    [
        ((3, 3), (6, 6), "EGRESS_FILTERED", "certain", "sent 3 responses for 192.0.2.200 to 3 requests"),
        ((0, 0), (9, 9), "EGRESS_FILTERED", "certain", "sent 9 responses"),
        ((3, 3), (5, 5), "EGRESS_FILTERED", "possible", "fewer than the 3 requests from here"),
        ((3, 3), (4, 4), "UNKNOWN", "certain", "received 1 request for 192.0.2.200 and sent 1 response."),
    ],
)
def test_a_response_to_another_client_does_not_prove_a_filter(
    before: tuple[int, int], after: tuple[int, int], verdict: str, confidence: str, evidence: str
) -> None:
    result = judge(SILENT, facts(metrics=counted(*before), metrics_after=counted(*after)))
    assert (result.verdict, result.confidence) == (verdict, confidence), result
    assert any(evidence in sentence for sentence in result.evidence), result.evidence
    proven = confidence == "certain" and verdict == "EGRESS_FILTERED"
    assert ("INGRESS_LOST" in result.alternatives) is not proven, result


def test_probes_that_the_network_drops_are_not_counted() -> None:
    """With ARP inspection, only one of the three broadcasts reaches the speaker."""
    known = facts(metrics=counted(3, 3), metrics_after=counted(4, 4))
    inspected = capture(*[one for name in ("192.0.2.11", "192.0.2.12") for one in heard(W1, "B", name)], quiet=True)
    assert (judge(inspected, known).verdict, judge(inspected, known).confidence) == ("EGRESS_FILTERED", "certain")


@pytest.mark.parametrize(
    ("after", "verdict"), [((9, 9), "EGRESS_FILTERED"), ((3, 3), "INGRESS_LOST"), ((4, 4), "UNKNOWN")]
)
def test_counters_from_a_file_say_nothing_about_this_run(after: tuple[int, int], verdict: str) -> None:
    known = facts(metrics=counted(3, 3), metrics_after=counted(*after))
    result = judge(replace(SILENT, counted=False), known)
    assert result.verdict == verdict
    assert result.confidence == ("certain" if verdict == "UNKNOWN" else "possible")
    assert not any("this run" in sentence for sentence in result.evidence), result.evidence


def test_a_missing_speaker_explains_silence_even_if_it_is_by_design() -> None:
    result = judge(SILENT, facts(nodes=nodes(w2={"speaker": "missing"})))
    assert result.verdict == "SPEAKER_DOWN"
    one_node = Service(namespace="default", name="web", ingress_ips=(IP,))
    assert judge(SILENT, facts(services=(one_node,))).verdict == "UNKNOWN"


def test_without_a_link_local_address_ipv6_is_not_probed() -> None:
    four = vantage(addresses=(IPv4Interface("192.0.2.1/24"),))
    asked = {ip: kinds for ip, kinds in SILENT.asked.items() if ip.version == 4}
    result = judge(capture(heard(W1), vantage=four, asked=asked, targets=(address(IP6),)), ipv6(), IP6)
    assert (result.verdict, result.inconclusive) == ("UNKNOWN", True)
    assert "eth1 has no IPv6 link-local address, which neighbor discovery requires." in result.evidence
    assert result.remedy == "Add an IPv6 link-local address to eth1, and probe again."
    assert result.command == (
        "sudo sh -c 'sysctl -w net/ipv6/conf/eth1/disable_ipv6=0 && "
        "ip -6 address replace fe80::5054:ff:fe00:1/64 dev eth1'"
    )


@pytest.mark.parametrize(
    ("ip", "more", "listed"),
    [
        pytest.param("192.0.2.255", (), True, id=".255 alone"),
        pytest.param("192.0.2.201", (), False, id="another last octet"),
        pytest.param("192.0.2.255", ("192.0.2.201",), False, id=".255, and another address fails too"),
    ],
)
def test_buggy_ip_is_an_alternative_for_a_failing_address_that_ends_in_255(
    ip: str, more: tuple[str, ...], listed: bool
) -> None:
    held = tuple(service(name=f"s{number}", ingress_ips=(text,)) for number, text in enumerate((ip, *more)))
    known = facts(pools=pools("192.0.2.200-192.0.2.255"), services=held)
    wide = vantage(addresses=(IPv4Interface("192.0.2.1/22"),))  # whose broadcast address is another one
    run = capture(targets=tuple(map(address, (ip, *more))), vantage=wide)
    result = judge(run, known, ip)
    assert (result.verdict, "BUGGY_IP" in result.alternatives) == ("UNKNOWN", listed)

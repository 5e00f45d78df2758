"""Each verdict and warning on an address that the right node answers for is reached by its evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from provisioner.l2.facts import Facts
from provisioner.l2.probe.capture import Capture
from tests.unit.l2.diagnosis.segment import (
    IP,
    IP6,
    W1,
    W2,
    Row,
    address,
    capture,
    facts,
    healthy,
    heard,
    ipv6,
    judge,
    nic,
    nodes,
    reaches,
    service,
    syn,
    vantage,
)

TABLE: list[Row] = [
    ("OK", healthy(), facts(), "certain", f"w2 eth1 ({W2}) answers ARP probes, broadcast requests and unicast", ""),
    (
        "RETURN_PATH",
        capture(heard(W2), syn(W2, "silent")),
        facts(nodes=nodes(w2={"internal_ips": ("203.0.113.12",), "nics": (nic("w2", addresses=()),)})),
        "certain",
        "w2's eth1 has no IPv4 address of its own.",
        "provisioner exec --limit w2 -- ip route get 192.0.2.1",
    ),
    (
        "RETURN_PATH",
        capture(heard(W2), syn(W2, "silent")),
        facts(),
        "possible",
        "port 80 does not answer",
        "ip route get",
    ),
    (
        "NOT_SERVING",
        capture(heard(W2), syn(W2, "refused")),
        facts(),
        "certain",
        "TCP port 80 is refused",
        "endpointslices",
    ),
    (
        "NOT_SERVING",
        capture(heard(W2), syn(W2, "silent")),
        facts(services=(service(source_ranges=("203.0.113.0/24",)),)),
        "certain",
        "TCP port 80 does not answer",
        "endpointslices -l kubernetes.io/service-name=web",
    ),
    (
        "STALE_CACHE",
        capture(heard(W2), syn(W2), vantage=vantage(neighbours={address(IP): W1})),
        facts(),
        "certain",
        f"This machine's neighbor cache has {W1} (w1) for {IP}, but w2 eth1 ({W2}) answers now.",
        f"sudo ip neigh flush to {IP} dev eth1",
    ),
    (
        "INCONCLUSIVE_PROBE_LOCATION",
        replace(healthy(), vantage=vantage(mac=W1, own_macs=frozenset({W1}))),
        facts(),
        "certain",
        f"This machine's MAC {W1} is that of w1's eth1.",
        f"provisioner l2 check {IP}",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_a_verdict_is_reached_by_its_evidence(row: Row) -> None:
    reaches(row)


WARNED: list[tuple[str, Callable[[], tuple[Capture, Facts, str]], str]] = [
    (
        "NDP_UNICAST_UNANSWERED",
        lambda: (
            capture(heard(W2, "B", IP6), syn(W2, ip=IP6), targets=(address(IP6),)),
            ipv6(),
            IP6,
        ),
        "MetalLB hears multicast only",
    ),
    ("UNEXPECTED_LEADER", lambda: (healthy(W1), facts(), IP), "By MetalLB's election w2 should announce"),
    ("PREDICTION_UNKNOWN", lambda: (healthy(), facts(advertisements=None), IP), "cannot be predicted"),
    (
        "KERNEL_ALSO_OWNS",
        lambda: (capture(heard(W2), heard(W2, "ZB", length=42, rtt=0.0003), syn(W2)), facts(), IP),
        "replies twice to one request",
    ),
]


@pytest.mark.parametrize(("code", "make", "evidence"), WARNED, ids=[row[0] for row in WARNED])
def test_a_warning_leaves_the_verdict_ok(
    code: str, make: Callable[[], tuple[Capture, Facts, str]], evidence: str
) -> None:
    run, known, ip = make()
    result = judge(run, known, ip)
    assert (result.verdict, result.warnings) == ("OK", (code,))
    assert any(evidence in sentence for sentence in result.evidence)


def test_an_ok_address_of_the_leader_has_no_warnings() -> None:
    result = judge(healthy(), facts())
    assert (result.warnings, result.predicted_leader, result.remedy, result.command) == ((), "w2", "", "")
    (owner,) = result.owners
    assert (owner.node, owner.nic, owner.owner_class, owner.matched_by) == ("w2", "eth1", "speaker", "inventory")
    assert owner.answered == ("Z", "B", "U")
    assert owner.rtt_us == (400, 400, 400)
    assert (result.service, result.pool, result.family) == ("default/web", "lab", "ipv4")

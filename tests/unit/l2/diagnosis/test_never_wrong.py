"""For any capture and any facts: OK is returned only if proven, and nothing raises."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.l2 import diagnosis
from provisioner.l2.facts import Facts
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Announcement, Answer, Capture, Handshake, Outcome
from provisioner.l2.result import Result
from tests.unit.l2.diagnosis.segment import (
    FOREIGN,
    IP,
    IP6,
    OWN,
    ROUTER,
    W1,
    W2,
    W3,
    capture,
    facts,
    heard,
    judge,
    service,
    syn,
    vantage,
)

MACS = (W1, W2, W3, FOREIGN, ROUTER)
TARGETS = (IP, IP6)
CACHED = (ip_address(IP), ip_address("192.0.2.254"))
OUTCOMES: tuple[Outcome, ...] = ("open", "open", "refused", "unreachable", "silent")

maybe = st.sampled_from([None, True, False])
times = st.floats(100, 104, allow_nan=False)


def some(one: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[list[Any]]:
    """Draw no item half of the time, else up to `most`."""
    return st.booleans().flatmap(lambda any_: st.lists(one, max_size=most if any_ else 0))


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    ip = draw(st.sampled_from([*TARGETS, *OWN.values(), "192.0.2.254"]))
    return Answer(
        ip_address(ip),
        draw(st.sampled_from(MACS)),
        draw(st.sampled_from(list(Kind))),
        draw(times),
        draw(st.floats(0, 0.9)),
        draw(st.sampled_from([42, 60, 86])),
        draw(st.sampled_from(["", FOREIGN])),
    )


@st.composite
def handshakes(draw: st.DrawFn) -> Handshake:
    outcome = draw(st.sampled_from(OUTCOMES))
    mac = draw(st.sampled_from(MACS))
    return Handshake(ip_address(draw(st.sampled_from(TARGETS))), mac, draw(st.sampled_from([80, 443])), outcome, "")


@st.composite
def announcements(draw: st.DrawFn) -> Announcement:
    ip = ip_address(draw(st.sampled_from(TARGETS)))
    return Announcement(ip, draw(st.sampled_from(MACS)), draw(times), draw(st.booleans()), draw(st.booleans()), 60)


@st.composite
def runs(draw: st.DrawFn) -> Capture:
    where = vantage(
        gateways=draw(st.sampled_from([(), (ip_address("192.0.2.254"),)])),
        neighbours=dict(draw(some(st.tuples(st.sampled_from(CACHED), st.sampled_from(MACS)), 1))),
    )
    if draw(st.integers(0, 7)) == 0:
        where = replace(where, mac=draw(st.sampled_from([W1, "52:54:00:00:00:01"])), addresses=())
    right = [*heard(W2), *heard(W2, "B", IP6)] if draw(st.integers(0, 3)) > 0 else []
    served = [syn(W2), syn(W2, ip=IP6)] if right and draw(st.integers(0, 3)) > 0 else []
    return capture(
        [*right, *draw(some(answers(), 6))],
        *served,
        *draw(some(handshakes(), 2)),
        *draw(some(announcements(), 3)),
        vantage=where,
        quiet=draw(st.sampled_from([False, False, True])),
        dropped=draw(st.sampled_from([0, 0, 0, 0, 1])),
        targets=(ip_address(IP6),),
        echo=draw(st.sampled_from([{}, {ip_address(IP): False}])),
    )


@st.composite
def nics(draw: st.DrawFn, name: str, mac: str) -> list[dict[str, Any]]:
    own = draw(st.sampled_from([f"{OWN[name]}/24", "203.0.113.9/24", f"{IP}/32", "fe80::5054:ff:fe00:11/64"]))
    return [
        {
            "name": draw(st.sampled_from(["eth0", "eth1", "kube-ipvs0"])),
            "mac": draw(st.sampled_from([mac, mac, W2, ""])),
            "addresses": draw(st.sampled_from([[], [own]])),
            "up": draw(maybe),
            "master": draw(st.sampled_from([None, None, "br0"])),
            "proxy_arp": draw(maybe),
        }
    ]


@st.composite
def node_facts(draw: st.DrawFn, name: str, mac: str) -> dict[str, Any]:
    return {
        "name": name,
        "internal_ips": draw(st.sampled_from([[], [OWN[name]], [OWN[name]]])),
        "ready": draw(maybe),
        "network_unavailable": draw(maybe),
        "labels": draw(st.sampled_from([None, {}, {"node.kubernetes.io/exclude-from-external-load-balancers": ""}])),
        "speaker": draw(st.sampled_from([None, "ready", "missing", "failing"])),
        "nics": draw(st.none() | nics(name, mac)),
    }


@st.composite
def service_facts(draw: st.DrawFn, name: str) -> dict[str, Any]:
    return {
        "namespace": "default",
        "name": name,
        "ingress_ips": draw(st.sampled_from([[], [IP], [IP, IP6], [OWN["w1"]]])),
        "load_balancer_class": draw(st.sampled_from([None, "other"])),
        "external_traffic_policy": draw(st.sampled_from([None, "Cluster", "Local"])),
        "allow_shared_ip": draw(st.sampled_from([None, "a"])),
        "source_ranges": draw(st.sampled_from([[], ["203.0.113.0/24"], ["192.0.2.0/24"]])),
        "ports": draw(st.sampled_from([[], [{"port": 80}], [{"port": 53, "protocol": "UDP"}]])),
        "endpoints": draw(
            st.none()
            | st.lists(
                st.fixed_dictionaries({"node": st.sampled_from(["", "w1"]), "ready": st.booleans()}), max_size=2
            )
        ),
        "events": draw(st.sampled_from([[], [{"reason": "announceFailed", "node": "w1", "message": "no interface"}]])),
        "labels": draw(st.sampled_from([None, {}])),
        "wanted_pool": draw(st.sampled_from(["", "lab", "gone"])),
        "wanted_ips": draw(st.sampled_from([[], [IP], ["203.0.113.1"]])),
    }


POOLS = [["192.0.2.200-192.0.2.255"], ["192.0.2.0/24"], ["2001:db8::/64"]]
ADVERTISED: list[Any] = [
    None,
    [],
    [{"name": "a"}],
    [{"name": "a", "interfaces": ["eth9"]}],
    [{"name": "a", "node_selectors": [{"matchLabels": {"zone": "a"}}]}],
]
COUNTED: list[Any] = [None, {}, {"w2": {}}, {"w2": {IP: {"requests_received": 1, "responses_sent": 1}}}]


@st.composite
def clusters(draw: st.DrawFn) -> Facts | None:
    """Draw a healthy cluster with some parts replaced at random, or None."""
    if draw(st.integers(0, 9)) == 0:
        return None
    parts: dict[str, st.SearchStrategy[Any]] = {
        "metallb": st.fixed_dictionaries(
            {
                "version": st.sampled_from([None, "0.12.1", "0.13.12", "0.16.1"]),
                "memberlist": maybe,
                "ignore_exclude_lb": maybe,
                "config": st.sampled_from(["valid", "valid", "invalid", "stale", "unknown"]),
            }
        ),
        "kube_proxy": st.fixed_dictionaries(
            {"mode": st.sampled_from([None, "iptables", "ipvs", "none"]), "strict_arp": maybe}
        ),
        "others": st.fixed_dictionaries({"kube_vip": maybe, "servicelb": maybe, "cilium_l2": maybe}),
        "nodes": st.tuples(*(node_facts(name, mac) for name, mac in (("w1", W1), ("w2", W2), ("w3", W3)))).flatmap(
            lambda found: st.integers(0, 3).map(lambda number: found[:number])
        ),
        "pools": st.none() | st.sampled_from([[], *([{"name": "lab", "addresses": own}] for own in POOLS)]),
        "advertisements": st.sampled_from(ADVERTISED),
        "services": st.none()
        | st.integers(0, 2).flatmap(lambda number: st.tuples(*(service_facts(f"web{one}") for one in range(number)))),
        "l2_status": st.sampled_from([None, [], [{"service": "default/web", "node": "w1"}]]),
        "speaker_log": st.sampled_from([None, {}, {"w1": {"partial_join": True}}]),
        "metrics": st.sampled_from(COUNTED),
        "metrics_after": st.sampled_from(COUNTED),
    }
    both = service(ingress_ips=(IP, IP6))
    known = facts(services=(both,)).model_dump(by_alias=True)
    for name in dict.fromkeys(draw(some(st.sampled_from(sorted(parts)), 5))):
        known[name] = draw(parts[name])
    return Facts.model_validate(known)


def proven(run: Capture, known: Facts | None, result: Result) -> None:
    """Assert what OK has to mean, derived from the frames and the facts alone."""
    assert known is not None
    assert run.dropped == 0
    (owner,) = result.owners
    ip = ip_address(result.ip)
    node = known.node(owner.node)
    assert node is not None
    listed = owner.mac in {nic.mac for nic in node.nics or ()}
    own = {answer.ip for answer in run.answers if answer.mac == owner.mac}
    assert listed or own & {ip_address(text) for text in node.internal_ips} or owner.matched_by == "eui64"
    others = [nic.mac for other in known.nodes if other.name != owner.node for nic in other.nics or ()]
    assert owner.mac not in others
    heard = [answer for answer in run.answers if answer.ip == ip]
    assert any(answer.mac == owner.mac and answer.kind is not Kind.UNICAST for answer in heard)
    if len({answer.mac for answer in heard}) > 1:
        assert any("moved from" in sentence for sentence in result.evidence)
        assert result.confidence != "certain"
        last = max((answer for answer in heard), key=lambda answer: answer.timestamp)
        assert last.mac == owner.mac
    if known.services is not None:
        assert any(result.ip in service.ingress_ips for service in known.services)
    tried = [one for one in run.handshakes if one.ip == ip and one.mac == owner.mac]
    if any("no TCP port" in sentence for sentence in result.evidence):
        holders = [one for one in known.services or () if result.ip in one.ingress_ips]
        assert {port.protocol for one in holders for port in one.ports} == {"UDP"}
    else:
        assert any(one.outcome == "open" for one in tried)
    assert run.vantage.mac not in {nic.mac for one in known.nodes for nic in one.nics or ()}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs(), clusters(), st.sampled_from(TARGETS))
def test_ok_is_never_wrong(run: Capture, known: Facts | None, ip: str) -> None:
    result = judge(run, known, ip)
    if result.verdict == "OK":
        proven(run, known, result)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs(), clusters())
def test_every_service_gets_a_verdict(run: Capture, known: Facts | None) -> None:
    services = known.services or () if known is not None else ()
    results = diagnosis.diagnose_all(run, known, run.targets, services)
    assert len(results) == 2 + sum(not service.ingress_ips for service in services)
    for result in results:
        assert result.verdict in diagnosis.REMEDIES
        assert result.evidence
        assert not any("defect of this program" in sentence for sentence in result.evidence), result


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs())
def test_without_facts_nothing_is_ok(run: Capture) -> None:
    for known in (None, Facts()):
        assert judge(run, known).verdict != "OK"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs(), st.sampled_from(TARGETS))
def test_a_second_owner_is_never_ok(run: Capture, ip: str) -> None:
    """Two owners that answer until the end are a fault or UNKNOWN, whoever they are."""
    last = [
        Answer(ip_address(ip), mac, Kind.REQUEST, 110.0 + step + offset, 0.0005, 60)
        for step in (0, 2)
        for mac, offset in ((W2, 0.0), (W1, 0.0003))
    ]
    assert judge(replace(run, answers=(*run.answers, *last)), facts(), ip).verdict != "OK"

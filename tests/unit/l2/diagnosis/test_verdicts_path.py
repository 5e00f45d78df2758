"""Each verdict on the way to an owner, on part of a Service and on a whole segment is reached by its evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from provisioner.l2 import diagnosis
from provisioner.l2.facts import Advertisement, Endpoint, Facts, MetalLB, Pool, Port, SpeakerLog
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Capture, Exchange, Handshake, Outcome, Via
from tests.unit.l2.diagnosis.segment import (
    IP,
    IP6,
    OWN,
    ROUTER,
    SILENT,
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
    metallb,
    nat,
    nic,
    nodes,
    pools,
    reaches,
    service,
    sharing,
    syn,
    vantage,
)

UDP = Port(port=53, protocol="UDP")
DNS = facts(services=(service(ports=(UDP,)),))
OWN6 = {"w1": "2001:db8::11", "w2": "2001:db8::12", "w3": "2001:db8::13"}


def tried(
    outcomes: str, mac: str = W2, port: int = 80, protocol: Literal["TCP", "UDP"] = "TCP", tries: int = 1
) -> tuple[Handshake, ...]:
    """Return connections with these outcomes: o open, r refused, s silent, l open only when sent again."""
    names: dict[str, Outcome] = {"o": "open", "r": "refused", "s": "silent", "l": "open"}
    return tuple(
        replace(syn(mac, names[one], port), protocol=protocol, tries=3 if one == "s" else 2 if one == "l" else tries)
        for one in outcomes
    )


def run(*frames: Any, **changes: Any) -> Capture:
    """Return a run in which w2 answers and these connections were tried through it."""
    flat = [one for frame in frames for one in (frame if isinstance(frame, tuple) else (frame,))]
    return capture(heard(W2), *flat, **changes)


def asked(z: int, b: int, u: int) -> dict[str, Any]:
    """Return how often 192.0.2.200 was asked by each kind, the unicasts to w2."""
    ip = address(IP)
    return {"times": {ip: {Kind.PROBE: z, Kind.REQUEST: b, Kind.UNICAST: u}}, "unicast_times": {ip: {W2: u}}}


def exchange(mss: int, received: int, **changes: Any) -> Exchange:
    """Return what came of asking port 80 over HTTP."""
    return Exchange(address(IP), W2, 80, "HTTP", mss, **{"accepted": True, "received": received, **changes})


def own6(*answering: str) -> dict[str, Any]:
    """Return a run's targets and questions with the nodes' own IPv6 addresses; the answering ones reply."""
    run = capture(targets=(address(IP6),))
    asked = {**run.asked, **{address(ip): frozenset({Kind.REQUEST}) for ip in OWN6.values()}}
    return {"targets": (address(IP6),), "asked": asked}


def turns(*macs: str) -> tuple[Any, ...]:
    """Return replies of these MACs in turn, a second apart."""
    return tuple(heard(mac, "B", later=float(number)) for number, mac in enumerate(macs))


OVERLAP = (Pool(name="lab", addresses=("192.0.2.200-192.0.2.210",)), Pool(name="all", addresses=("192.0.2.0/24",)))
GUARDED = run(
    tried("ss"), replace(syn(W2, "refused", 10250), ip=address(OWN["w2"])), heard(W2, "B", OWN["w2"]), **asked(2, 2, 2)
)
VIA = Via(address("192.0.2.254"), ROUTER, True, tried("sss", ROUTER))
SNOOPED = capture(heard(W1, "B", OWN6["w1"]), heard(W2, "B", OWN6["w2"]), **own6())
# w2's MAC on w1, too.
CLONES = nodes(w1={"nics": (nat(), nic("w1", mac=W2))})

TABLE: list[Row] = [
    ("BACKEND_PARTLY_DEAD", run(tried("ororororor")), facts(), "likely", "opened 5 of 10 times (5 refused)", "=web"),
    ("BACKEND_PARTLY_DEAD", run(tried("osososooss")), facts(), "likely", "(5 unanswered)", "=web"),
    (
        "BACKEND_PARTLY_DEAD",
        run(tried("oros", port=53, protocol="UDP")),
        DNS,
        "likely",
        "answered 2 of 4 times",
        "=web",
    ),
    ("LOSSY", run(tried("ooolooooo")), facts(), "likely", "1 only when asked again", "ip -statistics link show"),
    ("LOSSY", run(tried("lslolollsl")), facts(), "likely", "only when asked again", "ip -statistics link show"),
    (
        "LOSSY",
        run(tried("oo"), **asked(6, 5, 1)),
        facts(),
        "likely",
        "answered 3 of 12 ARP requests",
        "ip -statistics",
    ),
    (
        "NOT_SERVING",
        run(tried("ss", port=53, protocol="UDP")),
        DNS,
        "likely",
        "UDP port 53 does not answer (0 of 2)",
        "=",
    ),
    ("NOT_SERVING", run(tried("rr", port=53, protocol="UDP")), DNS, "certain", "UDP port 53 is refused", "=web"),
    (
        "NO_ENDPOINTS",
        run(tried("oo"), tried("ss", port=53, protocol="UDP")),
        facts(services=(service(), service(name="dns", ports=(UDP,), endpoints=()))),
        "certain",
        "Service default/dns has no endpoints.",
        "kubernetes.io/service-name=dns",
    ),
    (
        "UNICAST_LOST",
        capture(heard(W2, "ZB"), *tried("ss"), **asked(1, 1, 5)),
        facts(),
        "certain",
        "none of 5 unicast requests",
        "tcpdump -eni eth1 'ether dst",
    ),
    ("SPOOF_GUARD", GUARDED, facts(), "likely", "TCP port 80 does not answer", "tcpdump -eni eth1 'host 192.0.2.200'"),
    (
        "MTU_BLACK_HOLE",
        run(tried("oo"), exchanges=(exchange(1460, 0, large=True), exchange(536, 5000, ended=True))),
        facts(),
        "certain",
        "answered 5000 bytes in segments of at most 536, and only 0 in segments of 1460",
        "ping -c 3 -M do -s 1472",
    ),
    (
        "ROUTER_STALE",
        run(tried("oo"), via=VIA),
        facts(),
        "likely",
        "3 of 3 connections in frames to the router",
        "watch",
    ),
    (
        "FLAPPING",
        capture(*turns(W1, W2, W1, W2)),
        facts(),
        "certain",
        "moved 3 times in 3 s: w1 → w2 → w1 → w2",
        "watch",
    ),
    (
        "CLONED_MAC",
        run(tried("oo")),
        facts(nodes=CLONES),
        "certain",
        "w1 and w2 have that MAC on this segment",
        "link",
    ),
    (
        "POOLS_OVERLAP",
        SILENT,
        facts(pools=OVERLAP, metallb=metallb(config="invalid")),
        "certain",
        "Pools all and lab both contain 192.0.2.200-192.0.2.210",
        "edit ipaddresspool lab",
    ),
    (
        "EXTERNAL_IP_NOT_ANNOUNCED",
        SILENT,
        facts(services=(), external_ips={IP: ("shop/old",)}),
        "certain",
        "Service shop/old names 192.0.2.200 in spec.externalIPs",
        "kubectl -n shop get service old -o yaml",
    ),
    (
        "ASSIGNED_BY_OTHER",
        SILENT,
        facts(pools=pools("192.0.2.240/28"), services=(service(status_by="cloud-controller-manager"),)),
        "certain",
        "192.0.2.200 is in no MetalLB pool",
        "--show-managed-fields",
    ),
    ("SEGMENT_ISOLATED", capture(quiet=True), facts(), "certain", "w1 (192.0.2.11), w2 (192.0.2.12)", "ip neigh show"),
]
TABLE6: list[Row] = [
    ("MULTICAST_SNOOPING", SNOOPED, ipv6(), "likely", "w2, which should announce 2001:db8::200, answers", "maddress"),
    (
        "NDP_FILTERED",
        capture(**own6()),
        ipv6(),
        "likely",
        "even for its own IPv6 address: w1 (2001:db8::11)",
        "ip -6 -brief address",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_a_verdict_is_reached_by_its_evidence(row: Row) -> None:
    reaches(row)


@pytest.mark.parametrize("row", TABLE6, ids=[row[0] for row in TABLE6])
def test_a_verdict_on_ipv6_is_reached_by_its_evidence(row: Row) -> None:
    reaches(row, IP6)


# What looks like a fault and is none, or is another one: changes that make a row's verdict OK or different.
ALIKE: dict[str, tuple[Capture, Facts, str]] = {
    "every connection at the first try": (run(tried("o" * 10)), facts(), "OK"),
    "one request of three unanswered, asked only once more": (run(tried("oo"), **asked(2, 1, 1)), facts(), "OK"),
    "a probe that is lost once is no proxy": (
        capture(heard(W2, "BU"), *tried("oo"), **asked(1, 1, 1)),
        facts(nodes=nodes(w2={"nics": None}), pools=pools("192.0.2.200-192.0.2.210")),
        "UNKNOWN",
    ),
    "UDP that cannot be asked, with an endpoint": (
        run(),
        facts(services=(service(ports=(Port(port=51820, protocol="UDP"),)),)),
        "OK",
    ),
    "UDP that cannot be asked, without an endpoint": (
        run(),
        facts(services=(service(ports=(Port(port=51820, protocol="UDP"),), endpoints=()),)),
        "NO_ENDPOINTS",
    ),
    "an untried port of two": (run(tried("oo")), facts(services=(service(ports=(Port(port=80), UDP)),)), "OK"),
    "full segments arrive": (
        run(tried("oo"), exchanges=(exchange(1460, 5840, largest=1460),)),
        facts(),
        "OK",
    ),
    "a Service that does not speak HTTP": (
        run(tried("oo"), exchanges=(exchange(1460, 0), exchange(536, 0))),
        facts(),
        "OK",
    ),
    "a router that forwards nothing back onto this segment": (
        run(tried("oo"), via=replace(VIA, forwards=False)),
        facts(),
        "OK",
    ),
    "one failover": (capture(*turns(W1, W2, W2, W2), *tried("oo")), facts(), "OK"),
    "no node answers, and there is no endpoint": (
        capture(quiet=True),
        facts(services=(service(endpoints=()),)),
        "NO_ENDPOINTS",
    ),
    "no node answers, and all are down": (
        capture(quiet=True),
        facts(nodes=tuple(one.model_copy(update={"ready": False}) for one in nodes())),
        "UNKNOWN",
    ),
}


@pytest.mark.parametrize(("capture", "known", "verdict"), ALIKE.values(), ids=ALIKE)
def test_what_looks_alike_is_told_apart(capture: Capture, known: Facts, verdict: str) -> None:
    assert judge(capture, known).verdict == verdict


def test_an_ok_says_what_it_covers() -> None:
    ports = (Port(port=80), Port(port=443), UDP, Port(port=5060, protocol="UDP"), Port(port=9999, protocol="UDP"))
    done = run(tried("o" * 5), tried("o" * 5, port=443), tried("ooo", port=53, protocol="UDP"))
    result = judge(done, facts(services=(service(ports=ports),)))
    assert result.verdict == "OK", result
    assert result.covers == (
        "from this segment; TCP 80 and 443 opened 5 of 5 times; UDP 53 answered DNS 3 of 3 times; "
        "UDP 5060 and 9999 not tried"
    )
    routed = replace(done, vantage=vantage(gateways=(address("192.0.2.254"),)))
    assert judge(routed, facts(services=(service(ports=ports),))).covers.endswith(
        "a router's neighbor entry is not visible here (--via)"
    )


def test_a_service_that_is_named_is_judged_by_itself() -> None:
    dns = service(name="dns", ports=(UDP,), endpoints=(), allow_shared_ip="a")
    known = facts(services=(service(allow_shared_ip="a"), dns))
    done = run(tried("oo"), tried("ss", port=53, protocol="UDP"))

    def verdict(*named: str) -> str:
        (result,) = diagnosis.diagnose_all(done, known, (address(IP),), judged_at={address(IP): named})
        return f"{result.verdict} {result.service}"

    assert verdict("default/web") == "OK default/web"
    assert verdict("default/dns") == "NO_ENDPOINTS default/dns"
    assert verdict() == "NO_ENDPOINTS default/web, default/dns"


@pytest.mark.parametrize("names", [("old",), ("lab-*",)])
def test_an_advertisement_of_a_pool_that_is_gone_is_edited_not_created(names: tuple[str, ...]) -> None:
    known = facts(advertisements=(Advertisement(name="lab", pools=names),))
    result = judge(SILENT, known)
    assert (result.verdict, result.confidence) == ("NO_L2ADVERTISEMENT", "certain")
    assert f"L2Advertisement lab names pool {names[0]}, which does not exist" in result.evidence[0]
    assert ("takes names, no patterns" in result.evidence[0]) is ("*" in names[0])
    assert result.command == "kubectl -n metallb-system edit l2advertisement lab"
    assert result.changes


def test_a_new_advertisement_gets_a_name_that_is_free() -> None:
    both = (*pools("192.0.2.200-192.0.2.210"), Pool(name="far", addresses=("198.51.100.0/24",)))
    known = facts(pools=both, advertisements=(Advertisement(name="lab", pools=("far",)),))
    assert "{name: lab-2, namespace: metallb-system}" in judge(SILENT, known).command


def test_the_router_in_a_pool_is_said_first_and_is_certain() -> None:
    gateway = vantage(gateways=(address(IP),), neighbours={address(IP): ROUTER})
    result = judge(capture(heard(ROUTER, "ZB"), heard(W2), vantage=gateway), facts())
    assert (result.verdict, result.confidence, result.alternatives) == ("POOL_OVERLAPS_NODE", "certain", ())
    assert result.evidence[0] == f"{IP} of pool lab is the router of this segment."


def test_two_services_that_share_an_address_come_before_a_split_brain_that_nobody_logs() -> None:
    both = capture(heard(W2), heard(W1), syn(W2), syn(W1))
    logs = {name: SpeakerLog(partial_join=False) for name in ("w1", "w2")}
    known = facts(services=sharing(), speaker_log=logs, metallb=MetalLB(version="0.16.1"))
    result = judge(both, known)
    assert (result.verdict, "SPLIT_BRAIN" in result.alternatives) == ("SHARED_IP_SPLIT", True), result


def test_no_reply_to_ping_is_a_note_and_no_warning() -> None:
    result = judge(replace(healthy(), echo={address(IP): False}), facts())
    assert (result.warnings, result.notes) == ((), ("ICMP_SILENT",))
    assert not any("ping" in sentence for sentence in result.evidence)


def test_a_leader_with_a_failed_link_local_address_needs_no_ipv4_to_be_found() -> None:
    failed = nic("w1", dad_failed=("fe80::5054:ff:fe00:11/64",))
    six = service(ingress_ips=(IP6,))
    known = facts(services=(six,), nodes=nodes(w1={"nics": (nat(), failed)}))
    result = judge(SNOOPED, known, IP6)
    assert (result.verdict, result.confidence) == ("NDP_RESPONDER_FAILED", "certain"), result


def test_endpoints_are_those_of_each_service() -> None:
    ready = service(endpoints=(Endpoint(node="w1"),))
    dead = service(name="dead", ports=(Port(port=81),), endpoints=(Endpoint(node="w1", ready=False),))
    result = judge(run(tried("oo"), tried("rr", port=81)), facts(services=(ready, dead)))
    assert (result.verdict, result.evidence[0]) == (
        "NO_ENDPOINTS",
        "Service default/dead has 1 endpoint, none ready.",
    )

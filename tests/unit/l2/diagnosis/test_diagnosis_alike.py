"""What looks alike is told apart: two MACs are many things, and so is silence."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from provisioner.l2 import diagnosis
from provisioner.l2.election_rules import EXCLUDE_LABEL as EXCLUDE
from provisioner.l2.facts import (
    Advertisement,
    Counters,
    Endpoint,
    Event,
    Facts,
    KubeProxy,
    L2Status,
    Nic,
    Others,
    SpeakerLog,
)
from provisioner.l2.frames import Kind
from provisioner.l2.wire import Wire

from .segment import (
    IP,
    OWN,
    ROUTER,
    STRANGER,
    W1,
    W2,
    W3,
    address,
    facts,
    gratuitous,
    heard,
    judge,
    kernels,
    metallb,
    nat,
    nic,
    node,
    nodes,
    service,
    syn,
    vantage,
    well,
    wire,
)

SECOND = "52:54:00:00:01:12"  # w2's second interface
IPVS = KubeProxy(mode="ipvs", strict_arp=False)
BOTH = wire(heard(W2), heard(W1), syn(W2), syn(W1))
PHYSICAL = replace(  # a network card pads every frame to 60 bytes, the kernel's too
    BOTH, answers=tuple(replace(answer, length=60) for answer in BOTH.answers)
)


def two_nics() -> tuple[Nic, Nic]:
    return nic("w2"), nic("w2").model_copy(update={"name": "eth2", "mac": SECOND, "addresses": ("192.0.2.112/24",)})


def handed_over(*, again: int = 3, announced: bool = False, together: float = 0.3) -> Wire:
    """w1 answers, then w2 joins in, then w1 stops: `again` more questions are w2's alone."""
    old = [*heard(W1, "ZB"), *heard(W1, "B", later=together)]
    new = [*heard(W2, "B"), *heard(W2, "B", later=together)]
    new += [one for number in range(again) for one in heard(W2, "B", later=2.0 + number)]
    return wire(old, new, syn(W2), *([gratuitous(W2, 100.1)] if announced else []))


TWO_MACS: dict[str, tuple[str, Wire, Facts | None]] = {
    "two speakers": ("SPLIT_BRAIN", BOTH, facts()),
    "two speakers, logs are clean": ("SPLIT_BRAIN", BOTH, facts(speaker_log={"w1": SpeakerLog(partial_join=False)})),
    "two nodes behind physical cards": ("SPLIT_BRAIN", PHYSICAL, facts()),
    "two speakers although ipvs": ("SPLIT_BRAIN", BOTH, facts(kube_proxy=IPVS)),
    "a speaker and a kernel by ipvs": (
        "ARP_FLUX_IPVS",
        wire(heard(W2), heard(W1, length=42), syn(W2)),
        facts(kube_proxy=IPVS),
    ),
    "two nodes behind physical cards, ipvs": ("ARP_FLUX_IPVS", PHYSICAL, facts(kube_proxy=IPVS)),
    "ipvs with strictARP": ("SPLIT_BRAIN", PHYSICAL, facts(kube_proxy=KubeProxy(mode="ipvs", strict_arp=True))),
    "one node's two interfaces": (
        "MULTI_NIC_SAME_SEGMENT",
        wire(heard(W2), heard(SECOND), syn(W2), syn(SECOND)),
        facts(nodes=nodes(w2={"nics": two_nics()})),
    ),
    "a stranger beside the leader": ("ADDRESS_CONFLICT", wire(heard(W2), heard(STRANGER), syn(W2)), facts()),
    "a stranger beside another node": ("ADDRESS_CONFLICT", wire(heard(W1), heard(STRANGER), syn(W1)), facts()),
    "a stranger, and a partial join": (
        "ADDRESS_CONFLICT",
        wire(heard(W2), heard(STRANGER), syn(W2)),
        facts(speaker_log={"w1": SpeakerLog(partial_join=True)}),
    ),
    "a router's proxy beside the leader": (
        "PROXY_ARP",
        wire(heard(W2), heard(ROUTER, "BU"), syn(W2), syn(ROUTER)),
        facts(),
    ),
    "a handover": ("OK", handed_over(), facts()),
    "a handover that was announced": ("OK", handed_over(again=1, announced=True), facts()),
    "too little asked since to call it a handover": ("SPLIT_BRAIN", handed_over(again=1), facts()),
    "both for longer than a handover": ("SPLIT_BRAIN", handed_over(together=1.4), facts()),
    "kube-vip on another node": (
        "KUBE_VIP_DUPLICATE",
        wire(heard(W2), heard(W1, length=42), syn(W2), syn(W1)),
        facts(others=Others(kube_vip=True)),
    ),
    "two speakers, kube-vip for the control plane alone": ("SPLIT_BRAIN", BOTH, facts(others=Others(kube_vip=True))),
    "kube-vip behind physical cards": ("KUBE_VIP_DUPLICATE", PHYSICAL, facts(others=Others(kube_vip=True))),
    "another node has the address configured": (
        "POOL_OVERLAPS_NODE",
        wire(heard(W2), heard(W1, length=42), syn(W2), syn(W1)),
        facts(nodes=nodes(w1={"nics": (nic("w1", addresses=("192.0.2.11/24", "192.0.2.200/32")),)})),
    ),
    "another node's kernel answers, its interfaces are not known": (
        "POOL_OVERLAPS_NODE",
        wire(heard(W2), heard(W1, length=42), syn(W2), syn(W1)),
        facts(nodes=nodes(w1={"nics": None})),
    ),
    "another node's kernel answers, and a log tells of a partial join": (
        "POOL_OVERLAPS_NODE",
        wire(heard(W2), heard(W1, length=42), syn(W2), syn(W1)),
        facts(nodes=nodes(w1={"nics": None}), speaker_log={"w1": SpeakerLog(partial_join=True)}),
    ),
    "two kernels answer, kube-proxy's mode is not known": (
        "ARP_FLUX_IPVS",
        wire(heard(W2, length=42), heard(W1, length=42), syn(W2), syn(W1)),
        facts(kube_proxy=KubeProxy()),
    ),
    "Cilium beside MetalLB": ("CILIUM_L2_CONFLICT", BOTH, facts(others=Others(cilium_l2=True))),
    "Cilium, and memberlist is broken": (
        "SPLIT_BRAIN",
        BOTH,
        facts(others=Others(cilium_l2=True), speaker_log={"w1": SpeakerLog(partial_join=True)}),
    ),
    "nothing is known of the cluster": ("UNKNOWN", BOTH, None),
}


@pytest.mark.parametrize(("verdict", "run", "known"), TWO_MACS.values(), ids=TWO_MACS)
def test_two_macs(verdict: str, run: Wire, known: Facts | None) -> None:
    assert judge(run, known).verdict == verdict, judge(run, known)


SHARED = (
    service(allow_shared_ip="a", external_traffic_policy="Local"),
    service(name="dns", allow_shared_ip="a", external_traffic_policy="Local", endpoints=(Endpoint(node="w2"),)),
)


def test_a_shared_address_with_two_leaders_is_no_split_brain_unless_memberlist_is_broken() -> None:
    assert judge(BOTH, facts(services=SHARED)).verdict == "SHARED_IP_SPLIT"
    broken = facts(services=SHARED, speaker_log={"w1": SpeakerLog(partial_join=True)})
    assert judge(BOTH, broken).verdict == "SPLIT_BRAIN"
    # Both Services elect w2, so w1's answer is not explained by sharing.
    alike = tuple(one.model_copy(update={"external_traffic_policy": "Cluster"}) for one in SHARED)
    assert judge(BOTH, facts(services=alike)).verdict == "SPLIT_BRAIN"
    # Other nodes than the two leaders answer.
    third = wire(heard(W3), heard(W1), syn(W3), syn(W1))
    assert judge(third, facts(services=SHARED)).verdict == "SPLIT_BRAIN"


def test_ports_of_a_bond_are_not_two_interfaces_on_a_segment() -> None:
    first, second = two_nics()
    bonded = tuple(one.model_copy(update={"master": "bond0"}) for one in (first, second))
    run = wire(heard(W2), heard(SECOND), syn(W2), syn(SECOND))
    assert judge(run, facts(nodes=nodes(w2={"nics": bonded}))).verdict == "UNKNOWN"


def test_a_handover_names_both_and_leaves_one_owner() -> None:
    result = judge(handed_over(), facts())
    assert [owner.node for owner in result.owners] == ["w2"]
    said = next(one for one in result.evidence if "handed" in one)
    assert said == (
        f"w1 eth1 ({W1}) handed 192.0.2.200 over to w2 eth1 ({W2}) during the run: for 0.30 s both answered, and the "
        f"last 3 questions w2 eth1 ({W2}) answered alone."
    )


def test_two_owners_for_a_moment_are_worth_another_look() -> None:
    assert diagnosis.unsettled(BOTH, address(IP))
    assert not diagnosis.unsettled(well(), address(IP))
    assert not diagnosis.unsettled(handed_over(), address(IP))
    lasting = wire(heard(W2), heard(W1), heard(W2, "B", later=1.5), heard(W1, "B", later=1.5))
    assert not diagnosis.unsettled(lasting, address(IP))
    assert any("over 1.7 s" in one for one in judge(lasting, facts()).evidence)


OFF = nodes(w2={"nics": (nat(), nic("w2", addresses=("203.0.113.12/24",)))})
NO_W2 = wire(kernels("w1", "w3"), quiet=True)
FLAT = {"w2": {IP: Counters(requests_received=3)}}
ANNOUNCES = (L2Status(service="default/web", node="w2"),)

SILENCE: dict[str, tuple[str, Wire, Facts]] = {
    "no endpoint, and no speaker either": (
        "NO_ENDPOINTS",
        wire(),
        facts(services=(service(endpoints=()),), nodes=nodes(**{name: {"speaker": "missing"} for name in OWN})),
    ),
    "the leader's speaker is missing, memberlist off": (
        "SPEAKER_DOWN",
        wire(),
        facts(metallb=metallb(memberlist=False), nodes=nodes(w2={"speaker": "missing"})),
    ),
    "the leader's node is dead, memberlist off": (
        "NO_FAILOVER_MEMBERLIST_OFF",
        wire(),
        facts(metallb=metallb(memberlist=False), nodes=nodes(w2={"ready": False, "speaker": "failing"})),
    ),
    "the leader's node is dead, memberlist on": ("UNKNOWN", wire(), facts(nodes=nodes(w2={"ready": False}))),
    "every node is excluded": (
        "EXCLUDE_LABEL",
        wire(),
        facts(nodes=nodes(**{name: {"labels": {EXCLUDE: ""}} for name in OWN})),
    ),
    "every node is excluded, and the speakers ignore it": (
        "UNKNOWN",
        wire(),
        facts(
            nodes=nodes(**{name: {"labels": {EXCLUDE: ""}} for name in OWN}),
            metallb=metallb(ignore_exclude_lb=True),
        ),
    ),
    "the interface is not there": (
        "INTERFACE_MISSING",
        wire(),
        facts(advertisements=(Advertisement(name="a", interfaces=("ens5",)),)),
    ),
    "the interface leads elsewhere": (
        "INTERFACE_MISSING",
        wire(),
        facts(advertisements=(Advertisement(name="a", interfaces=("eth0",)),)),
    ),
    "one advertisement of two admits every interface": (
        "UNKNOWN",
        wire(),
        facts(advertisements=(Advertisement(name="a", interfaces=("ens5",)), Advertisement(name="b"))),
    ),
    "the interface is excluded": (
        "INTERFACE_MISSING",
        wire(),
        facts(metallb=metallb(excluded_interfaces=("^eth1$",))),
    ),
    "MetalLB says so, the interfaces are not known": (
        "INTERFACE_MISSING",
        wire(),
        facts(
            nodes=nodes(w2={"nics": None}),
            services=(service(events=(Event(reason="announceFailed", node="w2", message="no such interface"),)),),
        ),
    ),
    "the leader is elsewhere": ("LEADER_OFF_SEGMENT", NO_W2, facts(nodes=OFF)),
    "the leader is elsewhere, another is the leader": (
        "UNKNOWN",
        wire(),
        facts(nodes=nodes(w3={"nics": (nat(), nic("w3", addresses=("203.0.113.13/24",)))})),
    ),
    "the leader's interfaces are not known": ("UNKNOWN", wire(), facts(nodes=nodes(w2={"nics": None}))),
    "responses leave and do not arrive": (
        "EGRESS_FILTERED",
        wire(),
        facts(metrics=FLAT, metrics_after={"w2": {IP: Counters(requests_received=6, responses_sent=3)}}),
    ),
    "requests do not arrive": (
        "INGRESS_LOST",
        NO_W2,
        facts(metrics=FLAT, metrics_after=FLAT, l2_status=ANNOUNCES),
    ),
    "requests arrive, no response leaves": (
        "UNKNOWN",
        wire(),
        facts(metrics=FLAT, metrics_after={"w2": {IP: Counters(requests_received=6)}}),
    ),
    "only a direct question is answered": ("BROADCAST_BLIND", wire(heard(W2, "U"), syn(W2)), facts()),
    "only a direct question is answered, counters flat": (
        "BROADCAST_BLIND",
        wire(heard(W2, "U"), syn(W2)),
        facts(metrics=FLAT, metrics_after=FLAT, l2_status=ANNOUNCES),
    ),
    "a proxy answers a client": ("PROXY_ARP", wire(heard(ROUTER, "BU"), syn(ROUTER)), facts()),
    "the configuration is refused, and no pod is ready": (
        "NO_ENDPOINTS",
        wire(),
        facts(metallb=metallb(config="invalid"), services=(service(endpoints=()),)),
    ),
    "the configuration is refused, and covers nothing": (
        "CONFIG_INVALID",
        wire(),
        facts(metallb=metallb(config="invalid"), advertisements=()),
    ),
}


@pytest.mark.parametrize(("verdict", "run", "known"), SILENCE.values(), ids=SILENCE)
def test_silence(verdict: str, run: Wire, known: Facts) -> None:
    assert judge(run, known).verdict == verdict, judge(run, known)


def test_counters_that_stand_still_prove_a_loss_only_where_metallb_announces() -> None:
    still = facts(metrics=FLAT, metrics_after=FLAT)
    assert judge(wire(), still).confidence == "possible"
    assert judge(wire(), still.model_copy(update={"l2_status": ANNOUNCES})).confidence == "likely"
    assert judge(NO_W2, still.model_copy(update={"l2_status": ANNOUNCES})).confidence == "certain"
    # A speaker that was started anew counts from 0: nothing can be told from the difference.
    anew = facts(metrics=FLAT, metrics_after={"w2": {}}, l2_status=ANNOUNCES)
    assert judge(wire(), anew).verdict == "UNKNOWN"


# Nobody answers a question from nobody, and one MAC answers for the only node's own address and for the service's.
PROXY_ALONE = wire(heard(ROUTER, "BU"), heard(ROUTER, "B", OWN["w1"]), syn(ROUTER), quiet=True)
STALE = facts(metallb=metallb(config="stale"))
ONE_OWNER: dict[str, tuple[str, tuple[str, ...], Wire, Facts | None]] = {
    "the leader": ("OK", (), well(), facts()),
    "another node": ("OK", ("UNEXPECTED_LEADER",), well(W1), facts()),
    "another node, since the leader's speaker is missing": (
        "SPEAKER_DOWN",
        (),
        well(W1),
        facts(nodes=nodes(w2={"speaker": "missing"})),
    ),
    "the leader, while another's speaker is missing": (
        "OK",
        (),
        well(),
        facts(nodes=nodes(w3={"speaker": "missing"})),
    ),
    "another node, and the configuration is an old one": (
        "OK",
        ("PREDICTION_UNKNOWN",),
        well(W1),
        STALE,
    ),
    "the leader, and the configuration is an old one": (
        "OK",
        ("PREDICTION_UNKNOWN",),
        well(),
        facts(metallb=metallb(config="stale")),
    ),
    "a stranger": ("ADDRESS_CONFLICT", (), well(STRANGER), facts()),
    "a stranger that does not serve": ("ADDRESS_CONFLICT", (), wire(heard(STRANGER)), facts()),
    "a MAC of nobody known": ("UNKNOWN", ("PREDICTION_UNKNOWN",), well(), None),
    "a MAC that may be an unlisted node's": (
        "UNKNOWN",
        (),
        wire(heard(STRANGER), syn(STRANGER), kernels("w1", "w2"), quiet=True),
        facts(nodes=nodes(w3={"nics": None})),
    ),
    "a node, and no Service has the address": ("POOL_ADDRESS_IN_USE", (), well(), facts(services=())),
    "a node, no Service has the address and no pool is known": (
        "UNKNOWN",
        (),
        well(),
        facts(services=(), pools=None),
    ),
    "a router's proxy, for the node's own address too": (
        "PROXY_ARP",
        (),
        PROXY_ALONE,
        facts(nodes=(node("w1", nics=None),)),
    ),
    "the leader's own interfaces are not known": (
        "OK",
        (),
        well(),
        facts(nodes=tuple(node(name, nics=None) for name in OWN)),
    ),
    "no port was tried": ("UNKNOWN", (), wire(heard(W2)), facts()),
    "a Service without a TCP port": (
        "OK",
        (),
        wire(heard(W2)),
        facts(services=(service(ports=({"port": 53, "protocol": "UDP"},)),)),
    ),
    "the Service's ports are not known and none was tried": (
        "UNKNOWN",
        (),
        wire(heard(W2)),
        facts(services=(service(ports=()),)),
    ),
    "one port of two is closed": (
        "NOT_SERVING",
        (),
        wire(heard(W2), syn(W2), syn(W2, "silent", 443)),
        facts(services=(service(ports=({"port": 80}, {"port": 443})),)),
    ),
    "Local, and the owner has no endpoint": (
        "NOT_SERVING",
        ("UNEXPECTED_LEADER",),
        wire(heard(W2), syn(W2, "silent")),
        facts(services=(service(external_traffic_policy="Local"),)),
    ),
    "the leader has the address configured": (
        "OK",
        ("KERNEL_ALSO_OWNS",),
        well(),
        facts(nodes=nodes(w2={"nics": (nic("w2", addresses=("192.0.2.12/24", "192.0.2.200/32")),)})),
    ),
    "another node alone has it configured": (
        "POOL_OVERLAPS_NODE",
        (),
        wire(heard(W1, length=42), syn(W1)),
        facts(nodes=nodes(w1={"nics": (nic("w1", addresses=("192.0.2.11/24", "192.0.2.200/32")),)})),
    ),
    "it is on this very machine": (
        "ADDRESS_CONFLICT",
        (),
        wire(vantage=vantage(own_addresses=frozenset({address(IP), address("192.0.2.1")}))),
        facts(),
    ),
    "Z is dropped here, and the owner is in the inventory": (
        "OK",
        (),
        replace(well(), answers=tuple(one for one in well().answers if one.kind is not Kind.ZERO)),
        facts(),
    ),
    "the leader missed the one Z": ("OK", (), wire(heard(W2, "BU"), syn(W2)), facts()),
    "nobody should announce": (
        "NOT_SERVING",
        (),
        wire(heard(W2), syn(W2, "unreachable")),
        facts(services=(service(endpoints=()),)),
    ),
}


@pytest.mark.parametrize(("verdict", "warned", "run", "known"), ONE_OWNER.values(), ids=ONE_OWNER)
def test_one_owner(verdict: str, warned: tuple[str, ...], run: Wire, known: Facts | None) -> None:
    result = judge(run, known)
    assert result.verdict == verdict, result
    assert set(result.warnings) == set(warned) if verdict == "OK" else True


def test_a_warning_of_the_kernel_says_how_to_take_the_address_from_it() -> None:
    nics = (nic("w2", addresses=("192.0.2.12/24", "192.0.2.200/24")),)
    result = judge(well(), facts(nodes=nodes(w2={"nics": nics})))
    assert (result.verdict, result.warnings) == ("OK", ("KERNEL_ALSO_OWNS",))
    # The kernel deletes an address only by the prefix that it was given with.
    assert result.command == "provisioner exec --limit w2 -- ip address del 192.0.2.200/24 dev eth1"
    result = judge(wire(heard(W2, length=42), syn(W2)), facts(kube_proxy=IPVS))
    assert (result.verdict, result.warnings) == ("OK", ("KERNEL_ALSO_OWNS",))
    assert result.command == "kubectl -n kube-system edit configmap kube-proxy"


def test_an_address_of_this_machine_is_taken_from_it_by_its_own_prefix() -> None:
    own = (IPv4Interface("192.0.2.1/24"), IPv4Interface("192.0.2.200/24"))
    here = vantage(addresses=own, own_addresses=frozenset(one.ip for one in own))
    assert judge(wire(vantage=here), facts()).command == "sudo ip address del 192.0.2.200/24 dev eth1"
    elsewhere = vantage(own_addresses=frozenset({address(IP)}))
    assert judge(wire(vantage=elsewhere), facts()).command == "ip address show to 192.0.2.200"


def test_frames_lost_here_prove_neither_silence_nor_a_single_owner() -> None:
    for run in (wire(dropped=3), replace(well(), dropped=3)):
        result = judge(run, facts())
        assert (result.verdict, result.confidence) == ("UNKNOWN", "certain")
        assert result.command == f"provisioner l2 check {IP} --pps 100"
    # What the facts would make of the silence is kept as an alternative, and two owners stay two.
    assert "NO_ENDPOINTS" in judge(wire(dropped=3), facts(services=(service(endpoints=()),))).alternatives
    assert judge(replace(BOTH, dropped=3), facts()).verdict == "SPLIT_BRAIN"


def test_a_client_that_remembers_the_right_mac_has_no_stale_cache() -> None:
    run = replace(well(), vantage=vantage(neighbours={address(IP): W2}))
    assert judge(run, facts()).verdict == "OK"


def test_a_segment_that_doubles_every_frame_does_not_make_a_kernel_owner() -> None:
    once = {address(IP): {Kind.ZERO: 1, Kind.CLIENT: 1}}
    doubled = wire(heard(W2), heard(W2, rtt=0.0005), syn(W2), times=once)
    assert judge(doubled, facts()).warnings == ("KERNEL_ALSO_OWNS",)
    own = heard(W2, "ZB", OWN["w2"], length=42, rtt=0.0005)
    assert judge(replace(doubled, answers=(*doubled.answers, *own)), facts()).warnings == ()


def test_two_late_answers_to_two_questions_do_not_make_a_kernel_owner() -> None:
    """On a slow machine both come after the second question, and both are taken for answers to that one."""
    late = wire(heard(W2), heard(W2, "Z", rtt=0.0005), syn(W2))
    assert judge(late, facts()).warnings == ()


def test_an_address_outside_every_pool_is_not_metallbs() -> None:
    result = judge(
        wire(targets=(address("192.0.2.99"),)), facts(services=(service(ingress_ips=("192.0.2.99",)),)), "192.0.2.99"
    )
    assert result.verdict == "UNKNOWN"
    assert "No pool of MetalLB holds 192.0.2.99, so MetalLB does not announce it." in result.evidence
    assert result.command == "kubectl -n default describe service web"


def test_a_free_address_is_said_to_be_free() -> None:
    result = judge(wire(), facts(services=()))
    assert result.verdict == "UNKNOWN"
    assert result.evidence[0] == "No Service has 192.0.2.200: it is free."
    assert result.alternatives == ()


def test_before_013_the_pools_are_in_a_configmap() -> None:
    old = facts(metallb=metallb(version="0.12.1"))
    assert judge(well(STRANGER), old).command == "kubectl -n metallb-system edit configmap config"

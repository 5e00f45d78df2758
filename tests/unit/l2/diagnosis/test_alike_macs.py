"""Two MACs that answer for one address are many things, and are told apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.l2 import diagnosis
from provisioner.l2.facts import Facts, KubeProxy, OtherAnnouncers, SpeakerLog
from provisioner.l2.probe.capture import Capture
from tests.unit.l2.diagnosis.segment import (
    BOTH,
    IP,
    IPVS,
    ROUTER,
    SECOND,
    STRANGER,
    W1,
    W2,
    W3,
    address,
    capture,
    facts,
    gratuitous,
    heard,
    judge,
    nic,
    nodes,
    sharing,
    syn,
    two_nics,
    well,
)

PHYSICAL = replace(  # a network card pads every frame to 60 bytes, the kernel's too
    BOTH, answers=tuple(replace(answer, length=60) for answer in BOTH.answers)
)


def handed_over(*, again: int = 3, announced: bool = False, together: float = 0.3) -> Capture:
    """w1 answers, then w2 joins in, then w1 stops: `again` more questions are w2's alone."""
    old = [*heard(W1, "ZB"), *heard(W1, "B", later=together)]
    new = [*heard(W2, "B"), *heard(W2, "B", later=together)]
    new += [one for number in range(again) for one in heard(W2, "B", later=2.0 + number)]
    return capture(old, new, syn(W2), *([gratuitous(W2, 100.1)] if announced else []))


TWO_MACS: dict[str, tuple[str, Capture, Facts | None]] = {
    "two speakers": ("SPLIT_BRAIN", BOTH, facts()),
    "two speakers, logs are clean": ("SPLIT_BRAIN", BOTH, facts(speaker_log={"w1": SpeakerLog(partial_join=False)})),
    "two nodes behind physical cards": ("SPLIT_BRAIN", PHYSICAL, facts()),
    "two speakers although ipvs": ("SPLIT_BRAIN", BOTH, facts(kube_proxy=IPVS)),
    "a speaker and a kernel by ipvs": (
        "ARP_FLUX_IPVS",
        capture(heard(W2), heard(W1, length=42), syn(W2)),
        facts(kube_proxy=IPVS),
    ),
    "two nodes behind physical cards, ipvs": ("ARP_FLUX_IPVS", PHYSICAL, facts(kube_proxy=IPVS)),
    "ipvs with strictARP": ("SPLIT_BRAIN", PHYSICAL, facts(kube_proxy=KubeProxy(mode="ipvs", strict_arp=True))),
    "one node's two interfaces": (
        "MULTI_NIC_SAME_SEGMENT",
        capture(heard(W2), heard(SECOND), syn(W2), syn(SECOND)),
        facts(nodes=nodes(w2={"nics": two_nics()})),
    ),
    "a stranger beside the leader": ("ADDRESS_CONFLICT", capture(heard(W2), heard(STRANGER), syn(W2)), facts()),
    "a stranger beside another node": ("ADDRESS_CONFLICT", capture(heard(W1), heard(STRANGER), syn(W1)), facts()),
    "a stranger, and a partial join": (
        "ADDRESS_CONFLICT",
        capture(heard(W2), heard(STRANGER), syn(W2)),
        facts(speaker_log={"w1": SpeakerLog(partial_join=True)}),
    ),
    "a router's proxy beside the leader": (
        "PROXY_ARP",
        capture(heard(W2), heard(ROUTER, "BU"), syn(W2), syn(ROUTER)),
        facts(),
    ),
    "a handover": ("OK", handed_over(), facts()),
    "a handover that was announced": ("OK", handed_over(again=1, announced=True), facts()),
    "too little asked since to call it a handover": ("SPLIT_BRAIN", handed_over(again=1), facts()),
    "both for longer than a handover": ("SPLIT_BRAIN", handed_over(together=1.4), facts()),
    "kube-vip on another node": (
        "KUBE_VIP_DUPLICATE",
        capture(heard(W2), heard(W1, length=42), syn(W2), syn(W1)),
        facts(others=OtherAnnouncers(kube_vip=True)),
    ),
    "two speakers, kube-vip for the control plane alone": (
        "SPLIT_BRAIN",
        BOTH,
        facts(others=OtherAnnouncers(kube_vip=True)),
    ),
    "kube-vip behind physical cards": ("KUBE_VIP_DUPLICATE", PHYSICAL, facts(others=OtherAnnouncers(kube_vip=True))),
    "another node has the address configured": (
        "POOL_OVERLAPS_NODE",
        capture(heard(W2), heard(W1, length=42), syn(W2), syn(W1)),
        facts(nodes=nodes(w1={"nics": (nic("w1", addresses=("192.0.2.11/24", "192.0.2.200/32")),)})),
    ),
    "another node's kernel answers, its interfaces are not known": (
        "POOL_OVERLAPS_NODE",
        capture(heard(W2), heard(W1, length=42), syn(W2), syn(W1)),
        facts(nodes=nodes(w1={"nics": None})),
    ),
    "another node's kernel answers, and a log tells of a partial join": (
        "POOL_OVERLAPS_NODE",
        capture(heard(W2), heard(W1, length=42), syn(W2), syn(W1)),
        facts(nodes=nodes(w1={"nics": None}), speaker_log={"w1": SpeakerLog(partial_join=True)}),
    ),
    "two kernels answer, kube-proxy's mode is not known": (
        "ARP_FLUX_IPVS",
        capture(heard(W2, length=42), heard(W1, length=42), syn(W2), syn(W1)),
        facts(kube_proxy=KubeProxy()),
    ),
    "Cilium beside MetalLB": ("CILIUM_L2_CONFLICT", BOTH, facts(others=OtherAnnouncers(cilium_l2=True))),
    "Cilium, and memberlist is broken": (
        "SPLIT_BRAIN",
        BOTH,
        facts(others=OtherAnnouncers(cilium_l2=True), speaker_log={"w1": SpeakerLog(partial_join=True)}),
    ),
    "nothing is known of the cluster": ("UNKNOWN", BOTH, None),
}


@pytest.mark.parametrize(("verdict", "run", "known"), TWO_MACS.values(), ids=TWO_MACS)
def test_two_macs(verdict: str, run: Capture, known: Facts | None) -> None:
    assert judge(run, known).verdict == verdict, judge(run, known)


SHARED = sharing()


def test_a_shared_address_with_two_leaders_is_no_split_brain_unless_memberlist_is_broken() -> None:
    assert judge(BOTH, facts(services=SHARED)).verdict == "SHARED_IP_SPLIT"
    broken = facts(services=SHARED, speaker_log={"w1": SpeakerLog(partial_join=True)})
    assert judge(BOTH, broken).verdict == "SPLIT_BRAIN"
    # Both Services elect w2, so w1's answer is not explained by sharing.
    alike = tuple(one.model_copy(update={"external_traffic_policy": "Cluster"}) for one in SHARED)
    assert judge(BOTH, facts(services=alike)).verdict == "SPLIT_BRAIN"
    # Other nodes than the two leaders answer.
    third = capture(heard(W3), heard(W1), syn(W3), syn(W1))
    assert judge(third, facts(services=SHARED)).verdict == "SPLIT_BRAIN"


def test_ports_of_a_bond_are_not_two_interfaces_on_a_segment() -> None:
    first, second = two_nics()
    bonded = tuple(one.model_copy(update={"master": "bond0"}) for one in (first, second))
    run = capture(heard(W2), heard(SECOND), syn(W2), syn(SECOND))
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
    assert diagnosis.needs_more_probes(BOTH, address(IP))
    assert not diagnosis.needs_more_probes(well(), address(IP))
    assert not diagnosis.needs_more_probes(handed_over(), address(IP))
    lasting = capture(heard(W2), heard(W1), heard(W2, "B", later=1.5), heard(W1, "B", later=1.5))
    assert not diagnosis.needs_more_probes(lasting, address(IP))
    assert any("over 1.7 s" in one for one in judge(lasting, facts()).evidence)

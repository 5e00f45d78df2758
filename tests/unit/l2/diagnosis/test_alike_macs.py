"""Two MACs that answer for one address have many causes, which are told apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.l2 import diagnosis
from provisioner.l2.facts import Facts, KubeProxy, OtherAnnouncers, SpeakerLog
from provisioner.l2.probe.capture import Capture
from tests.unit.l2.diagnosis.segment import (
    BOTH,
    FOREIGN,
    IP,
    IPVS,
    ROUTER,
    SECOND,
    W1,
    W2,
    W3,
    address,
    capture,
    facts,
    gratuitous,
    healthy,
    heard,
    judge,
    nic,
    nodes,
    sharing,
    syn,
    two_nics,
)

PHYSICAL = replace(  # a physical NIC pads every frame to 60 bytes, the kernel's too
    BOTH, answers=tuple(replace(answer, length=60) for answer in BOTH.answers)
)


def handed_over(*, since: int = 3, announced: bool = False, overlap: float = 0.3) -> Capture:
    """Return a run in which w1 answers, then w1 and w2, then only w2, to `since` more requests."""
    old = [*heard(W1, "ZB"), *heard(W1, "B", later=overlap)]
    new = [*heard(W2, "B"), *heard(W2, "B", later=overlap)]
    new += [one for number in range(since) for one in heard(W2, "B", later=2.0 + number)]
    return capture(old, new, syn(W2), *([gratuitous(W2, 100.1)] if announced else []))


TWO_MACS: dict[str, tuple[str, Capture, Facts | None]] = {
    "two speakers": ("SPLIT_BRAIN", BOTH, facts()),
    "two speakers, clean logs": ("SPLIT_BRAIN", BOTH, facts(speaker_log={"w1": SpeakerLog(partial_join=False)})),
    "two nodes with physical NICs": ("SPLIT_BRAIN", PHYSICAL, facts()),
    "two speakers, IPVS": ("SPLIT_BRAIN", BOTH, facts(kube_proxy=IPVS)),
    "a speaker and a kernel, IPVS": (
        "ARP_FLUX_IPVS",
        capture(heard(W2), heard(W1, length=42), syn(W2)),
        facts(kube_proxy=IPVS),
    ),
    "two nodes with physical NICs, IPVS": ("ARP_FLUX_IPVS", PHYSICAL, facts(kube_proxy=IPVS)),
    "IPVS with strictARP": ("SPLIT_BRAIN", PHYSICAL, facts(kube_proxy=KubeProxy(mode="ipvs", strict_arp=True))),
    "two interfaces of one node": (
        "MULTI_NIC_SAME_SEGMENT",
        capture(heard(W2), heard(SECOND), syn(W2), syn(SECOND)),
        facts(nodes=nodes(w2={"nics": two_nics()})),
    ),
    "a foreign host and the leader": ("ADDRESS_CONFLICT", capture(heard(W2), heard(FOREIGN), syn(W2)), facts()),
    "a foreign host and another node": ("ADDRESS_CONFLICT", capture(heard(W1), heard(FOREIGN), syn(W1)), facts()),
    "a foreign host, and a partial join": (
        "ADDRESS_CONFLICT",
        capture(heard(W2), heard(FOREIGN), syn(W2)),
        facts(speaker_log={"w1": SpeakerLog(partial_join=True)}),
    ),
    "proxy ARP by a router, and the leader": (
        "PROXY_ARP",
        capture(heard(W2), heard(ROUTER, "BU"), syn(W2), syn(ROUTER)),
        facts(),
    ),
    "a handover": ("OK", handed_over(), facts()),
    "a handover with gratuitous ARP": ("OK", handed_over(since=1, announced=True), facts()),
    "too few requests since to call it a handover": ("SPLIT_BRAIN", handed_over(since=1), facts()),
    "an overlap longer than a handover's": ("SPLIT_BRAIN", handed_over(overlap=1.4), facts()),
    "kube-vip on another node": (
        "KUBE_VIP_DUPLICATE",
        capture(heard(W2), heard(W1, length=42), syn(W2), syn(W1)),
        facts(others=OtherAnnouncers(kube_vip=True)),
    ),
    "two speakers, kube-vip only for the control plane": (
        "SPLIT_BRAIN",
        BOTH,
        facts(others=OtherAnnouncers(kube_vip=True)),
    ),
    "kube-vip with physical NICs": ("KUBE_VIP_DUPLICATE", PHYSICAL, facts(others=OtherAnnouncers(kube_vip=True))),
    "another node has the address configured": (
        "POOL_OVERLAPS_NODE",
        capture(heard(W2), heard(W1, length=42), syn(W2), syn(W1)),
        facts(nodes=nodes(w1={"nics": (nic("w1", addresses=("192.0.2.11/24", "192.0.2.200/32")),)})),
    ),
    "another node's kernel answers, its interfaces are unknown": (
        "POOL_OVERLAPS_NODE",
        capture(heard(W2), heard(W1, length=42), syn(W2), syn(W1)),
        facts(nodes=nodes(w1={"nics": None})),
    ),
    "another node's kernel answers, and a log reports a partial join": (
        "POOL_OVERLAPS_NODE",
        capture(heard(W2), heard(W1, length=42), syn(W2), syn(W1)),
        facts(nodes=nodes(w1={"nics": None}), speaker_log={"w1": SpeakerLog(partial_join=True)}),
    ),
    "two kernels answer, kube-proxy's mode is unknown": (
        "ARP_FLUX_IPVS",
        capture(heard(W2, length=42), heard(W1, length=42), syn(W2), syn(W1)),
        facts(kube_proxy=KubeProxy()),
    ),
    "Cilium and MetalLB": ("CILIUM_L2_CONFLICT", BOTH, facts(others=OtherAnnouncers(cilium_l2=True))),
    "Cilium, and memberlist is broken": (
        "SPLIT_BRAIN",
        BOTH,
        facts(others=OtherAnnouncers(cilium_l2=True), speaker_log={"w1": SpeakerLog(partial_join=True)}),
    ),
    "nothing is known about the cluster": ("UNKNOWN", BOTH, None),
}


@pytest.mark.parametrize(("verdict", "run", "known"), TWO_MACS.values(), ids=TWO_MACS)
def test_two_macs_are_told_apart(verdict: str, run: Capture, known: Facts | None) -> None:
    assert judge(run, known).verdict == verdict, judge(run, known)


SHARED = sharing()


def test_a_shared_address_with_two_leaders_is_a_split_brain_only_if_memberlist_is_broken() -> None:
    assert judge(BOTH, facts(services=SHARED)).verdict == "SHARED_IP_SPLIT"
    broken = facts(services=SHARED, speaker_log={"w1": SpeakerLog(partial_join=True)})
    assert judge(BOTH, broken).verdict == "SPLIT_BRAIN"
    # Both Services elect w2, so sharing does not explain w1's replies.
    alike = tuple(one.model_copy(update={"external_traffic_policy": "Cluster"}) for one in SHARED)
    assert judge(BOTH, facts(services=alike)).verdict == "SPLIT_BRAIN"
    # Nodes other than the two leaders answer.
    third = capture(heard(W3), heard(W1), syn(W3), syn(W1))
    assert judge(third, facts(services=SHARED)).verdict == "SPLIT_BRAIN"


def test_bond_ports_are_not_two_interfaces_on_a_segment() -> None:
    first, second = two_nics()
    bonded = tuple(one.model_copy(update={"master": "bond0"}) for one in (first, second))
    run = capture(heard(W2), heard(SECOND), syn(W2), syn(SECOND))
    assert judge(run, facts(nodes=nodes(w2={"nics": bonded}))).verdict == "UNKNOWN"


def test_a_handover_names_both_nodes_and_has_one_owner() -> None:
    result = judge(handed_over(), facts())
    assert [owner.node for owner in result.owners] == ["w2"]
    assert (
        f"192.0.2.200 moved from w1 eth1 ({W1}) to w2 eth1 ({W2}) during the run, both answered for 0.30 s; only the "
        "new owner answered the last 3 requests."
    ) in result.evidence


def test_a_short_overlap_of_two_owners_needs_more_probes() -> None:
    assert diagnosis.needs_more_probes(BOTH, address(IP))
    assert not diagnosis.needs_more_probes(healthy(), address(IP))
    assert not diagnosis.needs_more_probes(handed_over(), address(IP))
    lasting = capture(heard(W2), heard(W1), heard(W2, "B", later=1.5), heard(W1, "B", later=1.5))
    assert not diagnosis.needs_more_probes(lasting, address(IP))
    assert any("for 1.7 s" in one for one in judge(lasting, facts()).evidence)

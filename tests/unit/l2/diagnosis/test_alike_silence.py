"""Silence has many causes, which are told apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.l2.election.rules import EXCLUDE_LABEL as EXCLUDE
from provisioner.l2.facts import Advertisement, Facts, ServiceEvent
from provisioner.l2.probe.capture import Capture
from tests.unit.l2.diagnosis.segment import (
    ANNOUNCES,
    BOTH,
    IP,
    NO_W2,
    OFF,
    ROUTER,
    W2,
    address,
    capture,
    counted,
    each_node,
    facts,
    healthy,
    heard,
    judge,
    metallb,
    nat,
    nic,
    nodes,
    service,
    syn,
)

SILENCE: dict[str, tuple[str, Capture, Facts]] = {
    "no endpoint, and no speaker": (
        "NO_ENDPOINTS",
        capture(),
        facts(services=(service(endpoints=()),), nodes=each_node(speaker="missing")),
    ),
    "the leader's speaker is missing, memberlist off": (
        "SPEAKER_DOWN",
        capture(),
        facts(metallb=metallb(memberlist=False), nodes=nodes(w2={"speaker": "missing"})),
    ),
    "the leader's node is down, memberlist off": (
        "NO_FAILOVER_MEMBERLIST_OFF",
        capture(),
        facts(metallb=metallb(memberlist=False), nodes=nodes(w2={"ready": False, "speaker": "failing"})),
    ),
    "the leader's node is down, memberlist on": ("UNKNOWN", capture(), facts(nodes=nodes(w2={"ready": False}))),
    "every node has the exclude label": (
        "EXCLUDE_LABEL",
        capture(),
        facts(nodes=each_node(labels={EXCLUDE: ""})),
    ),
    "every node has the exclude label, and the speakers ignore it": (
        "UNKNOWN",
        capture(),
        facts(
            nodes=each_node(labels={EXCLUDE: ""}),
            metallb=metallb(ignore_exclude_lb=True),
        ),
    ),
    "the interface does not exist": (
        "INTERFACE_MISSING",
        capture(),
        facts(advertisements=(Advertisement(name="a", interfaces=("ens5",)),)),
    ),
    "the interface is not on this segment": (
        "INTERFACE_MISSING",
        capture(),
        facts(advertisements=(Advertisement(name="a", interfaces=("eth0",)),)),
    ),
    "one advertisement of two allows every interface": (
        "UNKNOWN",
        capture(),
        facts(advertisements=(Advertisement(name="a", interfaces=("ens5",)), Advertisement(name="b"))),
    ),
    "the interface is excluded": (
        "INTERFACE_MISSING",
        capture(),
        facts(metallb=metallb(excluded_interfaces=("^eth1$",))),
    ),
    "MetalLB reports it, the interfaces are unknown": (
        "INTERFACE_MISSING",
        capture(),
        facts(
            nodes=nodes(w2={"nics": None}),
            services=(
                service(events=(ServiceEvent(reason="announceFailed", node="w2", message="no such interface"),)),
            ),
        ),
    ),
    "the leader is off the segment": ("LEADER_OFF_SEGMENT", NO_W2, facts(nodes=OFF)),
    "a node that is not the leader is off the segment": (
        "UNKNOWN",
        capture(),
        facts(nodes=nodes(w3={"nics": (nat(), nic("w3", addresses=("203.0.113.13/24",)))})),
    ),
    "the leader's interfaces are unknown": ("UNKNOWN", capture(), facts(nodes=nodes(w2={"nics": None}))),
    "responses are sent and do not arrive": (
        "EGRESS_FILTERED",
        capture(),
        facts(metrics=counted(3), metrics_after=counted(6, 3)),
    ),
    "requests do not arrive": (
        "INGRESS_LOST",
        NO_W2,
        facts(metrics=counted(3), metrics_after=counted(3), l2_status=ANNOUNCES),
    ),
    "requests arrive, no response is sent": (
        "UNKNOWN",
        capture(),
        facts(metrics=counted(3), metrics_after=counted(6)),
    ),
    "only a unicast request is answered": ("BROADCAST_BLIND", capture(heard(W2, "U"), syn(W2)), facts()),
    "only a unicast request is answered, counters unchanged": (
        "BROADCAST_BLIND",
        capture(heard(W2, "U"), syn(W2)),
        facts(metrics=counted(3), metrics_after=counted(3), l2_status=ANNOUNCES),
    ),
    "proxy ARP by a router": ("PROXY_ARP", capture(heard(ROUTER, "BU"), syn(ROUTER)), facts()),
    "the configuration is invalid, and no pod is ready": (
        "NO_ENDPOINTS",
        capture(),
        facts(metallb=metallb(config="invalid"), services=(service(endpoints=()),)),
    ),
    "the configuration is invalid, and covers nothing": (
        "CONFIG_INVALID",
        capture(),
        facts(metallb=metallb(config="invalid"), advertisements=()),
    ),
}


@pytest.mark.parametrize(("verdict", "run", "known"), SILENCE.values(), ids=SILENCE)
def test_silence_is_told_apart(verdict: str, run: Capture, known: Facts) -> None:
    assert judge(run, known).verdict == verdict, judge(run, known)


def test_unchanged_counters_prove_a_loss_only_if_metallb_announces_the_address() -> None:
    still = facts(metrics=counted(3), metrics_after=counted(3))
    assert judge(capture(), still).confidence == "possible"
    assert judge(capture(), still.model_copy(update={"l2_status": ANNOUNCES})).confidence == "likely"
    assert judge(NO_W2, still.model_copy(update={"l2_status": ANNOUNCES})).confidence == "certain"
    # A restarted speaker counts from 0, so the difference means nothing.
    restarted = facts(metrics=counted(3), metrics_after={"w2": {}}, l2_status=ANNOUNCES)
    assert judge(capture(), restarted).verdict == "UNKNOWN"


def test_with_dropped_frames_neither_silence_nor_a_single_owner_is_proven() -> None:
    for run in (capture(dropped=3), replace(healthy(), dropped=3)):
        result = judge(run, facts())
        assert (result.verdict, result.confidence) == ("UNKNOWN", "certain")
        assert result.command == f"provisioner l2 check {IP} --pps 100"
    # The cause that the facts suggest is kept as an alternative, and two owners are still two.
    assert "NO_ENDPOINTS" in judge(capture(dropped=3), facts(services=(service(endpoints=()),))).alternatives
    assert judge(replace(BOTH, dropped=3), facts()).verdict == "SPLIT_BRAIN"


def test_metallb_does_not_announce_an_address_outside_its_pools() -> None:
    result = judge(
        capture(targets=(address("192.0.2.99"),)),
        facts(services=(service(ingress_ips=("192.0.2.99",)),)),
        "192.0.2.99",
    )
    assert (result.verdict, result.confidence) == ("ASSIGNED_BY_OTHER", "likely")
    assert result.evidence[0].startswith("192.0.2.99 is in no MetalLB pool, so MetalLB did not assign it")
    assert result.command == "kubectl -n default get service web -o yaml --show-managed-fields"


def test_a_free_address_is_called_free() -> None:
    result = judge(capture(), facts(services=()))
    assert result.verdict == "UNKNOWN"
    assert result.evidence[0] == "No Service has 192.0.2.200: it is free."
    assert result.alternatives == ()

"""Silence is many things, and they are told apart."""

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
    heard,
    judge,
    metallb,
    nat,
    nic,
    nodes,
    service,
    syn,
    well,
)

SILENCE: dict[str, tuple[str, Capture, Facts]] = {
    "no endpoint, and no speaker either": (
        "NO_ENDPOINTS",
        capture(),
        facts(services=(service(endpoints=()),), nodes=each_node(speaker="missing")),
    ),
    "the leader's speaker is missing, memberlist off": (
        "SPEAKER_DOWN",
        capture(),
        facts(metallb=metallb(memberlist=False), nodes=nodes(w2={"speaker": "missing"})),
    ),
    "the leader's node is dead, memberlist off": (
        "NO_FAILOVER_MEMBERLIST_OFF",
        capture(),
        facts(metallb=metallb(memberlist=False), nodes=nodes(w2={"ready": False, "speaker": "failing"})),
    ),
    "the leader's node is dead, memberlist on": ("UNKNOWN", capture(), facts(nodes=nodes(w2={"ready": False}))),
    "every node is excluded": (
        "EXCLUDE_LABEL",
        capture(),
        facts(nodes=each_node(labels={EXCLUDE: ""})),
    ),
    "every node is excluded, and the speakers ignore it": (
        "UNKNOWN",
        capture(),
        facts(
            nodes=each_node(labels={EXCLUDE: ""}),
            metallb=metallb(ignore_exclude_lb=True),
        ),
    ),
    "the interface is not there": (
        "INTERFACE_MISSING",
        capture(),
        facts(advertisements=(Advertisement(name="a", interfaces=("ens5",)),)),
    ),
    "the interface leads elsewhere": (
        "INTERFACE_MISSING",
        capture(),
        facts(advertisements=(Advertisement(name="a", interfaces=("eth0",)),)),
    ),
    "one advertisement of two admits every interface": (
        "UNKNOWN",
        capture(),
        facts(advertisements=(Advertisement(name="a", interfaces=("ens5",)), Advertisement(name="b"))),
    ),
    "the interface is excluded": (
        "INTERFACE_MISSING",
        capture(),
        facts(metallb=metallb(excluded_interfaces=("^eth1$",))),
    ),
    "MetalLB says so, the interfaces are not known": (
        "INTERFACE_MISSING",
        capture(),
        facts(
            nodes=nodes(w2={"nics": None}),
            services=(
                service(events=(ServiceEvent(reason="announceFailed", node="w2", message="no such interface"),)),
            ),
        ),
    ),
    "the leader is elsewhere": ("LEADER_OFF_SEGMENT", NO_W2, facts(nodes=OFF)),
    "the leader is elsewhere, another is the leader": (
        "UNKNOWN",
        capture(),
        facts(nodes=nodes(w3={"nics": (nat(), nic("w3", addresses=("203.0.113.13/24",)))})),
    ),
    "the leader's interfaces are not known": ("UNKNOWN", capture(), facts(nodes=nodes(w2={"nics": None}))),
    "responses leave and do not arrive": (
        "EGRESS_FILTERED",
        capture(),
        facts(metrics=counted(3), metrics_after=counted(6, 3)),
    ),
    "requests do not arrive": (
        "INGRESS_LOST",
        NO_W2,
        facts(metrics=counted(3), metrics_after=counted(3), l2_status=ANNOUNCES),
    ),
    "requests arrive, no response leaves": (
        "UNKNOWN",
        capture(),
        facts(metrics=counted(3), metrics_after=counted(6)),
    ),
    "only a direct question is answered": ("BROADCAST_BLIND", capture(heard(W2, "U"), syn(W2)), facts()),
    "only a direct question is answered, counters flat": (
        "BROADCAST_BLIND",
        capture(heard(W2, "U"), syn(W2)),
        facts(metrics=counted(3), metrics_after=counted(3), l2_status=ANNOUNCES),
    ),
    "a proxy answers a client": ("PROXY_ARP", capture(heard(ROUTER, "BU"), syn(ROUTER)), facts()),
    "the configuration is refused, and no pod is ready": (
        "NO_ENDPOINTS",
        capture(),
        facts(metallb=metallb(config="invalid"), services=(service(endpoints=()),)),
    ),
    "the configuration is refused, and covers nothing": (
        "CONFIG_INVALID",
        capture(),
        facts(metallb=metallb(config="invalid"), advertisements=()),
    ),
}


@pytest.mark.parametrize(("verdict", "run", "known"), SILENCE.values(), ids=SILENCE)
def test_silence(verdict: str, run: Capture, known: Facts) -> None:
    assert judge(run, known).verdict == verdict, judge(run, known)


def test_counters_that_stand_still_prove_a_loss_only_where_metallb_announces() -> None:
    still = facts(metrics=counted(3), metrics_after=counted(3))
    assert judge(capture(), still).confidence == "possible"
    assert judge(capture(), still.model_copy(update={"l2_status": ANNOUNCES})).confidence == "likely"
    assert judge(NO_W2, still.model_copy(update={"l2_status": ANNOUNCES})).confidence == "certain"
    # A speaker that was started anew counts from 0: nothing can be told from the difference.
    anew = facts(metrics=counted(3), metrics_after={"w2": {}}, l2_status=ANNOUNCES)
    assert judge(capture(), anew).verdict == "UNKNOWN"


def test_frames_lost_here_prove_neither_silence_nor_a_single_owner() -> None:
    for run in (capture(dropped=3), replace(well(), dropped=3)):
        result = judge(run, facts())
        assert (result.verdict, result.confidence) == ("UNKNOWN", "certain")
        assert result.command == f"provisioner l2 check {IP} --pps 100"
    # What the facts would make of the silence is kept as an alternative, and two owners stay two.
    assert "NO_ENDPOINTS" in judge(capture(dropped=3), facts(services=(service(endpoints=()),))).alternatives
    assert judge(replace(BOTH, dropped=3), facts()).verdict == "SPLIT_BRAIN"


def test_an_address_outside_every_pool_is_not_metallbs() -> None:
    result = judge(
        capture(targets=(address("192.0.2.99"),)),
        facts(services=(service(ingress_ips=("192.0.2.99",)),)),
        "192.0.2.99",
    )
    assert result.verdict == "UNKNOWN"
    assert "No pool of MetalLB holds 192.0.2.99, so MetalLB does not announce it." in result.evidence
    assert result.command == "kubectl -n default describe service web"


def test_a_free_address_is_said_to_be_free() -> None:
    result = judge(capture(), facts(services=()))
    assert result.verdict == "UNKNOWN"
    assert result.evidence[0] == "No Service has 192.0.2.200: it is free."
    assert result.alternatives == ()

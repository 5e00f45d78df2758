"""What the staging between namespaces showed, as tables: each of these was judged wrongly once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.l2.facts import Counters, L2Status, OtherAnnouncers
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Answer
from tests.unit.l2.diagnosis.segment import IP, W1, W2, capture, facts, gratuitous, heard, judge, nat, nic, nodes, syn

OWN_KERNEL_ASKED = 0.52  # seconds after the prober's question, when the reset of a tried connection needed the owner


def again(kind: str, later: float) -> tuple[Answer, ...]:
    return tuple(replace(one, timestamp=one.timestamp + later, rtt=one.rtt + later) for one in heard(W2, kind))


@pytest.mark.parametrize(
    ("more", "zero", "warned"),
    [
        pytest.param((), True, False, id="each question answered once"),
        pytest.param(again("B", OWN_KERNEL_ASKED), True, False, id="an answer to the prober's own kernel"),
        pytest.param(again("B", OWN_KERNEL_ASKED), False, False, id="the same with --no-zero"),
        pytest.param(again("Z", 0.0003) * 2 + again("B", 0.0003), True, True, id="a kernel beside the speaker"),
        pytest.param(again("B", 0.0003), False, True, id="a kernel beside the speaker, with --no-zero"),
    ],
)
def test_an_answer_to_this_machines_own_kernel_is_no_second_owner(
    more: tuple[Answer, ...], zero: bool, warned: bool
) -> None:
    times = {Kind.PROBE: 1, Kind.REQUEST: 1} if zero else {Kind.REQUEST: 1}
    run = capture(heard(W2, "ZBU" if zero else "BU"), more, syn(W2))
    result = judge(replace(run, times={one: times for one in run.targets}), facts())
    assert (result.verdict, "KERNEL_ALSO_OWNS" in result.warnings) == ("OK", warned), result


def test_a_speaker_that_is_heard_and_hears_nothing_is_cut_off_and_not_blind() -> None:
    """Just assigned, so that its gratuitous frames are on the segment; a direct question did not reach it either."""
    told = capture(gratuitous(W2, 100.5), gratuitous(W2, 101.6))
    none = {"w2": {IP: Counters(requests_received=3, responses_sent=3)}}
    status = (L2Status(service="default/web", node="w2"),)
    assert judge(told, facts(metrics=none, metrics_after=none, l2_status=status)).verdict == "INGRESS_LOST"
    assert judge(told, facts()).verdict == "BROADCAST_BLIND"


def test_an_address_that_kube_vip_configured_is_no_nodes_own() -> None:
    """Nobody looked for kube-vip; its frames every 3 s tell who put the address there."""
    w1 = nic("w1", addresses=("192.0.2.11/24", f"{IP}/32"))
    known = facts(others=OtherAnnouncers(), nodes=nodes(w1={"nics": (nat(), w1)}))
    beat = [replace(gratuitous(W1, 100.0 + 3 * number), request=False) for number in range(3)]
    both = (heard(W2), heard(W1, length=42))
    assert judge(capture(*both, *beat), known).verdict == "KUBE_VIP_DUPLICATE"
    assert judge(capture(*both), known).verdict == "POOL_OVERLAPS_NODE"

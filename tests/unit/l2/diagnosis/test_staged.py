"""Cases found by staging real MetalLB between namespaces, each of which was diagnosed wrongly once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.l2.facts import Counters, L2Status, OtherAnnouncers
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Answer
from tests.unit.l2.diagnosis.segment import IP, W1, W2, capture, facts, gratuitous, heard, judge, nat, nic, nodes, syn

KERNEL_REQUEST = 0.52  # seconds after the probe, when this machine's kernel needed the owner to reset a connection


def again(kind: str, later: float) -> tuple[Answer, ...]:
    """Return w2's reply to a request of that kind, sent once more."""
    return tuple(replace(one, timestamp=one.timestamp + later, rtt=one.rtt + later) for one in heard(W2, kind))


@pytest.mark.parametrize(
    ("more", "arp_probe", "warned"),
    [
        pytest.param((), True, False, id="one reply to each request"),
        pytest.param(again("B", KERNEL_REQUEST), True, False, id="a reply to this machine's kernel"),
        pytest.param(again("B", KERNEL_REQUEST), False, False, id="the same with --no-zero"),
        pytest.param(again("Z", 0.0003) * 2 + again("B", 0.0003), True, True, id="kernel and speaker"),
        pytest.param(again("B", 0.0003), False, True, id="kernel and speaker, with --no-zero"),
    ],
)
def test_a_reply_to_this_machines_kernel_is_not_a_second_owner(
    more: tuple[Answer, ...], arp_probe: bool, warned: bool
) -> None:
    times = {Kind.PROBE: 1, Kind.REQUEST: 1} if arp_probe else {Kind.REQUEST: 1}
    run = capture(heard(W2, "ZBU" if arp_probe else "BU"), more, syn(W2))
    result = judge(replace(run, times={one: times for one in run.targets}), facts())
    assert (result.verdict, "KERNEL_ALSO_OWNS" in result.warnings) == ("OK", warned), result


def test_a_speaker_that_receives_no_unicast_either_is_not_broadcast_blind() -> None:
    """The address was just assigned, so its gratuitous ARP is on the segment; a unicast request was lost too."""
    announced = capture(gratuitous(W2, 100.5), gratuitous(W2, 101.6))
    none = {"w2": {IP: Counters(requests_received=3, responses_sent=3)}}
    status = (L2Status(service="default/web", node="w2"),)
    assert judge(announced, facts(metrics=none, metrics_after=none, l2_status=status)).verdict == "INGRESS_LOST"
    assert judge(announced, facts()).verdict == "BROADCAST_BLIND"


def test_an_address_configured_by_kube_vip_is_not_a_nodes_own() -> None:
    """Whether kube-vip runs is unknown; gratuitous ARP every 3 s identifies it."""
    w1 = nic("w1", addresses=("192.0.2.11/24", f"{IP}/32"))
    known = facts(others=OtherAnnouncers(), nodes=nodes(w1={"nics": (nat(), w1)}))
    frames = [replace(gratuitous(W1, 100.0 + 3 * number), request=False) for number in range(3)]
    both = (heard(W2), heard(W1, length=42))
    assert judge(capture(*both, *frames), known).verdict == "KUBE_VIP_DUPLICATE"
    assert judge(capture(*both), known).verdict == "POOL_OVERLAPS_NODE"

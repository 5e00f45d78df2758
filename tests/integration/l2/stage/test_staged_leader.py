"""The predicted leader hangs, is dead, is off the segment, or shares a MAC with another virtual machine."""

from __future__ import annotations

import pytest

from tests.integration.l2.conftest import mac
from tests.integration.l2.stage.stage import Stage

pytestmark = pytest.mark.integration


def test_a_leader_off_the_segment(stage: Stage) -> None:
    ip = stage.free(114, 117, "m2", ("m2",))
    stage.announced(stage.lone, ip, "m2")
    one = stage.check(stage.lone, ip)
    assert (one.exit, one.verdict, one.owners) == (1, "LEADER_OFF_SEGMENT", {}), one.result
    assert one.result["predicted_leader"] == "m2"


def test_a_leader_without_a_link_local_address_cannot_answer_ipv6(stage: Stage) -> None:
    """The speaker needs one to listen for solicitations; the node's IPv4 works."""
    four = stage.free(118, 121, "m3", ("m3",))
    six = "2001:db8::118"
    stage.lone.service("both", six, four, on=("m3",))
    stage.wait_announced(stage.lone, six, "m3")
    one, other = stage.check_all(stage.lone, [six, four]).values()
    assert other.verdict == "OK", other.result
    assert (one.exit, one.verdict, one.owners) == (1, "NDP_RESPONDER_FAILED", {}), one.result


def test_without_memberlist_nobody_takes_over_from_a_dead_leader(stage: Stage) -> None:
    ip = stage.free(150, 159, "n1", ("n1", "n2"))
    stage.announced(stage.plain, ip)
    one = stage.check(stage.plain, ip)
    assert (one.exit, one.verdict, one.owners) == (1, "NO_FAILOVER_MEMBERLIST_OFF", {}), one.result
    assert one.result["predicted_leader"] == "n1"


def test_two_machines_behind_one_wifi_client_are_ambiguous(stage: Stage) -> None:
    ip = stage.free(160, 169, "a1", ("a1", "a2"))
    stage.announced(stage.air, ip, "a1")
    one = stage.check(stage.air, ip)
    assert (one.exit, one.verdict) == (1, "AMBIGUOUS_MAC"), one.result
    assert set(one.owners) == {mac(70)}
    assert one.owners[mac(70)]["node"] == ""


def test_a_speaker_that_hangs_and_then_dies(stage: Stage) -> None:
    """Hung: Kubernetes still sees a ready pod, and another node answers. Dead: its pod is not ready."""
    frail = stage.frail
    ip = stage.free(125, 139, "d1", ("d1", "d2"))
    only = stage.free(140, 144, "d1", ("d1",))
    stage.announced(frail, ip, "d1")
    stage.announced(frail, only, "d1")
    assert [one.verdict for one in stage.check_all(frail, [ip, only]).values()] == ["OK", "OK"]

    frail.hang("d1")
    stage.wait_takeover(frail, ip, "d2")
    hung = stage.check(frail, ip)
    assert (hung.exit, hung.verdict, hung.notable) == (0, "OK", ["UNEXPECTED_LEADER"]), hung.result
    assert hung.owner_kinds() == {("d2", "eth1", "speaker")}
    assert hung.result["predicted_leader"] == "d1"

    stage.network.kill("speaker-d1")
    frail.set_pod_ready("d1", ready=False)
    taken_over, silent = stage.check_all(frail, [ip, only]).values()
    assert taken_over.verdict == "SPEAKER_DOWN", taken_over.result
    assert taken_over.owner_kinds() == {("d2", "eth1", "speaker")}
    assert (silent.exit, silent.verdict, silent.owners) == (1, "SPEAKER_DOWN", {}), silent.result
    assert silent.evidence_has("d1")

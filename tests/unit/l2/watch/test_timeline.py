"""The timeline and the verdict of a recording, with figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from provisioner.l2.probe.capture import Announcement, Handshake
from provisioner.l2.watch.spans import Track
from provisioner.l2.watch.timeline import build_timeline, longest_overlap
from provisioner.l2.watch.verdict import format_seconds, judge, owner_names, title
from tests.unit.l2.watch.recordings import (
    FOREIGN,
    IPV4,
    IPV6,
    OWNERS,
    START,
    W1,
    W2,
    connections,
    failover,
    pairs,
    recording,
)


def since(time: float | None) -> float | None:
    """Return a Unix time as seconds from the start of a recording."""
    return None if time is None else round(time - START, 6)


def test_an_ordinary_failover() -> None:
    timeline = build_timeline(failover())
    (change,) = timeline.transitions
    assert (change.before, change.after) == (W1, W2)
    assert since(change.old_last) == 1.901
    assert since(change.new_first) == 7.201
    assert change.silence == pytest.approx(5.3)
    assert change.silence_least == pytest.approx(5.1)  # the requests from 2.0 to 7.1 were not answered
    assert change.unanswered == 52
    assert change.overlap == 0
    assert since(change.gratuitous.first) == 7.15
    assert (change.gratuitous.frames, change.gratuitous.rounds, change.gratuitous.expected) == (10, 5, 5)
    assert change.gratuitous.complete
    assert since(change.tcp_last) == 1.752
    assert since(change.tcp_first) == 7.502
    assert change.tcp_outcome == "open"
    assert change.tcp_outage == pytest.approx(5.75)
    assert timeline.zero == change.old_last
    assert timeline.holders == (W2,)
    assert title(timeline, OWNERS) == "192.0.2.200 moved from worker1 to worker2: silent for 5.3 s"
    result = judge(timeline, OWNERS)
    assert (result.verdict, result.warnings, result.evidence) == ("OK", (), ())
    assert [owner.node for owner in result.owners] == ["worker1", "worker2"]


def test_what_was_not_observed_is_none_and_not_zero() -> None:
    """Without TCP, gratuitous frames or a new owner there are no such figures."""
    (change,) = build_timeline(recording(10, (W1, 0, 2))).transitions
    assert change.lost
    assert (change.new_first, change.silence, change.overlap) == (None, None, None)
    assert (change.gratuitous.first, change.tcp_last, change.tcp_first, change.tcp_outage) == (None, None, None, None)
    assert change.silence_least == pytest.approx(7.9)
    (begun,) = build_timeline(recording(10, (W2, 4, 10), gratuitous=pairs(W2, 3.9))).transitions
    assert begun.before == ""
    assert (begun.old_last, begun.silence, begun.overlap) == (None, None, None)
    assert begun.silence_least == pytest.approx(3.9)


def test_an_overlap_is_not_silence() -> None:
    timeline = build_timeline(recording(10, (W1, 0, 3), (W2, 2.5, 10), gratuitous=pairs(W2, 2.5)))
    (change,) = timeline.transitions
    assert change.silence == 0
    assert change.overlap == pytest.approx(0.4)
    assert title(timeline, OWNERS).endswith("moved from worker1 to worker2 without silence: both answered for 400 ms")
    assert judge(timeline, OWNERS).verdict == "OK"
    assert timeline.zero == change.old_last


def test_a_long_overlap_that_ended_is_a_warning() -> None:
    timeline = build_timeline(recording(20, (W1, 0, 6), (W2, 2, 20), gratuitous=pairs(W2, 2)))
    assert longest_overlap(timeline) == pytest.approx(3.9)
    result = judge(timeline, OWNERS)
    assert (result.verdict, result.warnings) == ("OK", ("LONG_OVERLAP",))


@pytest.mark.parametrize("begin", [0, 4])
def test_two_owners_until_the_end(begin: float) -> None:
    timeline = build_timeline(recording(12, (W1, 0, 12), (W2, begin, 12)))
    result = judge(timeline, OWNERS)
    assert result.verdict == "TWO_OWNERS"
    (change,) = timeline.transitions
    assert change.old_last is None  # it still answers
    assert (change.moved, change.both) == (False, True)
    assert change.overlap == pytest.approx(12 - begin - 0.1)
    assert result.command == "provisioner l2 check 192.0.2.200"
    assert title(timeline, OWNERS) == "192.0.2.200 has 2 owners: worker1 and worker2"


def test_an_overlap_just_before_the_end_may_be_a_handover() -> None:
    result = judge(build_timeline(recording(10, (W1, 0, 10), (W2, 9.5, 10))), OWNERS)
    assert result.inconclusive
    assert "within the 1 s of a handover" in result.evidence[0]


def test_the_same_owner_returns() -> None:
    timeline = build_timeline(recording(12, (W1, 0, 3), (W1, 6, 12)))
    (change,) = timeline.transitions
    assert not change.moved
    assert change.silence == pytest.approx(3.1)
    assert title(timeline, OWNERS) == "192.0.2.200 stayed on worker1: silent for 3.1 s"
    assert judge(timeline, OWNERS).verdict == "OK"  # an address that did not move needs no announcement


def test_connections_may_succeed_during_silence() -> None:
    """A dead speaker leaves kube-proxy's rules in place, so clients with the MAC cached are unaffected."""
    (change,) = build_timeline(recording(12, (W1, 0, 3), (W1, 6, 12), tcp=connections(W1, 0, 12))).transitions
    assert change.silence == pytest.approx(3.1)
    assert change.tcp_outage == pytest.approx(0.25)


@pytest.mark.parametrize("lost", [(3.0,), (3.0, 3.1, 3.2)])
def test_a_few_lost_frames_are_not_a_transition(lost: tuple[float, ...]) -> None:
    timeline = build_timeline(recording(10, (W1, 0, 10), lost=lost))
    assert timeline.transitions == ()
    assert title(timeline, OWNERS) == "192.0.2.200 stayed on worker1: no silence in 10.0 s"


def test_a_pause_of_this_machine_is_not_silence() -> None:
    """Suspended with Ctrl-Z for five seconds, it sends no requests that could go unanswered."""
    assert build_timeline(recording(12, (W1, 0, 12), pauses=[(3, 8)])).transitions == ()


def test_stray_replies_are_not_a_transition() -> None:
    timeline = build_timeline(recording(10, (W1, 0, 10), (FOREIGN, 4, 4.3)))
    assert timeline.transitions == ()
    assert timeline.holders == (W1,)
    assert [span.mac for span in timeline.strays] == [FOREIGN]
    assert f"{FOREIGN} also answered, for 200 ms" in judge(timeline, OWNERS).evidence


def test_an_address_that_moves_and_returns() -> None:
    """After its speaker is deleted, a node loses the address and gets it back once the new pod is ready."""
    timeline = build_timeline(
        recording(
            30,
            (W1, 0, 3),
            (W2, 3.5, 15),
            (W1, 15.2, 30),
            gratuitous=[*pairs(W2, 3.5), *pairs(W1, 15.2)],
        )
    )
    first, second = timeline.transitions
    assert (first.after, second.after) == (W2, W1)
    assert (first.gratuitous.rounds, second.gratuitous.rounds) == (5, 5)
    assert title(timeline, OWNERS) == (
        "192.0.2.200 changed 2 times, worker1 → worker2 → worker1: silent for 900 ms in total"
    )
    assert judge(timeline, OWNERS).verdict == "OK"


def test_an_address_that_moves_and_goes_silent() -> None:
    timeline = build_timeline(recording(20, (W1, 0, 3), (W2, 5, 9)))
    assert [(change.before, change.after) for change in timeline.transitions] == [(W1, W2), (W2, "")]
    result = judge(timeline, OWNERS)
    assert result.verdict == "NEVER_RETURNED"
    assert title(timeline, OWNERS).endswith("worker1 → worker2 → no owner: silent for 2.1 s in total")


def test_an_address_that_never_answers() -> None:
    timeline = build_timeline(recording(5))
    assert judge(timeline, OWNERS).verdict == "NEVER_ANSWERED"
    assert title(timeline, OWNERS) == "192.0.2.200: no reply in 5.0 s"
    assert timeline.zero == START


def test_a_takeover_without_gratuitous_frames() -> None:
    result = judge(build_timeline(recording(14, (W1, 0, 2), (W2, 7, 14))), OWNERS)
    assert result.verdict == "GARP_MISSING"
    assert result.evidence == ("worker2 took over without a gratuitous frame",)
    assert "ip neigh flush" in result.command
    early = judge(build_timeline(recording(9, (W1, 0, 2), (W2, 7, 9))), OWNERS)
    assert early.inconclusive  # they may still be sent


@pytest.mark.parametrize(("count", "warnings"), [(5, ()), (3, ("GARP_LOST",)), (6, ())])
def test_pairs_are_counted(count: int, warnings: tuple[str, ...]) -> None:
    timeline = build_timeline(recording(16, (W1, 0, 2), (W2, 7, 16), gratuitous=pairs(W2, 7, count)))
    assert timeline.transitions[0].gratuitous.rounds == count
    assert judge(timeline, OWNERS).warnings == warnings


def test_half_a_pair_does_not_count() -> None:
    frames = pairs(W2, 7)
    del frames[3]  # the reply of the second pair
    seen = build_timeline(recording(16, (W1, 0, 2), (W2, 7, 16), gratuitous=frames)).transitions[0].gratuitous
    assert (seen.frames, seen.rounds, seen.expected) == (9, 4, 5)


def test_another_programs_gratuitous_frames_are_not_compared_with_metallbs() -> None:
    """keepalived and kernels leave the target MAC empty, and send a configured number."""
    frames = [replace(frame, broadcast_target=False) for frame in pairs(W2, 7) if frame.request]
    timeline = build_timeline(recording(16, (W1, 0, 2), (W2, 7, 16), gratuitous=frames))
    seen = timeline.transitions[0].gratuitous
    assert (seen.frames, seen.rounds, seen.expected) == (5, 0, None)
    assert judge(timeline, OWNERS).verdict == "OK"


def test_only_the_new_owners_frames_count() -> None:
    frames = [*pairs(W1, 7), *pairs(FOREIGN, 7.5)]
    timeline = build_timeline(recording(16, (W1, 0, 2), (W2, 7, 16), gratuitous=frames))
    assert timeline.transitions[0].gratuitous.first is None
    assert f"gratuitous frames from {FOREIGN}, which never answered" in judge(timeline, OWNERS).evidence


@pytest.mark.parametrize(("count", "expected"), [(5, 5), (2, 5), (1, None)])
def test_ipv6_announcements_are_single_frames(count: int, expected: int | None) -> None:
    """The interval tells MetalLB from a kernel, which sends one."""
    frames = pairs(W2, 7, count, ip=IPV6)
    timeline = build_timeline(recording(16, (W1, 0, 2), (W2, 7, 16), ip=IPV6, gratuitous=frames))
    seen = timeline.transitions[0].gratuitous
    assert (seen.frames, seen.expected) == (count, expected)
    assert seen.rounds == (count if expected else 0)
    assert judge(timeline, OWNERS).family == "ipv6"


def test_a_refused_connection_is_an_answer_but_does_not_serve() -> None:
    refused = [
        Handshake(ip_address(IPV4), W2, 80, "refused", W2, START + 8 + number / 4, 0.002) for number in range(20)
    ]
    timeline = build_timeline(
        recording(
            16,
            (W1, 0, 2),
            (W2, 7, 16),
            gratuitous=pairs(W2, 7),
            tcp=[*connections(W1, 0, 2), *refused],
        )
    )
    (change,) = timeline.transitions
    assert (since(change.tcp_first), change.tcp_outcome, change.tcp_outage) == (8.0, "refused", None)
    assert judge(timeline, OWNERS).verdict == "NOT_SERVING"


def test_a_foreign_host_takes_over() -> None:
    timeline = build_timeline(recording(16, (W1, 0, 2), (FOREIGN, 4, 16), gratuitous=pairs(FOREIGN, 4)))
    assert judge(timeline, OWNERS, foreign={FOREIGN}).verdict == "ADDRESS_CONFLICT"
    assert judge(timeline, OWNERS).verdict == "OK"  # an unknown MAC may be a node's


def test_dropped_frames_prove_nothing() -> None:
    result = judge(build_timeline(recording(16, (W1, 0, 2), dropped=7)), OWNERS)
    assert result.inconclusive
    assert "dropped 7 frames" in result.evidence[0]


def test_until_stable_requires_a_transition() -> None:
    quiet = recording(10, (W1, 0, 10), ended_by="timeout", until_stable=True)
    assert judge(build_timeline(quiet), OWNERS).verdict == "UNKNOWN"
    busy = recording(10, (W1, 0, 3), (W2, 4, 10), gratuitous=pairs(W2, 4), ended_by="timeout", until_stable=True)
    assert judge(build_timeline(busy), OWNERS).verdict == "UNSTABLE"
    assert judge(build_timeline(replace(quiet, until_stable=False)), OWNERS).verdict == "OK"


def test_stable_once_only_one_owner_has_answered_long_enough() -> None:
    full = recording(20, (W1, 0, 2), (W2, 7, 20))
    track = Track()
    stable = []
    answers = list(full.answers)
    for now in full.requests:
        track.requests.append(now)
        while answers and answers[0].timestamp <= now:
            track.add(answers.pop(0))
        if track.is_stable(now, 6, START):
            stable.append(now - START)
    assert stable[0] == pytest.approx(13.1)
    assert stable[-1] == pytest.approx(19.9)


def test_not_stable_without_a_transition() -> None:
    track = Track(requests=[START + number / 10 for number in range(300)])
    for answer in recording(30, (W1, 0, 30)).answers:
        track.add(answer)
    assert not track.is_stable(START + 30, 6, START)


def test_two_interfaces_of_a_node_have_different_names() -> None:
    second = replace(OWNERS[W2], node="worker1", nodes=("worker1",), nic="eth2")
    assert owner_names((W1, W2), {**OWNERS, W2: second}) == {W1: "worker1 eth1", W2: "worker1 eth2"}
    assert owner_names((W1, W2), {}) == {W1: W1, W2: W2}
    shared = replace(OWNERS[W2], node="", nodes=("worker1", "worker2"))
    assert owner_names((W2,), {W2: shared}) == {W2: "worker1 or worker2"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 ms"), (0.0123, "12 ms"), (0.35, "350 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (5.21, "5.2 s")],
)
def test_durations_are_formatted_for_people(value: float, text: str) -> None:
    assert format_seconds(value) == text


def test_gratuitous_frames_without_a_reply_make_no_owner() -> None:
    frames = [Announcement(ip_address(IPV4), W2, START + 1, True, True, 60)]
    timeline = build_timeline(recording(10, gratuitous=frames))
    assert timeline.spans == ()
    assert judge(timeline, OWNERS).verdict == "NEVER_ANSWERED"
    assert "gratuitous frames from worker2, which never answered" in judge(timeline, OWNERS).evidence

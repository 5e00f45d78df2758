"""The story that a recording tells: each case with the figures that a person would read off by hand."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from provisioner.l2.probe.capture import Announcement, Handshake
from provisioner.l2.watch.spans import Track
from provisioner.l2.watch.timeline import doubled, tell
from provisioner.l2.watch.verdict import judge, named, seconds, title
from tests.unit.l2.watch.recordings import (
    IPV4,
    IPV6,
    OWNERS,
    START,
    STRANGER,
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
    timeline = tell(failover())
    (change,) = timeline.changes
    assert (change.before, change.after) == (W1, W2)
    assert since(change.old_last) == 1.901
    assert since(change.new_first) == 7.201
    assert change.silence == pytest.approx(5.3)
    assert change.silence_least == pytest.approx(5.1)  # the questions at 2.0 and 7.1 went unanswered
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


def test_what_was_not_seen_is_none_and_not_nought() -> None:
    """No TCP asked, no gratuitous frame, no return: no figure is made up."""
    (change,) = tell(recording(10, (W1, 0, 2))).changes
    assert change.lost
    assert (change.new_first, change.silence, change.overlap) == (None, None, None)
    assert (change.gratuitous.first, change.tcp_last, change.tcp_first, change.tcp_outage) == (None, None, None, None)
    assert change.silence_least == pytest.approx(7.9)
    (begun,) = tell(recording(10, (W2, 4, 10), gratuitous=pairs(W2, 3.9))).changes
    assert begun.before == ""
    assert (begun.old_last, begun.silence, begun.overlap) == (None, None, None)
    assert begun.silence_least == pytest.approx(3.9)


def test_an_overlap_is_no_silence() -> None:
    timeline = tell(recording(10, (W1, 0, 3), (W2, 2.5, 10), gratuitous=pairs(W2, 2.5)))
    (change,) = timeline.changes
    assert change.silence == 0
    assert change.overlap == pytest.approx(0.4)
    assert title(timeline, OWNERS).endswith("moved from worker1 to worker2 without silence: both answered for 400 ms")
    assert judge(timeline, OWNERS).verdict == "OK"
    assert timeline.zero == change.old_last


def test_a_long_overlap_that_ended_is_a_warning() -> None:
    timeline = tell(recording(20, (W1, 0, 6), (W2, 2, 20), gratuitous=pairs(W2, 2)))
    assert doubled(timeline) == pytest.approx(3.9)
    result = judge(timeline, OWNERS)
    assert (result.verdict, result.warnings) == ("OK", ("LONG_OVERLAP",))


@pytest.mark.parametrize("begin", [0, 4])
def test_two_owners_to_the_end(begin: float) -> None:
    timeline = tell(recording(12, (W1, 0, 12), (W2, begin, 12)))
    result = judge(timeline, OWNERS)
    assert result.verdict == "TWO_OWNERS"
    (change,) = timeline.changes
    assert change.old_last is None  # it still answers
    assert (change.moved, change.both) == (False, True)
    assert change.overlap == pytest.approx(12 - begin - 0.1)
    assert result.command == "provisioner l2 check 192.0.2.200"
    assert title(timeline, OWNERS) == "192.0.2.200 has 2 owners: worker1 and worker2 answer"


def test_two_owners_in_the_last_moment_may_be_a_handover() -> None:
    result = judge(tell(recording(10, (W1, 0, 10), (W2, 9.5, 10))), OWNERS)
    assert result.inconclusive
    assert "within the 1 s of a handover" in result.evidence[0]


def test_the_same_owner_came_back() -> None:
    timeline = tell(recording(12, (W1, 0, 3), (W1, 6, 12)))
    (change,) = timeline.changes
    assert not change.moved
    assert change.silence == pytest.approx(3.1)
    assert title(timeline, OWNERS) == "192.0.2.200 stayed on worker1: silent for 3.1 s"
    assert judge(timeline, OWNERS).verdict == "OK"  # nobody has to announce what did not move


def test_traffic_may_flow_on_while_nobody_answers() -> None:
    """A speaker that dies leaves kube-proxy's rules in place: clients that know the MAC notice nothing."""
    (change,) = tell(recording(12, (W1, 0, 3), (W1, 6, 12), tcp=connections(W1, 0, 12))).changes
    assert change.silence == pytest.approx(3.1)
    assert change.tcp_outage == pytest.approx(0.25)


@pytest.mark.parametrize("lost", [(3.0,), (3.0, 3.1, 3.2)])
def test_a_few_lost_frames_are_no_event(lost: tuple[float, ...]) -> None:
    timeline = tell(recording(10, (W1, 0, 10), lost=lost))
    assert timeline.changes == ()
    assert title(timeline, OWNERS) == "192.0.2.200 stayed on worker1: no silence in 10.0 s"


def test_our_own_pause_is_no_silence() -> None:
    """Stopped with Ctrl-Z for five seconds: nothing was asked, so nothing was unanswered."""
    assert tell(recording(12, (W1, 0, 12), pauses=[(3, 8)])).changes == ()


def test_a_stray_answer_moves_nothing() -> None:
    timeline = tell(recording(10, (W1, 0, 10), (STRANGER, 4, 4.3)))
    assert timeline.changes == ()
    assert timeline.holders == (W1,)
    assert [span.mac for span in timeline.strays] == [STRANGER]
    assert f"{STRANGER} answered too, for 200 ms" in judge(timeline, OWNERS).evidence


def test_there_and_back_again() -> None:
    """A deleted speaker: its node gives the address away and takes it back when the new pod is ready."""
    timeline = tell(
        recording(
            30,
            (W1, 0, 3),
            (W2, 3.5, 15),
            (W1, 15.2, 30),
            gratuitous=[*pairs(W2, 3.5), *pairs(W1, 15.2)],
        )
    )
    first, second = timeline.changes
    assert (first.after, second.after) == (W2, W1)
    assert (first.gratuitous.rounds, second.gratuitous.rounds) == (5, 5)
    assert title(timeline, OWNERS) == (
        "192.0.2.200 changed 2 times, worker1 → worker2 → worker1: silent for 900 ms in all"
    )
    assert judge(timeline, OWNERS).verdict == "OK"


def test_a_third_owner_and_gone() -> None:
    timeline = tell(recording(20, (W1, 0, 3), (W2, 5, 9)))
    assert [(change.before, change.after) for change in timeline.changes] == [(W1, W2), (W2, "")]
    result = judge(timeline, OWNERS)
    assert result.verdict == "NEVER_RETURNED"
    assert title(timeline, OWNERS).endswith("worker1 → worker2 → nobody: silent for 2.1 s in all")


def test_nobody_ever() -> None:
    timeline = tell(recording(5))
    assert judge(timeline, OWNERS).verdict == "NEVER_ANSWERED"
    assert title(timeline, OWNERS) == "192.0.2.200: nobody answered in 5.0 s"
    assert timeline.zero == START


def test_a_takeover_without_gratuitous_frames() -> None:
    result = judge(tell(recording(14, (W1, 0, 2), (W2, 7, 14))), OWNERS)
    assert result.verdict == "GARP_MISSING"
    assert result.evidence == ("worker2 took over and sent no gratuitous frame",)
    assert "ip neigh flush" in result.command
    early = judge(tell(recording(9, (W1, 0, 2), (W2, 7, 9))), OWNERS)
    assert early.inconclusive  # they may still come


@pytest.mark.parametrize(("count", "warnings"), [(5, ()), (3, ("GARP_LOST",)), (6, ())])
def test_pairs_are_counted(count: int, warnings: tuple[str, ...]) -> None:
    timeline = tell(recording(16, (W1, 0, 2), (W2, 7, 16), gratuitous=pairs(W2, 7, count)))
    assert timeline.changes[0].gratuitous.rounds == count
    assert judge(timeline, OWNERS).warnings == warnings


def test_half_a_pair_is_no_pair() -> None:
    frames = pairs(W2, 7)
    del frames[3]  # the reply of the second pair
    seen = tell(recording(16, (W1, 0, 2), (W2, 7, 16), gratuitous=frames)).changes[0].gratuitous
    assert (seen.frames, seen.rounds, seen.expected) == (9, 4, 5)


def test_another_programs_gratuitous_frames_are_not_measured_by_metallbs() -> None:
    """keepalived and kernels leave the target MAC empty, and send as many as they are told to."""
    frames = [replace(frame, broadcast_target=False) for frame in pairs(W2, 7) if frame.request]
    timeline = tell(recording(16, (W1, 0, 2), (W2, 7, 16), gratuitous=frames))
    seen = timeline.changes[0].gratuitous
    assert (seen.frames, seen.rounds, seen.expected) == (5, 0, None)
    assert judge(timeline, OWNERS).verdict == "OK"


def test_only_the_new_owners_frames_count() -> None:
    frames = [*pairs(W1, 7), *pairs(STRANGER, 7.5)]
    timeline = tell(recording(16, (W1, 0, 2), (W2, 7, 16), gratuitous=frames))
    assert timeline.changes[0].gratuitous.first is None
    assert f"gratuitous frames came from {STRANGER}, which never answered" in judge(timeline, OWNERS).evidence


@pytest.mark.parametrize(("count", "expected"), [(5, 5), (2, 5), (1, None)])
def test_ipv6_announcements_come_singly(count: int, expected: int | None) -> None:
    """MetalLB's rhythm tells it from a kernel, which sends one."""
    frames = pairs(W2, 7, count, ip=IPV6)
    timeline = tell(recording(16, (W1, 0, 2), (W2, 7, 16), ip=IPV6, gratuitous=frames))
    seen = timeline.changes[0].gratuitous
    assert (seen.frames, seen.expected) == (count, expected)
    assert seen.rounds == (count if expected else 0)
    assert judge(timeline, OWNERS).family == "ipv6"


def test_a_refused_connection_is_an_answer_but_not_the_service() -> None:
    refused = [
        Handshake(ip_address(IPV4), W2, 80, "refused", W2, START + 8 + number / 4, 0.002) for number in range(20)
    ]
    timeline = tell(
        recording(
            16,
            (W1, 0, 2),
            (W2, 7, 16),
            gratuitous=pairs(W2, 7),
            tcp=[*connections(W1, 0, 2), *refused],
        )
    )
    (change,) = timeline.changes
    assert (since(change.tcp_first), change.tcp_outcome, change.tcp_outage) == (8.0, "refused", None)
    assert judge(timeline, OWNERS).verdict == "NOT_SERVING"


def test_a_stranger_took_it() -> None:
    told = tell(recording(16, (W1, 0, 2), (STRANGER, 4, 16), gratuitous=pairs(STRANGER, 4)))
    assert judge(told, OWNERS, strangers={STRANGER}).verdict == "ADDRESS_CONFLICT"
    assert judge(told, OWNERS).verdict == "OK"  # whose it is, is not known: no verdict by absence of knowledge


def test_dropped_frames_prove_nothing() -> None:
    result = judge(tell(recording(16, (W1, 0, 2), dropped=7)), OWNERS)
    assert result.inconclusive
    assert "dropped 7 frames" in result.evidence[0]


def test_until_stable_wants_something_to_happen() -> None:
    quiet = recording(10, (W1, 0, 10), ended_by="timeout", wanted_change=True)
    assert judge(tell(quiet), OWNERS).verdict == "UNKNOWN"
    busy = recording(10, (W1, 0, 3), (W2, 4, 10), gratuitous=pairs(W2, 4), ended_by="timeout", wanted_change=True)
    assert judge(tell(busy), OWNERS).verdict == "UNSTABLE"
    assert judge(tell(replace(quiet, wanted_change=False)), OWNERS).verdict == "OK"


def test_settled_as_soon_as_one_owner_has_answered_alone_long_enough() -> None:
    full = recording(20, (W1, 0, 2), (W2, 7, 20))
    track = Track()
    settled = []
    answers = list(full.answers)
    for now in full.asked:
        track.asked.append(now)
        while answers and answers[0].timestamp <= now:
            track.answered(answers.pop(0))
        if track.settled(now, 6, START):
            settled.append(now - START)
    assert settled[0] == pytest.approx(13.1)
    assert settled[-1] == pytest.approx(19.9)  # and it stays so


def test_not_settled_while_nothing_has_happened() -> None:
    track = Track(asked=[START + number / 10 for number in range(300)])
    for answer in recording(30, (W1, 0, 30)).answers:
        track.answered(answer)
    assert not track.settled(START + 30, 6, START)


def test_twins_are_told_apart() -> None:
    twin = replace(OWNERS[W2], node="worker1", nodes=("worker1",), nic="eth2")
    assert named((W1, W2), {**OWNERS, W2: twin}) == {W1: "worker1 eth1", W2: "worker1 eth2"}
    assert named((W1, W2), {}) == {W1: W1, W2: W2}
    shared = replace(OWNERS[W2], node="", nodes=("worker1", "worker2"))
    assert named((W2,), {W2: shared}) == {W2: "worker1 or worker2"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 ms"), (0.0123, "12 ms"), (0.35, "350 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (5.21, "5.2 s")],
)
def test_durations(value: float, text: str) -> None:
    assert seconds(value) == text


def test_gratuitous_frames_before_the_watch_of_a_silent_address() -> None:
    """Frames without any answer: who sent them is told, and no owner is made of it."""
    frames = [Announcement(ip_address(IPV4), W2, START + 1, True, True, 60)]
    timeline = tell(recording(10, gratuitous=frames))
    assert timeline.spans == ()
    assert judge(timeline, OWNERS).verdict == "NEVER_ANSWERED"
    assert "gratuitous frames came from worker2, which never answered" in judge(timeline, OWNERS).evidence

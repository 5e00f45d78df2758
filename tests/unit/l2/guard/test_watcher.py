"""What a guard reports: each change once, no handover as a conflict, no lost frame as silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

import pytest

from provisioner.l2.guard.known import Known, known
from provisioner.l2.guard.sighting import Sighting
from provisioner.l2.probe.dhcp import Lease
from provisioner.l2.probe.router_adverts import RouterAdvert
from tests.unit.l2.guard.segment import FREE, STRANGER, VIP, W1, W2, Segment, facts


def codes(events: Sequence[object]) -> list[str]:
    return [event.code for event in events]  # type: ignore[attr-defined]


def test_an_owner_is_reported_once_and_asked_gently() -> None:
    segment = Segment(answering={VIP: lambda _: (W1,)})
    (found,) = segment.run(3600)
    assert (found.code, found.severity, found.text) == ("FOUND", "notice", "w1 eth1 answers for 192.0.2.200.")
    assert (found.service, found.owners) == ("default/web", (W1,))
    assert segment.asked[VIP] <= 121  # twice a minute


def test_silence_takes_three_questions_and_ends_with_an_answer() -> None:
    segment = Segment(answering={VIP: lambda t: () if 100 < t < 200 else (W1,)})
    events = segment.run(400)
    assert codes(events) == ["FOUND", "SILENT", "ANSWERED"]
    assert events[1].text == "No host answers for 192.0.2.200. w1 eth1 answered last."
    assert events[1].time - segment.begun < 145  # not three whole intervals
    assert [event.severity for event in events] == ["notice", "fault", "resolved"]


def test_one_lost_answer_is_no_silence() -> None:
    segment = Segment(answering={VIP: lambda t: () if round(t) % 60 < 4 else (W1,)})
    assert codes(segment.run(1800)) == ["FOUND"]


def test_a_move_is_a_change_of_leader() -> None:
    segment = Segment(answering={VIP: lambda t: (W1,) if t < 100 else (W2,)})
    events = segment.run(300)
    assert codes(events) == ["FOUND", "LEADER_CHANGED"]
    assert events[1].text == "192.0.2.200 moved from w1 eth1 to w2 eth1."


def test_a_handover_with_two_owners_for_a_moment_is_no_conflict() -> None:
    segment = Segment(answering={VIP: lambda t: (W1,) if t < 91 else (W1, W2) if t < 92 else (W2,)})
    assert codes(segment.run(300)) == ["FOUND", "LEADER_CHANGED"]


@pytest.mark.parametrize(
    ("watched", "macs", "code"),
    [
        (known(facts(), ()), (W1, W2), "SPLIT_BRAIN"),
        (known(facts(), ()), (W1, STRANGER), "ADDRESS_CONFLICT"),
        (Known({VIP: ""}), (W1, W2), "DUPLICATE_OWNERS"),
    ],
)
def test_two_owners_that_stay_are_a_conflict_until_one_is_alone(
    watched: Known, macs: tuple[str, ...], code: str
) -> None:
    segment = Segment(watched, {VIP: lambda t: (W1,) if not 100 < t < 500 else macs})
    events = segment.run(1000)
    assert codes(events) == ["FOUND", code, "ALONE"]
    assert events[1].owners == tuple(sorted(macs))
    assert "answer for 192.0.2.200 at the same time" in events[1].text


def test_a_stranger_that_answers_alone_is_a_conflict() -> None:
    segment = Segment(answering={VIP: lambda t: (STRANGER,) if t < 500 else (W1,)})
    assert codes(segment.run(1000)) == ["FOUND", "ADDRESS_CONFLICT", "LEADER_CHANGED", "ALONE"]


def test_a_stranger_is_not_told_where_a_node_is_unknown_until_it_is_learned() -> None:
    watched = known(facts(nics=False), ())
    segment = Segment(watched, {VIP: lambda _: (STRANGER,)})
    assert codes(segment.run(100)) == ["FOUND"]
    for n, mac in ((1, W1), (2, W2)):
        segment.hear(Sighting(ip_address(f"192.0.2.1{n}"), mac, "answers", segment.now))
    assert codes(segment.run(100)) == ["ADDRESS_CONFLICT"]


def test_flapping_is_one_event_and_not_one_each_time() -> None:
    segment = Segment(answering={VIP: lambda t: (W1,) if int(t / 60) % 2 else (W2,)})
    events = segment.run(3600)
    assert codes(events)[:4] == ["FOUND", "LEADER_CHANGED", "LEADER_CHANGED", "LEADER_CHANGED"]
    assert codes(events).count("FLAPPING") == 1
    assert len(events) == 5


def test_a_gratuitous_frame_of_another_is_followed_by_a_question_at_once() -> None:
    segment = Segment(answering={VIP: lambda t: (W1,) if t < 50 else (W2,)})
    segment.run(50)
    segment.hear(Sighting(VIP, W2, "announces", segment.now))
    assert codes(segment.run(6)) == ["LEADER_CHANGED"]


def test_one_who_keeps_announcing_does_not_make_it_ask_all_the_time() -> None:
    segment = Segment(answering={VIP: lambda _: (W1,)})
    segment.run(60)
    before = segment.asked[VIP]
    for _ in range(600):
        segment.hear(Sighting(VIP, W2, "announces", segment.now))
        segment.run(1)
    assert segment.asked[VIP] - before <= 23


def test_this_machine_is_no_owner() -> None:
    segment = Segment()
    segment.hear(Sighting(FREE, "02:00:00:00:00:01", "uses", segment.now))
    segment.hear(Sighting(ip_address("192.0.2.1"), STRANGER, "uses", segment.now))
    assert segment.events == []


@pytest.mark.parametrize("said", ["uses", "announces", "answers"])
def test_a_host_in_a_pool_is_reported_however_it_is_heard(said: str) -> None:
    segment = Segment(answering={VIP: lambda _: (W1,)})
    for _ in range(10):
        segment.hear(Sighting(FREE, STRANGER, said, segment.now))  # type: ignore[arg-type]
        segment.run(1)
    (event,) = [event for event in segment.events if event.code != "FOUND"]
    assert (event.code, event.severity) == ("POOL_ADDRESS_IN_USE", "fault")
    assert event.text == f"{STRANGER} has 192.0.2.205 of pool lab, which no Service has."


def test_a_duplicate_in_a_pool() -> None:
    segment = Segment()
    segment.hear(Sighting(FREE, STRANGER, "uses", segment.now))
    segment.hear(Sighting(FREE, "9c:b6:d0:00:00:02", "answers", segment.now))
    assert codes(segment.events) == ["POOL_ADDRESS_IN_USE", "POOL_DUPLICATE"]


def test_a_node_that_answers_for_a_service_too_new_to_be_known_is_given_time() -> None:
    segment = Segment()
    segment.hear(Sighting(FREE, W1, "announces", segment.now))
    assert segment.events == []
    newer = facts().model_copy(update={"services": (*(facts().services or ()),)})
    watched = known(newer, ())
    segment.watcher.update(replace(watched, assigned={**watched.assigned, FREE: "default/new"}))
    segment.run(200)
    assert not [event for event in segment.events if event.subject == str(FREE) and event.code.startswith("POOL")]


@pytest.mark.parametrize("kind", ["offer", "ack", "request"])
def test_a_dhcp_server_in_a_pool(kind: str) -> None:
    segment = Segment()
    server = ip_address("192.0.2.254")
    lease = Lease(kind, FREE, STRANGER, server)  # type: ignore[arg-type]
    events = segment.watcher.hear(lease, 1.0) + segment.watcher.hear(lease, 2.0)
    (event,) = events
    assert event.code == "DHCP_IN_POOL"
    assert "The DHCP server 192.0.2.254" in event.text
    assert "192.0.2.205 of pool lab to 9c:b6:d0:12:34:56" in event.text


def test_leases_outside_the_pools_and_wishes_are_nothing() -> None:
    segment = Segment()
    server = ip_address("192.0.2.254")
    assert segment.watcher.hear(Lease("ack", ip_address("192.0.2.99"), STRANGER, server), 1.0) == []  # type: ignore[arg-type]
    assert segment.watcher.hear(Lease("request", FREE, STRANGER, None), 1.0) == []  # type: ignore[arg-type]


def advert(source: str, when: float, priority: int = 100) -> RouterAdvert:
    mac = f"02:00:00:00:01:{source.rpartition('.')[2]:0>2}"
    vip = (ip_address("192.0.2.250"),)
    return RouterAdvert("VRRP", 3, 51, ip_address(source), mac, priority, vip, 1.0, when)


def masters(*adverts: RouterAdvert) -> list[str]:
    segment = Segment()
    return codes([event for one in adverts for event in segment.watcher.hear(one, one.timestamp)])


def test_a_vrrp_takeover_is_a_change_and_two_masters_are_a_fault() -> None:
    first = [advert("192.0.2.2", t) for t in range(5)]
    gone = [advert("192.0.2.3", t) for t in range(9, 14)]
    assert masters(*first, *gone) == ["VRRP_FOUND", "VRRP_MASTER_CHANGED"]
    resigned = [advert("192.0.2.2", 5, priority=0), *(advert("192.0.2.3", t) for t in range(6, 12))]
    assert masters(*first, *resigned) == ["VRRP_FOUND", "VRRP_MASTER_CHANGED"]
    both = [one for t in range(5, 20) for one in (advert("192.0.2.2", t), advert("192.0.2.3", t + 0.5))]
    alone = [advert("192.0.2.3", t) for t in range(21, 30)]
    assert masters(*first, *both, *alone) == ["VRRP_FOUND", "VRRP_TWO_MASTERS", "VRRP_ALONE"]


def test_a_preemption_is_no_conflict() -> None:
    """The higher priority begins to advertise; the lower one sends at most one more (RFC 9568, 6.4.3)."""
    seen = [advert("192.0.2.2", 0), advert("192.0.2.3", 0.9, 200), advert("192.0.2.2", 1.0)]
    assert masters(*seen, *(advert("192.0.2.3", t + 0.9, 200) for t in range(1, 12))) == [
        "VRRP_FOUND",
        "VRRP_MASTER_CHANGED",
    ]


def test_a_group_that_falls_silent_is_reported_once() -> None:
    segment = Segment()
    segment.watcher.hear(advert("192.0.2.2", segment.now), segment.now)
    assert codes(segment.run(300)).count("VRRP_SILENT") == 1


def test_after_a_sleep_of_the_machine_nothing_is_concluded_from_it() -> None:
    segment = Segment(answering={VIP: lambda _: (W1,)})
    segment.run(100)
    segment.watcher.asked(VIP, segment.now)
    segment.now += 8 * 3600
    segment.watcher.pause()
    assert codes(segment.run(300)) == []

"""Matching answers to questions, the rate limit, and the command for unprivileged users; no frames."""

import random
from bisect import bisect_left
from ipaddress import IPv4Address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.l2.probe.arp import NOBODY, Kind, Reply
from provisioner.l2.probe.prober import question_of
from provisioner.l2.probe.rate_limit import CLOSEST, HIGHEST_PPS, RateLimit
from provisioner.l2.probe.raw_socket import privileged_command

A, B, C = "52:54:00:00:00:0a", "52:54:00:00:00:0b", "52:54:00:00:00:0c"
IP, OWN = IPv4Address("192.0.2.9"), IPv4Address("192.0.2.1")
ASKED = [
    (10.0, Kind.PROBE, ""),
    (12.0, Kind.REQUEST, ""),
    (13.0, Kind.PROBE, ""),
    (14.0, Kind.UNICAST, A),
    (14.1, Kind.UNICAST, B),
]


@pytest.mark.parametrize(
    ("asked_from", "mac", "timestamp", "wanted"),
    [
        (NOBODY, A, 10.5, ASKED[0]),
        (NOBODY, A, 13.5, ASKED[2]),  # the second probe
        (NOBODY, A, 11.5, ASKED[0]),  # however late
        (OWN, A, 12.5, ASKED[1]),
        (OWN, A, 14.5, ASKED[3]),  # the one that went to this MAC, not the newest
        (OWN, B, 14.5, ASKED[4]),
        (OWN, C, 12.9, ASKED[1]),
        (OWN, C, 14.5, ASKED[4]),  # nothing else was asked for a second: it answers a unicast to another MAC
        (NOBODY, A, 9.9, ASKED[0]),  # the clock was set back
        (None, A, 14.5, ASKED[3]),  # an advertisement does not say which question it answers
    ],
)
def test_an_answer_is_matched_to_its_question(
    asked_from: IPv4Address | None, mac: str, timestamp: float, wanted: tuple[float, Kind, str]
) -> None:
    assert question_of(Reply(IP, mac, mac, "", asked_from, 60), timestamp, ASKED) == wanted


@given(
    st.floats(min_value=0, max_value=20), st.sampled_from([NOBODY, OWN, None]), st.integers(min_value=1, max_value=5)
)
def test_every_answer_finds_a_question(timestamp: float, asked_from: IPv4Address | None, many: int) -> None:
    assert question_of(Reply(IP, A, A, "", asked_from, 60), timestamp, ASKED[:many]) in ASKED


def send_times(pps: float, count: int, late: dict[int, float]) -> list[float]:
    """Return when frames are sent; late: seconds of delay, by the number of the frame."""
    limit, now, times = RateLimit(pps), 100.0, []
    limit.begin(now)
    for number in range(count):
        now = max(now, limit.due(now)) + late.get(number, 0.0)
        limit.sent(now)
        times.append(now)
    return times


def most_within(times: list[float], seconds: float) -> int:
    """Return the largest number of frames sent within that long."""
    return max(bisect_left(times, first + seconds) - number for number, first in enumerate(times))


def test_late_wake_ups_do_not_lower_the_highest_rate() -> None:
    random.seed(1)
    times = send_times(HIGHEST_PPS, 400, {number: random.uniform(0, 0.0008) for number in range(400)})
    assert times[-1] - times[0] == pytest.approx(399 / HIGHEST_PPS, abs=0.01)
    assert most_within(times, 0.1) <= HIGHEST_PPS / 10 + 3


@pytest.mark.parametrize("pps", [1, 10, 200, 499, 500])
def test_the_average_rate_is_the_requested_one(pps: int) -> None:
    random.seed(pps)
    times = send_times(pps, 400, {})
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert times[-1] - times[0] == pytest.approx(399 / pps, abs=1 / pps)
    assert most_within(times, 1.0) <= HIGHEST_PPS + 3
    assert min(gaps) > CLOSEST - 1e-6
    if pps < HIGHEST_PPS:
        assert max(gaps) - min(gaps) > 0.1 / pps or pps == 499  # never in step with anything periodic


def test_a_short_delay_is_made_up_for_within_the_highest_rate() -> None:
    times = send_times(200, 400, {50: 0.2})
    assert times[-1] - times[0] == pytest.approx(399 / 200, abs=0.01)
    assert min(later - earlier for earlier, later in pairwise(times)) > CLOSEST - 1e-6
    assert most_within(times, 0.1) <= HIGHEST_PPS / 10 + 3
    assert send_times(200, 400, {50: 5.0})[-1] - 100 > 5.9


def test_idle_time_earns_no_credit() -> None:
    limit = RateLimit(200)
    limit.begin(100.0)
    assert limit.due(100.0) < 100.01
    limit.sent(100.0)
    limit.begin(200.0)
    first, second = limit.due(200.0), limit.due(200.0)
    assert 200.0 <= first < 200.01
    assert 200.005 <= second < 200.01


def test_the_command_for_unprivileged_users_quotes_arguments() -> None:
    command = privileged_command(["/opt/my tools/provisioner", "verify"])
    assert command.startswith("sudo -E setpriv --reuid=")
    assert command.endswith(" '/opt/my tools/provisioner' verify")

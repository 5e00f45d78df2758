"""An address that moves back and forth is told from a failover, from two owners at once, and from loss."""

from __future__ import annotations

import pytest

from provisioner.l2.watch.timeline import build_timeline
from provisioner.l2.watch.turns import turns_of
from provisioner.l2.watch.verdict import judge, title
from tests.unit.l2.watch.recordings import OWNERS, W1, W2, failover, recording

BOUNCING = tuple((W1 if number % 2 else W2, 2.0 * number, 2.0 * number + 1.9) for number in range(8))
SLOWLY = tuple((W1 if number % 2 else W2, 100.0 * number, 100.0 * number + 99) for number in range(6))


@pytest.mark.parametrize(
    ("spans", "moves", "flaps", "flapped"),
    [
        (BOUNCING, 7, True, True),
        (BOUNCING[:4], 3, False, False),
        (((W1, 0, 2), (W2, 3, 5), (W1, 6, 9)), 2, False, False),
        (((W1, 0, 16), (W2, 0, 16)), 0, False, False),
        (SLOWLY, 5, False, False),
    ],
)
def test_when_an_address_flaps(
    spans: tuple[tuple[str, float, float], ...], moves: int, flaps: bool, flapped: bool
) -> None:
    turns = turns_of(recording(spans[-1][2], *spans).answers)
    assert (turns.moves, turns.flaps(), turns.flapped()) == (moves, flaps, flapped)


def test_two_owners_that_lose_replies_do_not_take_turns() -> None:
    lost = [number / 10 for number in range(160) if number % 3 == 0]
    made = recording(16, (W1, 0, 16), (W2, 0, 16), lost=lost)
    assert not turns_of(made.answers).flapped()


def test_flapping_is_a_verdict_whoever_holds_the_address_at_the_end() -> None:
    timeline = build_timeline(recording(16, *BOUNCING, ended_by="flapping", until_stable=True))
    result = judge(timeline, OWNERS)
    assert result.verdict == "FLAPPING"
    assert result.evidence[0].startswith("7 moves in 12.0 s, worker2 → worker1 → ")
    assert title(timeline, OWNERS) == (
        "192.0.2.200 moved back and forth, 7 times in 12.0 s, between worker2 and worker1"
    )


def test_a_failover_is_not_flapping() -> None:
    assert judge(build_timeline(failover()), OWNERS).verdict == "OK"

"""What a person reads: the sentence, the lanes, the figures; in UTF-8 and in ASCII, wide and narrow."""

from __future__ import annotations

import json

import pytest

from provisioner.l2.watch.report import document
from provisioner.l2.watch.text import ASCII, nice, text, view
from provisioner.l2.watch.timeline import Recording, tell
from provisioner.l2.watch.verdict import judge
from tests.unit.l2.watch.recordings import OWNERS, STRANGER, W1, W2, connections, failover, pairs, recording


def shown(told: Recording, width: int = 100) -> str:
    """Return the report of a recording as text."""
    timeline = tell(told)
    return text(timeline, judge(timeline, OWNERS), width=width)


def test_a_failover_reads_as_a_picture() -> None:
    lines = shown(failover()).splitlines()
    assert lines[0] == "192.0.2.200 moved from worker1 to worker2: silent for 5.3 s"
    lanes = {line[2:12].strip(): line[14:] for line in lines[2:7]}
    assert lanes["worker1"].rstrip() == "█" * 10
    assert lanes["worker2"].strip() == "█" * 40
    assert lanes["gratuitous"].count("▲") == 5
    silence = lanes[""]
    assert "├────────── silent 5.3 s ──────────┤" in silence
    # The measure lies between the two bars, and leaves no column free.
    assert silence.index("├") == lanes["worker1"].rstrip().rindex("█") + 1
    assert silence.index("┤") == lanes["worker2"].index("█") - 1
    assert "no connection 5.8 s" in lanes["TCP 80"]


def test_the_figures_of_a_failover() -> None:
    lines = [line.split(maxsplit=1) for line in shown(failover()).splitlines() if line.startswith("  ")]
    told = {line[0]: line[1] for line in lines if len(line) == 2}
    assert told["silence"] == "5.300 s, at least 5.100 s (a question every 100 ms)"
    assert told["overlap"] == "none"
    assert told["gratuitous"] == "5 pairs of the expected 5"
    assert told["+5.249"] == "s  worker2 sends its first gratuitous frame"
    assert told["+5.601"] == "s  first TCP answer through worker2: open"


def test_what_was_not_seen_says_so() -> None:
    whole = shown(recording(10, (W1, 0, 2)))
    assert "at least 7.900 s; its end was not seen" in whole
    assert "not asked (--port)" in whole
    assert "next: provisioner l2 check 192.0.2.200" in whole
    assert "gratuitous  not seen" in shown(recording(14, (W1, 0, 2), (W2, 7, 14)))
    assert "not seen so far" in shown(recording(8, (W1, 0, 2), (W2, 7, 8)))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_of_the_chart_is_wider_than_the_terminal(width: int) -> None:
    lines = shown(failover(), width).splitlines()
    chart = lines[2 : lines.index("", 2)]
    assert max(map(len, chart)) <= width
    assert max(map(len, chart)) > width - 8


def test_ascii_for_a_terminal_without_utf8() -> None:
    told = recording(30, (W1, 0, 3), (W2, 3.5, 15), (W1, 15.2, 30), gratuitous=[*pairs(W2, 3.5), *pairs(W1, 15.2)])
    timeline = tell(told)
    whole = text(timeline, judge(timeline, OWNERS), marks=ASCII)
    assert whole.isascii()
    assert "worker1 -> worker2 -> worker1" in whole


def test_an_idle_hour_does_not_shrink_the_event() -> None:
    """The picture shows what happened, not how long one waited for it."""
    first, last = view(tell(recording(600, (W1, 0, 300), (W2, 305, 600), gratuitous=pairs(W2, 305))))
    assert first == pytest.approx(-1.14, abs=0.02)
    assert last < 12


def test_two_owners_a_stray_and_nothing_at_all_have_a_chart() -> None:
    assert shown(recording(12, (W1, 0, 12), (W2, 4, 12))).count("█") > 100
    assert STRANGER in shown(recording(12, (W1, 0, 12), (STRANGER, 6, 6.4)))
    assert "█" not in shown(recording(5))


@pytest.mark.parametrize(("length", "step"), [(10.0, 1), (10.1, 2), (0.35, 0.05), (4000, 500)])
def test_round_steps(length: float, step: float) -> None:
    assert nice(length, 10) == step


def test_json_has_every_figure_and_null_for_what_was_not_seen() -> None:
    timeline = tell(failover())
    told = json.loads(json.dumps(document(timeline, judge(timeline, OWNERS), {"version": "1"})))
    assert told["schema"] == "l2watch/v1"
    assert told["verdict"] == "OK"
    (change,) = told["changes"]
    assert (change["kind"], change["from"], change["to"]) == ("moved", W1, W2)
    assert change["old_last_reply"]["t"] == 0
    assert change["silence_s"] == pytest.approx(5.3)
    assert change["silence_at_least_s"] == pytest.approx(5.1)
    assert change["resolution_s"] == pytest.approx(0.2)
    assert change["gratuitous_pairs"] == change["gratuitous_expected"] == 5
    assert change["first_tcp_answer"]["t"] == pytest.approx(5.601)
    assert [event["event"] for event in told["events"]] == [
        "last_tcp_before",
        "old_last_reply",
        "first_gratuitous",
        "new_first_reply",
        "first_tcp_answer",
    ]
    gone = tell(recording(10, (W1, 0, 2)))
    (lost,) = document(gone, judge(gone, OWNERS), {})["changes"]
    assert lost["kind"] == "lost"
    for name in ("new_first_reply", "silence_s", "overlap_s", "first_gratuitous", "first_tcp_answer", "tcp_outage_s"):
        assert lost[name] is None, name


def test_connections_go_on_while_nobody_answers() -> None:
    whole = shown(recording(12, (W1, 0, 3), (W1, 6, 12), tcp=connections(W1, 0, 12)))
    assert "no connection" not in whole
    assert "0.250 s between the last connection and the next" in whole


def test_tcp_is_told_where_nothing_happened_too() -> None:
    kept = shown(recording(10, (W1, 0, 10), tcp=connections(W1, 0, 10)))
    assert kept.splitlines()[-1].split() == ["TCP", "80", "40", "tries:", "40", "open"]
    dead = recording(10, (W1, 0, 10), tcp=connections(W1, 0, 10, works=False))
    assert "warning: no TCP connection came about at any time" in shown(dead)


def test_hours_of_waiting_do_not_fill_the_json() -> None:
    tcp = [*connections(W1, 0, 3600), *connections(W2, 3605, 7200)]
    timeline = tell(recording(7200, (W1, 0, 3600), (W2, 3605, 7200), gratuitous=pairs(W2, 3605), tcp=tcp))
    told = document(timeline, judge(timeline, OWNERS), {})
    assert len(told["connections"]) < 300
    assert told["tcp_outcomes"] == {"open": len(tcp)}
    assert min(shake["t"] for shake in told["connections"]) < told["changes"][0]["last_tcp_before"]["t"] <= 0

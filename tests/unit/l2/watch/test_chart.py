"""The report for people and l2watch/v1: title, lanes and figures, in UTF-8 and ASCII, wide and narrow."""

from __future__ import annotations

import json

import pytest

from provisioner.l2.watch.chart import ASCII, render, round_step, visible_range
from provisioner.l2.watch.report import document
from provisioner.l2.watch.timeline import Recording, build_timeline
from provisioner.l2.watch.verdict import judge
from tests.unit.l2.watch.recordings import FOREIGN, OWNERS, W1, W2, connections, failover, pairs, recording


def shown(recorded: Recording, width: int = 100) -> str:
    """Return the report of a recording as text."""
    timeline = build_timeline(recorded)
    return render(timeline, judge(timeline, OWNERS), width=width)


def test_the_chart_of_a_failover() -> None:
    lines = shown(failover()).splitlines()
    assert lines[0] == "192.0.2.200 moved from worker1 to worker2: silent for 5.3 s"
    lanes = {line[2:12].strip(): line[14:] for line in lines[2:7]}
    assert lanes["worker1"].rstrip() == "█" * 10
    assert lanes["worker2"].strip() == "█" * 40
    assert lanes["gratuitous"].count("▲") == 5
    silence = lanes[""]
    assert "├────────── silent 5.3 s ──────────┤" in silence
    # The bracket fills the columns between the two bars.
    assert silence.index("├") == lanes["worker1"].rstrip().rindex("█") + 1
    assert silence.index("┤") == lanes["worker2"].index("█") - 1
    assert "no connection 5.8 s" in lanes["TCP 80"]


def test_the_figures_of_a_failover() -> None:
    lines = [line.split(maxsplit=1) for line in shown(failover()).splitlines() if line.startswith("  ")]
    figures = {line[0]: line[1] for line in lines if len(line) == 2}
    assert figures["silence"] == "5.300 s, at least 5.100 s (one request every 100 ms)"
    assert figures["overlap"] == "none"
    assert figures["gratuitous"] == "5 of 5 expected pairs"
    assert figures["+5.249"] == "s  first gratuitous frame from worker2"
    assert figures["+5.601"] == "s  first TCP answer through worker2: open"


def test_unobserved_figures_are_marked() -> None:
    whole = shown(recording(10, (W1, 0, 2)))
    assert "at least 7.900 s; its end was not seen" in whole
    assert "not tried (--port)" in whole
    assert "next: provisioner l2 check 192.0.2.200" in whole
    assert "gratuitous  not seen" in shown(recording(14, (W1, 0, 2), (W2, 7, 14)))
    assert "not seen so far" in shown(recording(8, (W1, 0, 2), (W2, 7, 8)))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_chart_fits_the_width_of_the_terminal(width: int) -> None:
    lines = shown(failover(), width).splitlines()
    chart = lines[2 : lines.index("", 2)]
    assert max(map(len, chart)) <= width
    assert max(map(len, chart)) > width - 8


def test_ascii_for_a_terminal_without_utf8() -> None:
    frames = [*pairs(W2, 3.5), *pairs(W1, 15.2)]
    timeline = build_timeline(recording(30, (W1, 0, 3), (W2, 3.5, 15), (W1, 15.2, 30), gratuitous=frames))
    whole = render(timeline, judge(timeline, OWNERS), marks=ASCII)
    assert whole.isascii()
    assert "worker1 -> worker2 -> worker1" in whole


def test_the_chart_leaves_out_idle_time() -> None:
    idle = recording(600, (W1, 0, 300), (W2, 305, 600), gratuitous=pairs(W2, 305))
    first, last = visible_range(build_timeline(idle))
    assert first == pytest.approx(-1.14, abs=0.02)
    assert last < 12


def test_two_owners_and_stray_replies_have_a_chart_and_silence_has_none() -> None:
    assert shown(recording(12, (W1, 0, 12), (W2, 4, 12))).count("█") > 100
    assert FOREIGN in shown(recording(12, (W1, 0, 12), (FOREIGN, 6, 6.4)))
    assert "█" not in shown(recording(5))


@pytest.mark.parametrize(("length", "step"), [(10.0, 1), (10.1, 2), (0.35, 0.05), (4000, 500)])
def test_round_steps(length: float, step: float) -> None:
    assert round_step(length, 10) == step


def test_the_json_has_every_figure_and_null_for_unobserved_ones() -> None:
    timeline = build_timeline(failover())
    made = json.loads(json.dumps(document(timeline, judge(timeline, OWNERS), {"version": "1"})))
    assert made["schema"] == "l2watch/v1"
    assert made["verdict"] == "OK"
    (change,) = made["changes"]
    assert (change["kind"], change["from"], change["to"]) == ("moved", W1, W2)
    assert change["old_last_reply"]["t"] == 0
    assert change["silence_s"] == pytest.approx(5.3)
    assert change["silence_at_least_s"] == pytest.approx(5.1)
    assert change["resolution_s"] == pytest.approx(0.2)
    assert change["gratuitous_pairs"] == change["gratuitous_expected"] == 5
    assert change["first_tcp_answer"]["t"] == pytest.approx(5.601)
    assert [event["event"] for event in made["events"]] == [
        "last_tcp_before",
        "old_last_reply",
        "first_gratuitous",
        "new_first_reply",
        "first_tcp_answer",
    ]
    gone = build_timeline(recording(10, (W1, 0, 2)))
    (lost,) = document(gone, judge(gone, OWNERS), {})["changes"]
    assert lost["kind"] == "lost"
    for name in ("new_first_reply", "silence_s", "overlap_s", "first_gratuitous", "first_tcp_answer", "tcp_outage_s"):
        assert lost[name] is None, name


def test_connections_during_silence_are_not_an_outage() -> None:
    whole = shown(recording(12, (W1, 0, 3), (W1, 6, 12), tcp=connections(W1, 0, 12)))
    assert "no connection" not in whole
    assert "0.250 s between the last connection and the next" in whole


def test_tcp_is_reported_without_a_transition_too() -> None:
    stable = shown(recording(10, (W1, 0, 10), tcp=connections(W1, 0, 10)))
    assert stable.splitlines()[-1].split() == ["TCP", "80", "40", "connections:", "40", "open"]
    dead = recording(10, (W1, 0, 10), tcp=connections(W1, 0, 10, works=False))
    assert "warning: no TCP connection succeeded" in shown(dead)


def test_the_json_leaves_out_the_connections_of_idle_time() -> None:
    tcp = [*connections(W1, 0, 3600), *connections(W2, 3605, 7200)]
    timeline = build_timeline(recording(7200, (W1, 0, 3600), (W2, 3605, 7200), gratuitous=pairs(W2, 3605), tcp=tcp))
    made = document(timeline, judge(timeline, OWNERS), {})
    assert len(made["connections"]) < 300
    assert made["tcp_outcomes"] == {"open": len(tcp)}
    assert min(shake["t"] for shake in made["connections"]) < made["changes"][0]["last_tcp_before"]["t"] <= 0

"""Any recording gives a consistent timeline, and a chart, an SVG and JSON of it."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Announcement, Answer, Handshake
from provisioner.l2.watch import chart, chart_svg
from provisioner.l2.watch.report import document
from provisioner.l2.watch.timeline import Recording, build_timeline, longest_overlap
from provisioner.l2.watch.verdict import judge
from tests.unit.l2.watch.recordings import FOREIGN, IPV4, IPV6, OWNERS, START, W1, W2, recording

MACS = st.sampled_from([W1, W2, FOREIGN])
# Also before the first request and after the end, since clocks step.
WHEN = st.floats(-5, 30, allow_nan=False).map(lambda second: START + second)


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    """Draw a recording of 25 seconds."""
    ip = ip_address(draw(st.sampled_from([IPV4, IPV6])))
    spans = draw(st.lists(st.tuples(MACS, st.floats(0, 25), st.floats(0, 25)), max_size=5))
    base = recording(25, *((mac, min(one, two), max(one, two)) for mac, one, two in spans), ip=str(ip))
    stray = st.builds(Answer, st.just(ip), MACS, st.just(Kind.PROBE), WHEN, st.floats(0, 3), st.just(60))
    frame = st.builds(Announcement, st.just(ip), MACS, WHEN, st.booleans(), st.booleans(), st.just(60))
    outcome = st.sampled_from(["open", "refused", "unreachable", "silent"])
    shake = st.builds(Handshake, st.just(ip), MACS, st.just(80), outcome, MACS, WHEN, st.just(0.001))
    return replace(
        base,
        answers=[*base.answers, *draw(st.lists(stray, max_size=10))],
        announcements=draw(st.lists(frame, max_size=12)),
        handshakes=draw(st.lists(shake, max_size=12)),
        port=80,
        tcp_interval=0.25,
    )


@settings(max_examples=150, deadline=None)
@given(recordings())
def test_a_timeline_has_no_contradictions(drawn: Recording) -> None:
    timeline = build_timeline(drawn)
    assert sum(span.answers for span in timeline.spans) == len(drawn.answers)
    assert set(timeline.holders) <= set(timeline.macs)
    assert longest_overlap(timeline) >= 0
    for change in timeline.transitions:
        assert (change.old_last is None) == (not change.before or change.both)
        assert (change.new_first is None) == change.lost
        if change.silence is not None:
            assert change.silence >= 0
            assert not (change.silence and change.overlap)
            assert change.silence_least is not None
            assert 0 <= change.silence_least <= change.silence + 1e-6
    result = judge(timeline, OWNERS)
    if result.ok:
        assert len(timeline.holders) == 1
    assert all(line.isprintable() for line in chart.render(timeline, result).splitlines())
    json.dumps(document(timeline, result, {}), allow_nan=False)
    ElementTree.fromstring(chart_svg.render(timeline, result))

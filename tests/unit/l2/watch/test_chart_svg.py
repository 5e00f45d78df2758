"""The SVG chart: well-formed, every mark inside it, hover texts, light and dark themes."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from provisioner.l2.result import AddressOwner
from provisioner.l2.watch.chart_svg import render
from provisioner.l2.watch.timeline import Recording, build_timeline
from provisioner.l2.watch.verdict import judge
from tests.unit.l2.watch.recordings import FOREIGN, OWNERS, W1, W2, failover, pairs, recording

NAMESPACE = "{http://www.w3.org/2000/svg}"
CASES = {
    "failover": failover(),
    "overlap": recording(10, (W1, 0, 3), (W2, 2.5, 10), gratuitous=pairs(W2, 2.5)),
    "lost": recording(10, (W1, 0, 2)),
    "two owners": recording(12, (W1, 0, 12), (W2, 4, 12)),
    "silent": recording(5),
    "stable": recording(10, (W1, 0, 10)),
    "stray": recording(12, (W1, 0, 12), (FOREIGN, 6, 6.4)),
}


def drawn(recorded: Recording, owners: dict[str, AddressOwner] = OWNERS) -> ElementTree.Element:
    """Return the root of a recording's SVG."""
    timeline = build_timeline(recorded)
    return ElementTree.fromstring(render(timeline, judge(timeline, owners), "seen from eth1"))


def texts(root: ElementTree.Element) -> list[str]:
    """Return every text in the SVG."""
    return [element.text or "" for element in root.iter(f"{NAMESPACE}text")]


@pytest.mark.parametrize("name", CASES)
def test_all_marks_are_inside_the_frame(name: str) -> None:
    root = drawn(CASES[name])
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    rectangles = list(root.iter(f"{NAMESPACE}rect"))
    for one in rectangles:
        x, y = float(one.attrib.get("x", 0)), float(one.attrib.get("y", 0))
        assert 0 <= x <= x + float(one.attrib["width"]) <= width
        assert 0 <= y <= y + float(one.attrib["height"]) <= height
    for text in root.iter(f"{NAMESPACE}text"):
        assert 0 < float(text.attrib["y"]) < height


def test_a_title_and_one_lane_per_owner() -> None:
    root = drawn(failover())
    title = "192.0.2.200 moved from worker1 to worker2: silent for 5.3 s"
    assert texts(root)[0] == title
    assert root.attrib["aria-label"] == title
    labels = {"worker1", "worker2", W1, W2, "TCP 80", "silent 5.3 s", "no connection 5.8 s", "gratuitous frames"}
    assert labels <= set(texts(root))
    bars = {
        kind: [one for one in root.iter(f"{NAMESPACE}rect") if one.attrib.get("class") == kind]
        for kind in ("owner0", "owner1", "silence")
    }
    old, silence, new = (float(bars[kind][0].attrib["x"]) for kind in ("owner0", "silence", "owner1"))
    assert old < silence < new
    ends = old + float(bars["owner0"][0].attrib["width"])
    assert ends == pytest.approx(silence, abs=0.2)  # the silence starts where the old owner ends
    assert silence + float(bars["silence"][0].attrib["width"]) == pytest.approx(new, abs=0.2)


def test_each_mark_has_its_time_as_hover_text() -> None:
    hovers = [element.text or "" for element in drawn(failover()).iter(f"{NAMESPACE}title")]
    assert "worker1 answers from -1.900 s to +0.000 s, 20 replies" in hovers
    assert sum(text.startswith("gratuitous frame at") for text in hovers) == 5


def test_it_follows_a_dark_theme() -> None:
    (style,) = drawn(failover()).iter(f"{NAMESPACE}style")
    assert "prefers-color-scheme:dark" in (style.text or "")


def test_names_cannot_break_the_svg() -> None:
    evil = replace(OWNERS[W2], node='<script>&"', nodes=('<script>&"',))
    assert '<script>&"' in texts(drawn(failover(), {**OWNERS, W2: evil}))


def test_a_long_title_is_set_smaller_rather_than_cut_off() -> None:
    owner = replace(OWNERS[W2], node="a" * 60, nodes=("a" * 60,))
    title = next(drawn(failover(), {**OWNERS, W2: owner}).iter(f"{NAMESPACE}text"))
    assert float(title.attrib["style"].removeprefix("font-size:").removesuffix("px")) < 12

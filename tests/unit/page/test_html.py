"""The page: others' text stays text, nothing is loaded, and what is drawn can be read."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from provisioner.page import Document, render
from provisioner.page.document import mapped
from tests.unit.page import sample

HOSTILE = (
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "\" onmouseover='alert(1)' x=\"",
    "'><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "\x1b[2J\x00\x9b31m",
    "\u202e gnp.exe",
    "\ud800",
    "]]><!--",
)
CSS = (Path(__file__).parents[3] / "provisioner/page/templates/page.css").read_text()
VOID = {"meta", "br", "circle", "path", "rect"}


class Page(HTMLParser):
    """The elements of a page, and its text; fails where tags are not nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, *tags: str) -> Iterator[dict[str, str | None]]:
        """Yield the attributes of the elements with one of these tags."""
        yield from (attributes for tag, attributes in self.elements if tag in tags)


@pytest.fixture(params=["whole", "broken"])
def document(request: pytest.FixtureRequest, tmp_path: Path) -> Document:
    return sample.document(tmp_path) if request.param == "whole" else sample.broken(tmp_path)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_others_stays_text(tmp_path: Path, text: str) -> None:
    """Every text at once: what hosts, pods, Services and the API say, in evidence, names and errors."""
    plain = sample.document(tmp_path)

    def with_each(addition: str) -> str:
        """Return the page of a report with this after every text; addresses are parsed, so they stay."""
        return render(mapped(plain, lambda old: old if re.fullmatch(r"[\d.]+", old) else f"{old}{addition}"))

    made = with_each(text)
    page, known = Page(made), Page(with_each("zzz"))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in known.elements]
    assert {name for _, found in page.elements for name in found} == {
        name for _, found in known.elements for name in found
    }
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", made)
    made.encode()
    if text.isprintable():
        assert text in " ".join(page.text)


def test_the_policy_allows_its_own_style_and_nothing_else(document: Document) -> None:
    made = render(document)
    (style,) = re.findall(r"<style>(.*?)</style>", made, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [one["content"] for one in Page(made).all("meta") if one.get("http-equiv")]
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_nothing_is_loaded_and_nothing_runs(document: Document) -> None:
    made = render(document)
    tags = {tag for tag, _ in Page(made).elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "audio", "video", "use"}
    for tag, attributes in Page(made).elements:
        loading = {"src", "srcset", "data", "action", "style", "xlink:href", "background", "poster"}
        assert not loading & attributes.keys(), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in CSS
    assert "@import" not in CSS


def test_tables_links_and_headings_are_what_they_say(document: Document) -> None:
    page = Page(render(document))
    for one in page.all("th"):
        assert one["scope"] in ("row", "col")
        assert one["role"] == {"row": "rowheader", "col": "columnheader"}[str(one["scope"])]
    assert len(list(page.all("caption"))) == len(list(page.all("table")))
    named = [one["id"] for one in page.all("h2", "section", "article") if one.get("id")]
    assert len(named) == len(set(named))
    assert {one["href"] for one in page.all("a")} <= {f"#{name}" for name in named}
    assert {one["aria-labelledby"] for one in page.all("section")} == set(named)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for one in page.all("svg"):
        assert one.get("aria-hidden") == "true" or (one["role"] == "img" and one["aria-label"])


def test_a_page_without_anything_says_so(tmp_path: Path) -> None:
    whole = sample.broken(tmp_path)
    text = " ".join(" ".join(Page(render(whole)).text).split())
    for said in (
        "1 fault and 5 parts missing",
        "Not available: the API at https://192.0.2.10:6443 does not answer: connection refused",
        "Not available: no interface here is on the segment of 192.0.2.200",
        "worker2 cannot log in: no route to host",
        "No backup is known",
    ):
        assert said in text


def test_a_node_that_does_not_answer_is_told_from_one_that_does(tmp_path: Path) -> None:
    whole = sample.document(tmp_path)
    off = tuple(
        replace(one, owners=(), state="free" if one.ip == "192.0.2.1" else one.state)
        if one.ip in ("192.0.2.1", "192.0.2.11")
        else one
        for one in whole.segment.addresses
    )
    dead = replace(whole, segment=replace(whole.segment, addresses=off))
    counts = [" ".join(Page(render(one)).text).count("does not answer") for one in (whole, dead)]
    assert counts == [0, 1]
    quiet = tuple(one for one in off if not one.fault)
    assert "1 node without an answer" in render(replace(whole, segment=replace(whole.segment, addresses=quiet)))


def test_what_is_right_is_called_so(tmp_path: Path) -> None:
    whole = sample.document(tmp_path)
    found = tuple(one for one in whole.checks.findings if one.ok)
    good = replace(
        whole,
        checks=replace(whole.checks, findings=found),
        segment=replace(whole.segment, addresses=tuple(one for one in whole.segment.addresses if not one.fault)),
        drift=replace(whole.drift, differences=(), unseen=()),
    )
    text = " ".join(" ".join(Page(render(good)).text).split())
    assert "homelab In order" in text
    assert "Needs attention" not in text
    assert "Nothing differs." in text


# --- contrast (WCAG 2.2, 1.4.3 and 1.4.11) ------------------------------------------------------------------------

TEXT = [
    *((ink, ground) for ink in ("ink", "soft", "link") for ground in ("ground", "panel")),
    *((level, "ground") for level in ("ok", "warning", "fault", "unknown")),
    *((level, f"{level}-tint") for level in ("ok", "warning", "fault")),
    *(("ink", f"{level}-tint") for level in ("fault", "warning", "unknown")),
    ("link", "fault-tint"),
    ("fault", "panel"),
]
SHAPES = [
    *((f"owner{number}", ground) for number in range(3) for ground in ("ground", "panel")),
    *((level, "ground") for level in ("ok", "warning", "fault", "unknown")),
    *((level, "panel") for level in ("ok", "fault", "unknown")),
    ("strong", "ground"),
]


def colors(scheme: str) -> dict[str, str]:
    """Return the colors of a scheme: light, dark or print."""
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    assert len(blocks) == 3
    light, dark, paper = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in blocks)
    return {"light": light, "dark": light | dark, "print": light | paper}[scheme]


def luminance(color: str) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_colors_have_contrast(scheme: str) -> None:
    found = colors(scheme)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    weak = {pair: contrast(found[pair[0]], found[pair[1]]) for pair in TEXT}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}
    pale = {pair: contrast(found[pair[0]], found[pair[1]]) for pair in SHAPES}
    assert {pair: ratio for pair, ratio in pale.items() if ratio < 3} == {}

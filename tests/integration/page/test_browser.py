"""The page in a real browser: nothing overflows, nothing is loaded, every text can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.page import render
from provisioner.page.document import mapped
from tests.integration.page import browser
from tests.integration.page.browser import Browser
from tests.integration.page.draw import HEIGHT, PICTURE, WIDTH
from tests.unit.page import sample

pytestmark = pytest.mark.integration

# Elements that reach out of the window, or whose text reaches out of them.
OVERFLOWING = """
[...document.querySelectorAll('body *')].filter(e => {
  const box = e.getBoundingClientRect();
  const clipped = e.closest('.hidden, thead, svg, .lane');
  const style = getComputedStyle(e);
  const held = style.display === 'inline' || style.overflowX !== 'visible' || e.scrollWidth <= e.clientWidth + 1;
  return !clipped && box.width > 0 && (box.right > innerWidth + 0.5 || box.left < -0.5 || !held);
}).map(e => `${e.tagName}.${e.className}: ${e.textContent.trim().slice(0, 40)}`)
"""
# Texts with less contrast than WCAG 2.2, 1.4.3, asks for, against the backgrounds behind them.
PALE = """
(() => {
  const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const light = text => {
    const [r, g, b] = numbers(text).map(linear);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = e => {
    for (; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor, parts = numbers(color);
      if (parts.length === 3 || parts[3] === 1) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest('.hidden, thead, title')) continue;
    seen++;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.push(`${walker.currentNode.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return [seen, found];
})()
"""
LONG = "a" * 63


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if lacking := browser.lacking():
        pytest.skip(lacking)
    with browser.running(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the files of three reports: of a cluster with faults, of one that is down, of one with long names."""
    folder = tmp_path_factory.mktemp("pages")
    whole, broken = sample.document(folder / "data"), sample.broken(folder / "data")
    long = mapped(whole, lambda text: text.replace("worker1", LONG).replace("course/web", f"{LONG}/{LONG}"))
    found = {}
    for name, document in (("whole", whole), ("broken", broken), ("long", long)):
        found[name] = folder / f"{name}.html"
        found[name].write_text(render(document))
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1024, 1600])
@pytest.mark.parametrize("name", ["whole", "broken", "long"])
def test_a_page_fits_and_can_be_read(
    shown: Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    shown.open(pages[name], width, dark=dark)
    assert shown.run("matchMedia('(prefers-color-scheme: dark)').matches") is dark
    shown.run("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert shown.run("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
    assert shown.run(OVERFLOWING) == []
    seen, pale = shown.run(PALE)
    assert seen > 50
    assert pale == []
    _quiet(shown, pages[name])


def test_what_does_not_fit_or_cannot_be_read_is_found(shown: Browser, pages: dict[str, Path]) -> None:
    """The two questions above find what they look for."""
    shown.open(pages["whole"], 768)
    shown.run("document.querySelector('h2').style.width = '900px'")
    shown.run("document.querySelector('h1').style.color = 'rgb(180, 180, 180)'")
    assert "H2." in [line[:3] for line in shown.run(OVERFLOWING)]
    assert [line.split(":")[0] for line in shown.run(PALE)[1]] == ["homelab"]


def _quiet(shown: Browser, path: Path) -> None:
    """Fail if anything but the file was asked for, or anything was reported (a blocked style, an error)."""
    assert [event["request"]["url"] for event in shown.happened("Network.requestWillBeSent")] == [path.as_uri()]
    for method in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Audits.issueAdded"):
        assert shown.happened(method) == []


def test_its_style_applies_and_others_do_not(shown: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    """The policy lets the page's own style through; a style, script or image that got into it would be blocked."""
    text = pages["whole"].read_text()
    bad = "<style>h1{color:rgb(1,2,3)}</style><script>document.title='ran'</script><img src='http://192.0.2.1/x'>"
    changed = tmp_path / "changed.html"
    changed.write_text(text.replace("<header>", f"<header>{bad}"))
    assert changed.read_text() != text
    shown.open(changed, 1024)
    assert shown.run("getComputedStyle(document.querySelector('.tiles')).display") == "grid"
    assert shown.run("getComputedStyle(document.querySelector('h1')).color") != "rgb(1, 2, 3)"
    assert shown.run("document.title") != "ran"
    # A blocked request is asked for, and has no answer.
    assert [answer["response"]["url"] for answer in shown.happened("Network.responseReceived")] == [changed.as_uri()]
    assert len(shown.happened("Audits.issueAdded")) >= 3


def test_printed_it_is_dark_on_white_and_whole(shown: Browser, pages: dict[str, Path]) -> None:
    shown.open(pages["whole"], 794, dark=True, paper=True)
    assert shown.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert shown.run("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert shown.run("getComputedStyle(document.querySelector('thead')).position") == "static"
    # What is folded away on a screen is printed.
    folded = "[...document.querySelectorAll('details > :not(summary)')].map(e => e.getBoundingClientRect().height)"
    heights = shown.run(folded)
    assert heights
    assert min(heights) > 0
    assert shown.run(OVERFLOWING) == []


def test_it_is_a_tree_of_names_for_a_screen_reader(shown: Browser, pages: dict[str, Path]) -> None:
    """On a phone the tables are drawn as cards, and are tables all the same."""
    shown.open(pages["whole"], 360)
    shown.call("Accessibility.enable")
    nodes = shown.call("Accessibility.getFullAXTree")["nodes"]
    known = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]}
    for role, name in (
        ("heading", "homelab"),
        ("heading", "Segment"),
        ("navigation", "Parts of this report"),
        ("table", "Hosts of hosts.toml and nodes of the cluster"),
        ("columnheader", "Status"),
        ("rowheader", "worker1"),
        ("region", "Checks"),
        ("image", "Fault"),
        ("image", "worker1 answers from -1.9 s to 0.0 s"),
    ):
        assert (role, name) in known, (role, name, sorted(one for one in known if one[0] == role))


def test_the_picture_in_the_documentation_is_of_this_page(shown: Browser, pages: dict[str, Path]) -> None:
    """It is drawn anew by `python -m tests.integration.page.draw`."""
    data = PICTURE.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(data) < 300_000
    shown.open(pages["whole"], WIDTH)
    drawn = shown.picture(height=HEIGHT)
    assert data[16:24] == drawn[16:24]  # width and height

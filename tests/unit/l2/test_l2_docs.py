"""docs/l2.md names every verdict and every warning, and none that does not exist; so do the phrases of the report."""

from __future__ import annotations

import re
from pathlib import Path

from provisioner.l2 import phrases
from provisioner.l2.diagnosis import REMEDIES
from provisioner.l2.scan import survey

PAGE = (Path(__file__).parents[3] / "docs" / "l2.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return a section of the page, without its heading."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> dict[str, list[str]]:
    """Return the table of a section: what is in backquotes in the first column -> the other columns."""
    found = re.findall(r"^\| `([^`]+)` \|(.+)\|$", section(title), re.MULTILINE)
    return {code: [cell.strip() for cell in rest.split(" | ")] for code, rest in found}


def test_every_verdict_is_explained_and_no_other() -> None:
    assert set(rows("All verdicts")) == set(REMEDIES)
    assert all(len(cells) == 2 and all(cells) for cells in rows("All verdicts").values())


def test_every_verdict_has_its_sentence() -> None:
    assert set(phrases.VERDICTS) == set(REMEDIES)


def test_every_warning_is_explained() -> None:
    assert set(rows("Warnings")) == set(phrases.WARNINGS)


def test_every_letter_of_the_map_is_explained() -> None:
    letters = rows("The map of a scan")
    assert set(letters) == {state.letter for state in survey.State}
    for state in survey.State:
        meaning = letters[state.letter][1].replace("a node, the router", "node, router")
        assert state.words.split(",")[0] in meaning, state


def test_the_exit_statuses_are_there() -> None:
    assert re.findall(r"^\| (\d) \|", section("Exit statuses"), re.MULTILINE) == ["0", "1", "2"]


def test_contents_lead_to_sections() -> None:
    titles = [
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^## (.+)$", PAGE, re.M)
    ]
    assert set(re.findall(r"\(#([^)]+)\)", PAGE)) <= set(titles)

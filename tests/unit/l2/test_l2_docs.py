"""docs/l2.md explains every verdict, warning, map letter and exit status, and no other; so do the report's phrases."""

from __future__ import annotations

import re
from pathlib import Path

from provisioner.l2 import phrases
from provisioner.l2.diagnosis import REMEDIES
from provisioner.l2.guard import history
from provisioner.l2.scan import survey

PAGE = (Path(__file__).parents[3] / "docs" / "l2.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return a section of the page, without its heading."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> dict[str, list[str]]:
    """Return the table of a section: what is in backquotes in the first column -> the other columns."""
    found = re.findall(r"^\| `([^`]+)` \|(.+)\|$", section(title), re.MULTILINE)
    return {code: [cell.strip() for cell in rest.split(" | ")] for code, rest in found}


def test_exactly_the_existing_verdicts_are_explained() -> None:
    assert set(rows("All verdicts")) == set(REMEDIES)
    assert all(len(cells) == 2 and all(cells) for cells in rows("All verdicts").values())


def test_exactly_the_existing_verdicts_have_a_phrase() -> None:
    assert set(phrases.VERDICTS) == set(REMEDIES)


def test_every_warning_is_explained() -> None:
    assert set(rows("Warnings")) == set(phrases.WARNINGS)


def test_every_map_letter_is_explained_with_its_label() -> None:
    letters = rows("The map of a scan")
    assert set(letters) == {state.letter for state in survey.AddressState}
    for state in survey.AddressState:
        assert letters[state.letter][1].startswith(state.label), state


def test_every_event_of_a_guard_is_explained() -> None:
    folder = Path(__file__).parents[3] / "provisioner" / "l2" / "guard"
    sources = (folder / "watcher.py").read_text() + (folder / "masters.py").read_text()
    assert set(rows("For days: guard")) == set(re.findall(r'"([A-Z][A-Z_]{4,})"', sources))
    assert set(history.STATES) | {"DHCP_IN_POOL"} == set(rows("For days: guard"))


def test_every_exit_status_is_explained() -> None:
    assert re.findall(r"^\| (\d) \|", section("Exit statuses"), re.MULTILINE) == ["0", "1", "2"]


def test_links_lead_to_existing_sections() -> None:
    titles = [
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^## (.+)$", PAGE, re.M)
    ]
    assert set(re.findall(r"\(#([^)]+)\)", PAGE)) <= set(titles)

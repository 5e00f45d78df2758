"""NOTICE: it names each library that is imported, with the license that the library states."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LIBRARIES = {re.match(r"[A-Za-z0-9_-]+", requirement)[0] for requirement in PROJECT["dependencies"]}  # type: ignore[index]
NAMED = dict(re.findall(r"^    (\S+) +(\S.*)$", (ROOT / "NOTICE").read_text(), re.MULTILINE))


def test_each_dependency_is_named_with_its_license() -> None:
    assert NAMED.keys() == LIBRARIES
    stated = {name: metadata(name).json.get("license_expression", "") for name in LIBRARIES}
    assert {name: text for name, text in stated.items() if not NAMED[name].startswith(text)} == {}

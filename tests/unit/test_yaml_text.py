"""YAML of hosts, the API and people's files: a document, or an error that shows none of it."""

from __future__ import annotations

import random
import traceback
from contextlib import suppress

import pytest

from provisioner import yaml_text
from provisioner.yaml_text import NotYaml
from tests.unit.damage import damaged

SECRET = "hunter2hunter2"
GOOD = "apiVersion: v1\nclusters:\n- cluster:\n    server: https://192.0.2.1:6443\n  name: a\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a: [{SECRET}\nb: 1\n", "not YAML (line 2)"),
        (f"2026-13-45: {SECRET}", "not YAML"),
        (f"!!int {SECRET}", "not YAML"),
        (f"!!python/object:os.system {SECRET}", "not YAML (line 1)"),
        ("\ud7ff\0", "not YAML"),
        ("[" * 100_000, "not YAML"),
        (f"- {SECRET}", "not a mapping"),
        (SECRET, "not a mapping"),
    ],
)
def test_what_is_not_a_mapping(text: str, message: str) -> None:
    with pytest.raises(NotYaml) as raised:
        yaml_text.load_mapping(text)
    assert str(raised.value) == message
    assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "---\n", "null"])
def test_nothing_is_an_empty_mapping(text: str) -> None:
    assert yaml_text.load(text) is None
    assert yaml_text.load_mapping(text) == {}


def test_damage() -> None:
    """Bounded fuzzing with fixed seeds."""
    for seed in range(2000):
        with suppress(NotYaml):
            yaml_text.load(damaged(GOOD, random.Random(seed)))

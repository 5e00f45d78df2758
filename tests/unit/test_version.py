"""Versions: parsed strictly, ordered as numbers."""

from __future__ import annotations

import pytest

from provisioner.version import Version


def test_versions_are_ordered_as_numbers() -> None:
    assert Version.parse("1.9.10") < Version.parse("v1.20.2") < Version.parse("1.20.10")


def test_at_least_ignores_the_patch() -> None:
    assert Version(1, 25, 0).at_least(1, 25)
    assert not Version(1, 24, 17).at_least(1, 25)
    assert Version(2, 0, 0).at_least(1, 37)
    assert not Version(0, 13, 12).at_least(1, 0)


@pytest.mark.parametrize("text", ["", "1", "1.2.3.4", "1.02.3", "1.2.x", "１.2.3", "1.2.3-rc.1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        Version.parse(text)

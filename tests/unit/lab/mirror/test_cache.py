"""An artefact is there complete or not at all, and is made once for each recipe."""

import os
import time
from pathlib import Path

import pytest

from tests.mirror import cache


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def fill(directory: Path) -> None:
    (directory / "made").touch()


def refuse(directory: Path) -> None:
    raise AssertionError(f"built again in {directory}")


def test_made_once_for_a_recipe() -> None:
    first = cache.artefact("tool", {"version": "1"}, fill)
    assert cache.artefact("tool", {"version": "1"}, refuse) == first


def test_another_recipe_is_another_directory() -> None:
    assert cache.artefact("tool", {"version": "1"}, fill) != cache.artefact("tool", {"version": "2"}, fill)


def test_what_a_killed_build_left_is_thrown_away() -> None:
    def killed(directory: Path) -> None:
        (directory / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.artefact("tool", {"version": "1"}, killed)
    assert [path.name for path in cache.artefact("tool", {"version": "1"}, fill).iterdir()] == ["made"]


def test_key_does_not_depend_on_the_order_of_keys() -> None:
    assert cache.key({"a": 1, "b": Path("/x")}) == cache.key({"b": Path("/x"), "a": 1})


def test_tidy_keeps_what_was_used_of_late() -> None:
    used = cache.artefact("tool", {"version": "1"}, fill)
    old = cache.artefact("tool", {"version": "2"}, fill)
    long_ago = time.time() - cache.KEEP_SECONDS - 1
    os.utime(old, (long_ago, long_ago))
    scratch = cache.work()
    (cache.root() / "unfinished-tool").mkdir()
    cache.tidy()
    assert used.is_dir()
    assert not old.exists()
    assert not scratch.exists()
    assert not (cache.root() / "unfinished-tool").exists()


def test_using_an_artefact_again_keeps_it() -> None:
    made = cache.artefact("tool", {"version": "1"}, fill)
    os.utime(made, (0, 0))
    cache.artefact("tool", {"version": "1"}, refuse)
    cache.tidy()
    assert made.is_dir()

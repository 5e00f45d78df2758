"""An artifact is complete or absent, and is built once for each recipe."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from provisioner.lab.mirror import cache


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def fill(directory: Path) -> None:
    (directory / "made").touch()


def refuse(directory: Path) -> None:
    raise AssertionError(f"built again in {directory}")


def test_an_artifact_is_built_once_for_a_recipe() -> None:
    first = cache.artifact("tool", {"version": "1"}, fill)
    assert cache.artifact("tool", {"version": "1"}, refuse) == first


def test_another_recipe_is_another_directory() -> None:
    assert cache.artifact("tool", {"version": "1"}, fill) != cache.artifact("tool", {"version": "2"}, fill)


def test_leftovers_of_a_killed_build_are_discarded() -> None:
    def killed(directory: Path) -> None:
        (directory / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.artifact("tool", {"version": "1"}, killed)
    assert [path.name for path in cache.artifact("tool", {"version": "1"}, fill).iterdir()] == ["made"]


def test_the_key_does_not_depend_on_the_order_of_the_recipe() -> None:
    assert cache.key({"a": 1, "b": Path("/x")}) == cache.key({"b": Path("/x"), "a": 1})


def test_prune_keeps_recently_used_artifacts() -> None:
    used = cache.artifact("tool", {"version": "1"}, fill)
    old = cache.artifact("tool", {"version": "2"}, fill)
    long_ago = time.time() - cache.KEEP_SECONDS - 1
    os.utime(old, (long_ago, long_ago))
    scratch = cache.work()
    (cache.root() / "unfinished-tool").mkdir()
    with cache.in_use():
        pass
    assert used.is_dir()
    assert not old.exists()
    assert not scratch.exists()
    assert not (cache.root() / "unfinished-tool").exists()


def test_using_an_artifact_again_keeps_it() -> None:
    made = cache.artifact("tool", {"version": "1"}, fill)
    os.utime(made, (0, 0))
    cache.artifact("tool", {"version": "1"}, refuse)
    cache.prune()
    assert made.is_dir()


BUILD = """
import sys
from pathlib import Path
from provisioner.lab.mirror import cache

def build(directory):
    print("building", flush=True)
    sys.stdin.readline()
    (directory / "made").touch()

with cache.in_use():
    print(cache.artifact(sys.argv[1], {"version": "1"}, build).name, flush=True)
"""


def building(name: str) -> subprocess.Popen[str]:
    """Start another build of an artifact; it goes on when it is sent a line."""
    argv = [sys.executable, "-c", BUILD, name]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    return process


def test_builds_run_next_to_each_other() -> None:
    """A second build neither waits for the first nor removes what that one needs; the last one does."""
    with building("slow") as slow:
        with cache.in_use():
            cache.work()
            made = cache.artifact("quick", {"version": "1"}, fill)
        assert made.is_dir()
        assert (cache.root() / "work").exists()
        slow.communicate("\n")
    assert slow.returncode == 0
    assert not (cache.root() / "work").exists()


def test_a_build_waits_for_an_artifact_that_another_one_builds(capsys: pytest.CaptureFixture[str]) -> None:
    with building("tool") as other:
        found: list[Path] = []
        waiting = threading.Thread(target=lambda: found.append(cache.artifact("tool", {"version": "1"}, refuse)))
        waiting.start()
        shown = ""
        while "waiting for tool" not in shown:
            assert waiting.is_alive()
            shown += capsys.readouterr().err
        assert other.communicate("\n")[0] == f"{cache.path('tool', {'version': '1'}).name}\n"
        waiting.join()
    assert found == [cache.path("tool", {"version": "1"})]


def test_the_lock_of_a_killed_build_does_not_stay() -> None:
    with building("tool") as other:
        other.kill()
    assert cache.artifact("tool", {"version": "1"}, fill).is_dir()

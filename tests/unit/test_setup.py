"""setup.sh: which Debian packages it needs for which targets, on a machine with none of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
LISTED = [line.split()[0] for line in (TOP / "debian-packages.txt").read_text().splitlines() if line[0] != "#"]
FEW = ["python3-venv", "openssh-client"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with setup.sh and its list, on a machine without packages and without a terminal."""
    for name in ("setup.sh", "debian-packages.txt"):
        shutil.copy(TOP / name, tmp_path)
    program = tmp_path / "bin/dpkg-query"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    return tmp_path


def setup(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    environment |= {"PATH": f"{folder / 'bin'}:{environment['PATH']}", "PYTHON": sys.executable}
    return subprocess.run(
        ["sh", str(folder / "setup.sh"), *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("words", "wanted"), [((), LISTED), (("--few",), FEW)])
def test_setup_names_the_missing_packages(checkout: Path, words: tuple[str, ...], wanted: list[str]) -> None:
    done = setup(checkout, *words)
    assert done.returncode == 1
    (names,) = re.findall(r"apt-get install (.+)$", done.stderr, re.MULTILINE)
    assert names.split() == wanted
    assert not (checkout / ".venv").exists()


def test_an_unknown_argument_is_rejected(checkout: Path) -> None:
    done = setup(checkout, "--all")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "setup: unknown argument --all; usage: setup.sh [-y] [--few]\n"


@pytest.mark.parametrize(
    ("verb", "call"),
    [
        *((verb, "./setup.sh  --few") for verb in ("cluster", "plan", "verify", "status")),
        *((verb, "./setup.sh ") for verb in ("setup", "lab", "test", "e2e", "drills", "bench", "lint", "destroy")),
    ],
)
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_each_target_sets_up_what_it_needs(verb: str, call: str) -> None:
    """make only prints the recipe here."""
    printed = subprocess.run(["make", "-n", "-C", str(TOP), verb, "CI="], capture_output=True, text=True, check=True)
    assert [line for line in printed.stdout.splitlines() if "setup.sh" in line] == [call]

"""The Fabric tasks, run by the real `fab`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.steps import STEPS
from tests.hosts_toml import HOSTS

ROOT = Path(__file__).parents[2]
RUN = "import sys; from fabric.main import program; program.run()"
# Print the arguments of each call of the command line, which ends with a status like the real one.
RECORD = """
import sys
from fabric.main import program
from provisioner import tasks

def main(words):
    print(*words)
    sys.exit(2 if "verify" in words else 0)

tasks.main = main
program.run()
"""


def fab(*words: str, code: str = RUN) -> subprocess.CompletedProcess[str]:
    """Run fab in the checkout."""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_step_is_listed() -> None:
    listed = fab("--list", "--list-format=flat")
    assert listed.returncode == 0, listed.stderr
    names = {line.split()[0] for line in listed.stdout.splitlines() if line.startswith("  ") and line[2:3].strip()}
    assert {step.name for step in STEPS} | {"plan", "apply", "verify"} <= names


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        ("prepare", ["-f hosts.toml apply --only prepare"]),
        ("-H one,two prepare --yes", ["-f hosts.toml apply --only prepare -y --limit one,two"]),
        ("prepare --limit one", ["-f hosts.toml apply --only prepare --limit one"]),
        ("-H one apply --file lab.toml", ["-f lab.toml apply --limit one"]),
        (
            "-H one,two prepare containerd",
            [f"-f hosts.toml apply --only {step} --limit one,two" for step in ("prepare", "containerd")],
        ),
        ("--dry prepare", ["-f hosts.toml apply --only prepare --dry-run"]),
        ("plan --diff", ["-f hosts.toml plan --diff"]),
        ("-H one plan", ["-f hosts.toml apply --dry-run --limit one"]),
    ],
)
def test_a_task_is_one_call_of_the_command_line(words: str, calls: list[str]) -> None:
    done = fab(*words.split(), code=RECORD)
    assert (done.returncode, done.stdout.splitlines()) == (0, calls), done.stderr


def test_a_failed_task_is_the_last_one() -> None:
    done = fab("verify", "prepare", code=RECORD)
    assert (done.returncode, done.stdout) == (2, "-f hosts.toml verify\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("prepare", "stdin is not a terminal; use -y"),
        ("prepare --yes --file {0}/no.toml", "no.toml: no such file"),
        ("-H one,nowhere prepare --yes --file {0}/hosts.toml", "hosts.toml has no host 'nowhere'; the hosts are "),
        ("-H one prepare --limit two", "-H and --limit are the same"),
        ("-H one verify", "verify always covers the whole site; run it without -H"),
        ("-H one plan --diff", "--diff always covers the whole site"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, words: str, message: str) -> None:
    (tmp_path / "hosts.toml").write_text(HOSTS)
    done = fab(*words.format(tmp_path).split())
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert message in line

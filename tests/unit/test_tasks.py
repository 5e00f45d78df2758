"""The same steps as Fabric tasks: `fab -l` lists them, and each goes through the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from provisioner.steps import STEPS

ROOT = Path(__file__).parents[2]


def fab(*words: str) -> subprocess.CompletedProcess[str]:
    """Run fab in the project's folder."""
    code = "import sys; from fabric.main import program; program.run()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def test_every_step_is_listed() -> None:
    listed = fab("--list", "--list-format=flat")
    assert listed.returncode == 0, listed.stderr
    names = {line.split()[0] for line in listed.stdout.splitlines() if line.startswith("  ") and line[2:3].strip()}
    assert {step.name for step in STEPS} | {"plan", "apply", "verify"} <= names


def test_a_task_is_the_command_lines_own(tmp_path: Path) -> None:
    asked = fab(STEPS[0].name, "--file", str(tmp_path / "no.toml"))
    assert asked.returncode == 1
    assert "no terminal to ask on" in asked.stderr
    told = fab(STEPS[0].name, "--yes", "--file", str(tmp_path / "no.toml"))
    assert told.returncode == 1
    assert "no.toml: no such file" in told.stderr

"""Commands in messages can be run as they stand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from provisioner.cli.hints import COMMANDS, INSIDE, runnable
from provisioner.cli.main import LAZY


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a checkout as the current folder, with the program run by its path and not on $PATH."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(INSIDE, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv/bin/provisioner"), "apply"])
    return tmp_path


def test_every_command_is_known() -> None:
    assert set(COMMANDS) == set(LAZY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("provisioner apply", ".venv/bin/provisioner -f lab.toml apply"),
        ("`provisioner init` writes one", "`.venv/bin/provisioner init` writes one"),
        ("provisioner -f other.toml plan shows it", ".venv/bin/provisioner -f other.toml plan shows it"),
        (
            "retry: provisioner apply; or provisioner l2 check 192.0.2.1",
            "retry: .venv/bin/provisioner -f lab.toml apply; or .venv/bin/provisioner -f lab.toml l2 check 192.0.2.1",
        ),
        ("provisioner lab up", ".venv/bin/provisioner lab up"),
        ("/opt/provisioner apply", "/opt/provisioner apply"),
        ("what provisioner applies", "what provisioner applies"),
        ("the field manager provisioner", "the field manager provisioner"),
    ],
)
@pytest.mark.usefixtures("checkout")
def test_a_program_run_by_its_path(text: str, expected: str) -> None:
    assert runnable(text, " -f lab.toml") == expected
    assert runnable(runnable(text, " -f lab.toml"), " -f lab.toml") == expected


@pytest.mark.usefixtures("checkout")
def test_in_a_lab_commands_run_inside_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INSIDE, "sudo -E .venv/bin/provisioner")
    assert runnable("provisioner verify", " -f lab.toml") == (
        "sudo -E .venv/bin/provisioner lab exec -- .venv/bin/provisioner -f lab.toml verify"
    )
    assert runnable(runnable("provisioner status")).count("lab exec") == 1
    assert runnable("provisioner lab destroy") == "sudo -E .venv/bin/provisioner lab destroy"


def test_a_program_on_the_path_is_run_by_its_name(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = checkout / ".venv/bin/provisioner"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin")
    assert runnable("provisioner plan") == "provisioner plan"
    monkeypatch.setenv(INSIDE, "provisioner")
    assert runnable(runnable("provisioner plan")) == "provisioner lab exec -- provisioner plan"
    monkeypatch.delenv(INSIDE)
    monkeypatch.setattr(sys, "argv", ["/src/provisioner/__main__.py"])
    monkeypatch.setattr(sys, "executable", str(checkout / ".venv/bin/python"))
    assert runnable(runnable("provisioner plan")) == ".venv/bin/python -m provisioner plan"

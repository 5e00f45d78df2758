"""What a shell completes, and the scripts with which it does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from provisioner.cli.main import cli
from tests import hosts_toml

SITE = f"{hosts_toml.hosts('master', 'worker1', 'worker2')}{hosts_toml.pool('lab', '192.0.2.200-192.0.2.210')}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "hosts.toml").write_text(SITE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def completed(words: str, incomplete: str = "") -> list[str]:
    shell = ShellComplete(cli, {}, "provisioner", "_PROVISIONER_COMPLETE")
    return [item.value for item in shell.get_completions(words.split(), incomplete)]


@pytest.mark.parametrize(
    ("words", "incomplete", "wanted"),
    [
        ("apply --limit", "w", ["worker1", "worker2"]),
        ("apply --limit", "worker1,", ["worker1,master", "worker1,worker2"]),
        ("plan --only", "kubea", ["kubeadm-files", "kubeadm-objects"]),
        ("plan --only", "nfs,stor", ["nfs,storage"]),
        ("apply --from", "work", ["workloads"]),
        ("drift --limit", "m", ["master"]),
        ("ssh", "m", ["master"]),
        ("exec --limit", "m", ["master"]),
        ("node drain", "worker2", ["worker2"]),
        ("reset --limit", "worker1,w", ["worker1,worker2"]),
        ("verify", "stat", ["statefulset"]),
        ("l2 scan", "pool:", ["pool:lab"]),
        ("l2 guard", "p", ["pool:lab"]),
        ("completion", "", ["bash", "zsh", "fish"]),
    ],
)
def test_names_are_completed(words: str, incomplete: str, wanted: list[str]) -> None:
    assert completed(words, incomplete) == wanted


@pytest.mark.parametrize("words", ["-f other.toml ssh", "node drain -f other.toml"])
def test_the_file_that_was_named_counts(folder: Path, words: str) -> None:
    (folder / "other.toml").write_text(SITE.replace("master", "alpha"))
    assert "alpha" in completed(words)


@pytest.mark.parametrize("content", [None, "[[hosts]\n", "\0"])
def test_without_a_sound_file_there_is_nothing_to_complete(folder: Path, content: str | None) -> None:
    (folder / "hosts.toml").unlink()
    if content is not None:
        (folder / "hosts.toml").write_text(content)
    assert completed("ssh") == []
    assert completed("l2 scan", "pool:") == []
    assert completed("lab ssh") == []


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("provisioner ver", ["verify"]),
        ("provisioner ssh mas", ["master"]),
        ("provisioner l2 scan pool:", ["lab"]),
        ("provisioner l2 scan pool:l", ["lab"]),
        ("provisioner l2 explain split", ["SPLIT_BRAIN"]),
    ],
)
def test_bash(folder: Path, line: str, wanted: list[str]) -> None:
    """A real bash, which splits words at colons."""
    program = folder / "bin" / "provisioner"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom provisioner.cli.main import main\nmain()\n")
    program.chmod(0o755)
    root = str(Path(__file__).resolve().parents[3])
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": root}
    words = [word for part in line.split() for word in part.replace(":", " : ").split()]
    words += [""] if line.endswith(" ") else []
    script = (
        'eval "$(provisioner completion bash)"\n'
        f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)}\n"
        f"_provisioner_completion provisioner '{words[-1]}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=False, env=env, cwd=folder)
    assert done.stderr == ""
    assert done.stdout.split() == wanted


@pytest.mark.parametrize(
    ("shell", "line"), [("zsh", "#compdef provisioner"), ("fish", "function _provisioner_completion")]
)
def test_the_shell_is_the_one_in_use(shell: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert line in CliRunner().invoke(cli, ["completion"]).output


def test_an_unknown_shell_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    result = CliRunner().invoke(cli, ["completion"])
    assert "there is no completion for tcsh: give bash, zsh, fish" in result.output

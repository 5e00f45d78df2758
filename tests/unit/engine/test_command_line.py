"""The command line as people meet it: fast help, examples, one-line mistakes, exit statuses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from provisioner.cli import cli

HEAVY = ("paramiko", "fabric", "invoke", "kubernetes", "scapy", "pydantic", "rich", "yaml", "cryptography")
ROOT = Path(__file__).parents[3]


def provisioner(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "provisioner", *words],
        cwd=cwd or ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def test_help_imports_nothing_heavy_and_is_fast() -> None:
    code = (
        "import sys\nfrom provisioner.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"sys.exit(','.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fastest = 9.0
    for _ in range(5):
        started = time.monotonic()
        provisioner("--help")
        fastest = min(fastest, time.monotonic() - started)
    assert fastest < 0.25


@pytest.mark.parametrize(
    "name", [name for name in cli.list_commands(click.Context(cli)) if name not in ("init", "l2")]
)
def test_every_command_has_help_with_an_example(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    assert "Example:" in command.help


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["plan"], 1, r"hosts\.toml: no such file; .*provisioner init"),
        (["-f", "other.toml", "apply", "-y"], 1, r"other\.toml: no such file"),
        (["apply"], 1, r"no terminal to ask on; provisioner apply -y"),
        (["frobnicate"], 2, r"No such command 'frobnicate'"),
        (["--parallel", "0", "plan"], 2, r"0 is not in the range"),
        (["ssh", "nowhere"], 1, r"hosts\.toml: no such file"),
    ],
)
def test_a_mistake_is_told_without_a_traceback(tmp_path: Path, words: list[str], status: int, said: str) -> None:
    done = provisioner(*words, cwd=tmp_path)
    assert done.returncode == status
    assert re.search(said, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_a_defect_names_the_log_which_has_the_traceback(tmp_path: Path) -> None:
    from .sites import HOSTS

    (tmp_path / "hosts.toml").write_text(HOSTS)
    crash = (
        "import provisioner.kube as kube, sys\nfrom provisioner.cli import main\n"
        "def reachable(self): raise KeyError('gone')\n"
        "kube.Cluster.reachable = reachable\nmain(sys.argv[1:])\n"
    )
    (tmp_path / "crash.py").write_text(crash)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "crash.py", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    done = run("status")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    match = re.search(r"a defect of this program: KeyError: 'gone'; its traceback is in (\S+)", done.stderr)
    assert match
    assert "Traceback" in Path(match[1]).read_text()
    assert "Traceback" in run("-vv", "status").stderr


def test_the_version() -> None:
    assert re.search(r"\d+\.\d+", provisioner("--version").stdout)

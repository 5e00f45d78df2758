"""The command line as people meet it: fast help, examples, one-line mistakes, exit statuses."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from provisioner.cli.main import cli

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
        "import sys\nfrom provisioner.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"sys.exit(','.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Processor time, which other work on this machine does not change.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert provisioner("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 0.25


def leaves(group: click.Group, place: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, by its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, f"{place}{name} ")
        else:
            yield f"{place}{name}", command


@pytest.mark.parametrize(("name", "command"), [pytest.param(*leaf, id=leaf[0]) for leaf in leaves(cli)])
def test_every_command_has_help_with_an_example(name: str, command: click.Command) -> None:
    assert command.help
    assert "Example" in command.help
    assert f"provisioner {name.split(' ', maxsplit=1)[0]}" in command.help


def test_every_command_is_listed_by_its_first_words() -> None:
    said = provisioner("--help").stdout
    for name in cli.list_commands(click.Context(cli)):
        assert re.search(rf"^  {name} +\w", said, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["plan"], 1, r"hosts\.toml: no such file; .*provisioner init"),
        (["-f", "other.toml", "apply", "-y"], 1, r"other\.toml: no such file"),
        (["apply"], 1, r"no terminal to ask on; \S*python\S* -m provisioner apply -y"),
        (["frobnicate"], 1, r"No such command 'frobnicate'"),
        (["plan", "--frobnicate"], 1, r"No such option"),
        (["--parallel", "0", "plan"], 1, r"0 is not in the range"),
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
    from tests.unit.sites import HOSTS

    (tmp_path / "hosts.toml").write_text(HOSTS)
    crash = (
        "import provisioner.kube.cluster as kube, sys\nfrom provisioner.cli.main import main\n"
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


def test_a_defect_elsewhere_is_one_line_too(tmp_path: Path) -> None:
    crash = (
        "import sys, click, provisioner.cli.main as cli\n"
        "@cli.cli.command('crash')\ndef crash(): raise RuntimeError('boom')\n"
        "cli.main(sys.argv[1:])\n"
    )
    words = [sys.executable, "-c", crash, "crash"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    match = re.fullmatch(
        r"a defect of this program: RuntimeError: boom; its traceback is in (\S+)", done.stderr.strip()
    )
    assert match
    assert "Traceback" in (tmp_path / match[1]).read_text()


def test_a_reader_that_goes_away_is_no_defect(tmp_path: Path) -> None:
    """As in `provisioner --help | true`."""
    code = "import sys, click, provisioner.cli.main as cli\n@cli.cli.command('talk')\ndef talk():\n"
    code += "    for _ in range(100000): click.echo('x' * 100)\ncli.main(['talk'])\n"
    words = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(30) == 1


def test_the_version() -> None:
    assert re.search(r"\d+\.\d+", provisioner("--version").stdout)

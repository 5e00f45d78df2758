"""The command line: fast help, examples, one-line errors, exit statuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from provisioner.cli.main import cli
from tests.hosts_toml import HOSTS

HEAVY = {"paramiko", "fabric", "invoke", "kubernetes", "scapy", "pydantic", "rich", "yaml", "cryptography"}
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


def imported_by(*words: str) -> set[str]:
    """Return the top-level modules that a command has imported when it ends."""
    code = (
        "import sys\nfrom provisioner.cli.main import main\n"
        f"try: main({list(words)!r})\nexcept SystemExit: pass\n"
        "print('IMPORTED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].removeprefix("IMPORTED ").split())


def test_help_imports_nothing_heavy() -> None:
    assert not imported_by("--help") & HEAVY


@pytest.mark.parametrize("command", ["init", "plan", "apply", "verify", "status", "node drain", "reset", "exec"])
def test_help_of_a_command_imports_no_client_library(command: str) -> None:
    assert not imported_by(*command.split(), "--help") & {
        "paramiko",
        "fabric",
        "invoke",
        "kubernetes",
        "scapy",
        "rich",
    }


def leaves(group: click.Group, place: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is not a group, with its full name."""
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


def test_every_command_is_listed_with_one_line_of_help() -> None:
    help_text = provisioner("--help").stdout
    for name in cli.list_commands(click.Context(cli)):
        assert re.search(rf"^  {name} +\w", help_text, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["plan"], 1, r"hosts\.toml: no such file; .*provisioner init"),
        (["-f", "other.toml", "apply", "-y"], 1, r"other\.toml: no such file"),
        (["apply"], 1, r"stdin is not a terminal; use -y to proceed without confirmation"),
        (["frobnicate"], 1, r"no such command 'frobnicate'; the commands are init, "),
        (["plam"], 1, r"no such command 'plam'; did you mean plan\?"),
        (["l2", "chek"], 2, r"no such command 'chek'; did you mean check\?"),
        (["lab", "statu"], 1, r"no such command 'statu'; did you mean status\?"),
        (["node", "drian"], 1, r"no such command 'drian'; did you mean drain\?"),
        (["plan", "-f", "other.toml"], 1, r"other\.toml: no such file"),
        (["plan", "--frobnicate"], 1, r"No such option"),
        (["--parallel", "0", "plan"], 1, r"0 is not in the range"),
        (["ssh", "nowhere"], 1, r"hosts\.toml: no such file"),
    ],
)
def test_a_user_error_is_reported_without_a_traceback(
    tmp_path: Path, words: list[str], status: int, message: str
) -> None:
    done = provisioner(*words, cwd=tmp_path)
    assert done.returncode == status
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ["-o json plan", "plan -o json", "l2 collect -f none.toml", "plan --frobnicate"])
def test_an_error_is_json_on_stdout_where_json_is_wanted(tmp_path: Path, words: str) -> None:
    given = words if "json" in words else f"-o json {words}"
    done = provisioner(*given.split(), cwd=tmp_path)
    (line,) = done.stdout.splitlines()
    error = json.loads(line)
    assert error["kind"] == "error"
    assert error["text"] in done.stderr.replace("\n", " ")


def test_a_workload_without_a_file_is_reported_before_any_connection(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text(f'{HOSTS}[workloads]\nenabled = ["nodeprt"]\n')
    done = provisioner("plan", cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"workloads/nodeprt\.yaml not found .*; did you mean nodeport\?", done.stderr)


def test_global_options_may_follow_the_command(tmp_path: Path) -> None:
    site = tmp_path / "other.toml"
    assert provisioner("init", "-f", str(site), cwd=tmp_path).returncode == 0
    assert site.exists()
    before = provisioner("-f", str(site), "apply", "-y", "--only", "nothing", cwd=tmp_path)
    after = provisioner("apply", "-y", "--only", "nothing", "-f", str(site), cwd=tmp_path)
    assert (after.returncode, after.stderr) == (before.returncode, before.stderr)
    assert "unknown step 'nothing'" in after.stderr


def test_an_internal_error_names_the_log_with_its_traceback(tmp_path: Path) -> None:
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
    match = re.search(
        r"internal error: KeyError: 'gone'; please report it with its traceback, which is in (\S+)", done.stderr
    )
    assert match
    assert "Traceback" in Path(match[1]).read_text()
    assert "Traceback" in run("-vv", "status").stderr


def test_an_internal_error_outside_a_session_is_one_line_too(tmp_path: Path) -> None:
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
        r"internal error: RuntimeError: boom; please report it with its traceback, which is in (\S+)",
        done.stderr.strip(),
    )
    assert match
    assert "Traceback" in (tmp_path / match[1]).read_text()


def test_a_reader_that_goes_away_is_not_an_internal_error(tmp_path: Path) -> None:
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

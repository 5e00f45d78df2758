"""`provisioner init`, run as a subprocess."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.cli.init import template
from provisioner.site import load_site

TOP = Path(__file__).parents[3]


def provisioner(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "provisioner", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_writes_a_valid_site_and_suggests_the_next_command(tmp_path: Path) -> None:
    done = provisioner(tmp_path, "init")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Wrote hosts.toml" in done.stdout
    assert f"Next: {sys.executable} -m provisioner plan\n" in done.stdout, "as the program was run"
    assert load_site(tmp_path / "hosts.toml").path == tmp_path / "hosts.toml"
    assert [path.name for path in tmp_path.iterdir()] == ["hosts.toml"]


def test_writes_to_the_file_given_with_f(tmp_path: Path) -> None:
    done = provisioner(tmp_path, "-f", "home.toml", "init")
    assert f"Next: {sys.executable} -m provisioner -f home.toml plan\n" in done.stdout
    assert (tmp_path / "home.toml").read_text() == template()


@pytest.mark.parametrize("kind", ["file", "dangling symlink"])
def test_does_not_overwrite_an_existing_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "hosts.toml"
    if kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to(tmp_path / "nowhere")
    done = provisioner(tmp_path, "init")
    assert done.returncode == 1
    assert "hosts.toml already exists; edit it, or replace it with --force" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.is_symlink() or path.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_force_replaces_an_existing_file(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text("mine")
    assert provisioner(tmp_path, "init", "--force").returncode == 0
    assert (tmp_path / "hosts.toml").read_text() == template()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("arguments", [["./folder"], ["--force", "folder/"], ["-f", "folder"]])
def test_a_folder_is_completed_to_a_file_in_it(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "folder").mkdir()
    done = provisioner(tmp_path, "init", *arguments)
    assert done.returncode == 1
    assert f"folder is a folder; {sys.executable} -m provisioner init folder/hosts.toml\n" in done.stderr
    assert not list((tmp_path / "folder").iterdir())


@pytest.mark.parametrize("arguments", [["no/hosts.toml"], ["--force", "no/hosts.toml"]])
def test_an_unwritable_path_is_reported(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "folder").mkdir()
    done = provisioner(tmp_path, "init", *arguments)
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_mistake_in_hosts_toml_is_reported_on_one_line(tmp_path: Path) -> None:
    provisioner(tmp_path, "init")
    path = tmp_path / "hosts.toml"
    lines = path.read_text().splitlines(keepends=True)
    (number,) = (number for number, line in enumerate(lines, 1) if line.startswith("kubernetes = "))
    lines[number - 1] = 'kubernetes = "1.99"\n'
    path.write_text("".join(lines))
    done = provisioner(tmp_path, "plan")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f'hosts.toml:{number}: cluster.kubernetes: "1.99" is not a supported Kubernetes version;' in line

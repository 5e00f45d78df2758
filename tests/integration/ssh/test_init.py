"""`provisioner init HOST…` on machines with a real sshd: a hosts.toml that plan accepts, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.site import load_site
from tests.integration.ssh.conftest import ROOT
from tests.integration.ssh.nodes import Machine


@pytest.fixture
def home(tmp_path: Path, machines: dict[str, Machine]) -> Path:
    """A home whose ssh_config knows the machine `one` by the name attic."""
    made = tmp_path / "home"
    (made / ".ssh").mkdir(parents=True, mode=0o700)
    key = machines["master"].folder.parent / "id"
    (made / ".ssh/config").write_text(
        f"Host *\n  IdentityFile {key}\n  User plain\nHost attic\n  HostName {machines['one'].address}\n"
    )
    return made


def init(folder: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run init in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "provisioner", "init", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(home), "SSH_AUTH_SOCK": ""},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


def test_it_describes_the_machines_that_it_logged_in_to(
    tmp_path: Path, home: Path, machines: dict[str, Machine]
) -> None:
    done = init(tmp_path, home, f"plain@{machines['master'].address}", "attic")
    assert done.returncode == 0, done.stdout + done.stderr
    site = load_site(tmp_path / "hosts.toml")
    assert [(host.address, host.ssh_address) for host in site.hosts] == [
        (machines["master"].address, ""),
        (machines["one"].address, ""),  # ssh_config knows it by its name here
    ]
    assert [host.name for host in site.hosts] == ["master", "attic"]
    assert site.metallb.pools[0].addresses == ("192.0.2.200-192.0.2.230",)
    assert "Next: " in done.stdout
    assert "nobody answered for these addresses" in done.stdout
    again = init(tmp_path, home, "attic")
    assert (again.returncode, "hosts.toml already exists" in again.stderr) == (1, True)


def test_a_host_that_answers_nobody_is_named_and_nothing_is_written(
    tmp_path: Path, home: Path, machines: dict[str, Machine]
) -> None:
    done = init(tmp_path, home, "attic", f"{machines['master'].address}", "192.0.2.99")
    assert done.returncode == 1
    assert "192.0.2.99" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "hosts.toml").exists()

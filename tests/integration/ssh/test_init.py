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


def test_an_inventory_says_who_is_what(tmp_path: Path, home: Path, machines: dict[str, Machine]) -> None:
    key = machines["master"].folder.parent / "id"
    (tmp_path / "hosts.ini").write_text(
        f"[masters]\nattic ansible_host={machines['one'].address}\n[workers]\n"
        f"cellar ansible_host={machines['master'].address}\n[other]\nelsewhere\n"
        f"[all:vars]\nansible_user=plain\nansible_ssh_private_key_file={key}\n"
    )
    done = init(tmp_path, home, "--from-ansible", "hosts.ini")
    assert done.returncode == 0, done.stdout + done.stderr
    site = load_site(tmp_path / "hosts.toml")
    assert [(host.name, host.roles) for host in site.hosts] == [("attic", ("control-plane",)), ("cellar", ("worker",))]
    assert (site.ssh.user, site.ssh.key) == ("plain", str(key))
    assert "attic: as the inventory says" in done.stdout
    assert "left out       elsewhere: in no group of a cluster" in done.stdout


def test_several_control_planes_get_a_vip(tmp_path: Path, home: Path, machines: dict[str, Machine]) -> None:
    (tmp_path / "machines.txt").write_text(
        "".join(
            f"Host {name}\n  HostName {machines[name].address}\n  User plain\n  Port 22\n"
            f"  IdentityFile {machines['master'].folder.parent / 'id'}\n"
            for name in ("master", "one")
        )
    )
    done = init(tmp_path, home, "--from-vagrant", "machines.txt", "--control-planes", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    site = load_site(tmp_path / "hosts.toml")
    assert len(site.control_planes) == 2
    assert site.cluster.vip == "192.0.2.231"
    assert "VIP            192.0.2.231: nobody answered" in done.stdout
    assert "An even number of control planes" in done.stdout


def test_a_host_that_is_called_like_a_folder_is_a_host(
    tmp_path: Path, home: Path, machines: dict[str, Machine]
) -> None:
    (tmp_path / "attic").mkdir()
    (tmp_path / "cellar.invalid").mkdir()
    done = init(tmp_path, home, "attic")
    assert done.returncode == 0, done.stdout + done.stderr
    assert load_site(tmp_path / "hosts.toml").hosts[0].address == machines["one"].address
    wrong = init(tmp_path, home, "other.toml", "cellar.invalid")
    assert wrong.returncode == 1
    assert "cellar.invalid is also a folder here: to write into it, cellar.invalid/hosts.toml" in wrong.stderr

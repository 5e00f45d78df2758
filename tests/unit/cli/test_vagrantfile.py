"""The Vagrantfile: it defines the machines of hosts.toml, with a login key of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provisioner.cli.init import template
from provisioner.site import load_site

TOP = Path(__file__).parents[3]
STUB = Path(__file__).with_name("vagrant_stub.rb")
needs_ruby = pytest.mark.skipif(shutil.which("ruby") is None, reason="needs ruby")
needs_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the Vagrantfile and the shipped hosts.toml."""
    shutil.copy(TOP / "Vagrantfile", tmp_path)
    (tmp_path / "hosts.toml").write_text(template())
    return tmp_path


def ruby(checkout: Path, provider: str, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Evaluate the Vagrantfile as `vagrant COMMAND` would."""
    return subprocess.run(
        ["ruby", "-W", str(STUB), str(checkout / "Vagrantfile"), provider, command],
        cwd="/",
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def machines(checkout: Path, provider: str, command: str = "status", **environment: str) -> dict[str, Any]:
    """Return what the Vagrantfile defines; fail on any warning."""
    done = ruby(checkout, provider, command, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    described: dict[str, Any] = json.loads(done.stdout)
    return described


@needs_ruby
@pytest.mark.parametrize("provider", ["virtualbox", "libvirt"])
def test_machines_match_hosts_toml(checkout: Path, provider: str) -> None:
    described = machines(checkout, provider)
    lab = load_site(checkout / "hosts.toml")
    assert list(described["machines"]) == [host.name for host in lab.hosts]
    for host in lab.hosts:
        machine = described["machines"][host.name]
        assert machine["hostname"] == host.name
        assert machine["network"]["kind"] == "private_network"
        assert machine["network"]["ip"] == host.address
        # the minimum of kubeadm's preflight checks
        assert machine["provider"]["cpus"] >= 2
        assert machine["provider"]["memory"] >= (4096 if host.is_control_plane else 2048)
    box = {machine.get("box", described["all"]["box"]) for machine in described["machines"].values()}
    assert box == {{"virtualbox": "bento/debian-13", "libvirt": "debian/trixie64"}[provider]}
    assert described["all"]["synced_folder"]["disabled"]


@needs_ruby
def test_site_and_box_can_be_overridden(checkout: Path) -> None:
    (checkout / "hosts.toml").rename(checkout / "other.toml")
    described = machines(
        checkout, "libvirt", PROVISIONER_SITE="other.toml", PROVISIONER_BOX="mine", PROVISIONER_BOX_URL="file:///b"
    )
    assert described["all"]["box_url"] == "file:///b"
    assert {machine["box"] for machine in described["machines"].values()} == {"mine"}


@needs_ruby
@needs_keygen
def test_vagrant_up_creates_the_key_of_hosts_toml_and_installs_its_public_half(checkout: Path) -> None:
    described = machines(checkout, "virtualbox", "up")
    lab = load_site(checkout / "hosts.toml")
    key = lab.directory / lab.ssh.key
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    public = key.with_suffix(".pub").read_text().strip()
    for machine in described["machines"].values():
        assert machine["provision"]["args"] == [public]
        assert machine["provision"]["privileged"] is False
    assert "PRIVATE KEY" not in json.dumps(described)
    before = key.read_bytes()
    assert machines(checkout, "virtualbox", "up") == described
    assert key.read_bytes() == before


@needs_ruby
def test_other_commands_create_no_key(checkout: Path) -> None:
    described = machines(checkout, "virtualbox", "destroy")
    assert not (checkout / ".provisioner").exists()
    assert not [machine for machine in described["machines"].values() if "provision" in machine]


@needs_ruby
@needs_keygen
def test_the_key_is_installed_only_once(checkout: Path) -> None:
    provision = machines(checkout, "libvirt", "up")["machines"]["master"]["provision"]
    home = checkout / "home"
    home.mkdir()
    for _ in range(2):
        command = ["sh", "-euc", provision["inline"], "sh", *provision["args"]]
        subprocess.run(command, env=os.environ | {"HOME": str(home)}, check=True)
    allowed = home / ".ssh" / "authorized_keys"
    assert allowed.read_text() == provision["args"][0] + "\n"
    assert allowed.stat().st_mode & 0o777 == 0o600
    assert allowed.parent.stat().st_mode & 0o777 == 0o700


@needs_ruby
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('name = "worker1"', "name = worker1"), "provisioner plan"),
        (('name = "worker1"', ""), "KeyError: 'name'"),
        (None, "No such file"),
    ],
)
def test_an_unreadable_hosts_toml_is_reported_on_one_line(
    checkout: Path, change: tuple[str, str] | None, expected: str
) -> None:
    path = checkout / "hosts.toml"
    if change:
        path.write_text(path.read_text().replace(*change))
    else:
        path.unlink()
    done = ruby(checkout, "virtualbox", "up")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Vagrantfile: cannot read {path} (")
    assert expected in line


@pytest.mark.skipif(shutil.which("vagrant") is None, reason="needs vagrant")
def test_vagrant_accepts_the_vagrantfile(checkout: Path) -> None:
    done = subprocess.run(
        ["vagrant", "validate", "--ignore-provider"],
        cwd=checkout,
        env=os.environ | {"VAGRANT_HOME": str(checkout / "vagrant"), "VAGRANT_CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "validated successfully" in done.stdout

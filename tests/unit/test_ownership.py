"""Files that root makes through sudo belong to the person who called it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provisioner import ownership
from provisioner.report import Log
from provisioner.ssh import known_hosts

PERSON = 4321


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a person who calls sudo."""
    if os.geteuid() != 0:
        pytest.skip("needs root: changes owners")
    monkeypatch.setenv("SUDO_UID", str(PERSON))
    monkeypatch.setenv("SUDO_GID", str(PERSON))
    os.chown(tmp_path, PERSON, PERSON)
    return tmp_path


def test_log_and_known_hosts(home: Path) -> None:
    log = Log(home / ".provisioner/logs/x.log")
    log.write("a line")
    log.close()
    known_hosts.add(home / ".provisioner/known_hosts", "one", "ssh-ed25519", b"key")
    made = [path for path in home.rglob("*")]
    assert len(made) == 4
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(PERSON, PERSON)}


def test_what_is_not_the_persons_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = home / "foreign"
    foreign.mkdir()
    ownership.make_folder(foreign / "logs")
    assert (foreign / "logs").stat().st_uid == 0
    monkeypatch.delenv("SUDO_UID")
    ownership.make_folder(home / "new")
    assert (home / "new").stat().st_uid == 0


def test_a_link_is_not_followed(home: Path, tmp_path: Path) -> None:
    (home / "link").symlink_to("/etc/hostname")
    ownership.give_back(home / "link")
    assert Path("/etc/hostname").stat().st_uid == 0

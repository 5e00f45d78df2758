"""Unknown host keys, with real logins to a server on the loopback interface."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from provisioner.report import Event, Log, Report
from provisioner.site import parse_site
from provisioner.ssh import Host, Sudo
from tests import hosts_toml
from tests.unit.ssh.loopback import KEY, listening

FINGERPRINT = "SHA256:" + base64.b64encode(hashlib.sha256(KEY.asbytes()).digest()).decode().rstrip("=")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with listening() as number:
        yield number


def log_in(folder: Path, port: int, host_keys: str) -> list[Event]:
    """Log in to the host "one" once; return the events shown."""
    paramiko.ECDSAKey.generate().write_private_key_file(str(folder / "id"))
    text = f'[ssh]\nkey = "id"\nport = {port}\nhost_keys = "{host_keys}"\n'
    text += hosts_toml.host("one", "192.0.2.10", "control-plane", ssh_address="127.0.0.1")
    site = parse_site(text, folder / "hosts.toml")
    events: list[Event] = []
    log = Log(folder / "log")
    host = Host(site.hosts[0], site, fleet={}, report=Report(events.append, log=log), sudo=Sudo(site))
    try:
        assert host.transport().is_authenticated()
    finally:
        host.close()
        log.close()
    return events


def test_accepting_a_new_key_is_reported_once_on_screen_and_in_the_log(tmp_path: Path, port: int) -> None:
    (note,) = log_in(tmp_path, port, "accept-new")
    file = tmp_path / ".provisioner/known_hosts"
    assert (note.kind, note.host, note.text) == (
        "note",
        "one",
        f"one: accepted the new host key of [127.0.0.1]:{port} (ecdsa-sha2-nistp256 {FINGERPRINT}) "
        f"and added it to {file}",
    )
    assert FINGERPRINT in (tmp_path / "log").read_text()
    assert file.read_text() == f"[127.0.0.1]:{port} ecdsa-sha2-nistp256 {KEY.get_base64()}\n"
    assert log_in(tmp_path, port, "accept-new") == []


def test_without_host_key_checking_nothing_is_reported_or_stored(tmp_path: Path, port: int) -> None:
    assert log_in(tmp_path, port, "off") == []
    assert not (tmp_path / ".provisioner/known_hosts").exists()

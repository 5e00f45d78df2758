"""Host keys that nothing is known of: the login tells that it took one, with what a person compares it by.

A real login, to a server on the loopback interface that lets everybody in.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest
from paramiko.common import AUTH_SUCCESSFUL

from provisioner.report import Event, Log, Report
from provisioner.site import parse_site
from provisioner.ssh import Host, Sudo

KEY = paramiko.ECDSAKey.generate()
FINGERPRINT = "SHA256:" + base64.b64encode(hashlib.sha256(KEY.asbytes()).digest()).decode().rstrip("=")


class LetIn(paramiko.ServerInterface):
    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        del username, key
        return AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        del username
        return "publickey"


@contextmanager
def server() -> Iterator[int]:
    """Serve logins on a port of the loopback interface; give the port."""
    transports: list[paramiko.Transport] = []

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(KEY)
            transports.append(transport)
            transport.start_server(event=threading.Event(), server=LetIn())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for transport in transports:
                transport.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with server() as number:
        yield number


def log_in(folder: Path, port: int, host_keys: str) -> list[Event]:
    """Log in to the host "one" once; return what was shown."""
    paramiko.ECDSAKey.generate().write_private_key_file(str(folder / "id"))
    text = (
        f'[ssh]\nkey = "id"\nport = {port}\nhost_keys = "{host_keys}"\n'
        '[[hosts]]\nname = "one"\naddress = "192.0.2.10"\nssh_address = "127.0.0.1"\nroles = ["control-plane"]\n'
    )
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


def test_a_key_taken_at_the_first_login_is_told_once_on_screen_and_in_the_log(tmp_path: Path, port: int) -> None:
    (told,) = log_in(tmp_path, port, "accept-new")
    file = tmp_path / ".provisioner/known_hosts"
    assert (told.kind, told.host, told.text) == (
        "note",
        "one",
        f"one: accepted the host key of [127.0.0.1]:{port}, not known before: ecdsa-sha2-nistp256 {FINGERPRINT}; "
        f"written to {file}",
    )
    assert FINGERPRINT in (tmp_path / "log").read_text()
    assert file.read_text() == f"[127.0.0.1]:{port} ecdsa-sha2-nistp256 {KEY.get_base64()}\n"
    assert log_in(tmp_path, port, "accept-new") == []


def test_without_a_check_there_is_nothing_to_tell(tmp_path: Path, port: int) -> None:
    assert log_in(tmp_path, port, "off") == []
    assert not (tmp_path / ".provisioner/known_hosts").exists()

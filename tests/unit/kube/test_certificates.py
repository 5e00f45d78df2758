"""A site's self-signed certificate: what clients accept it for, and when it has to be renewed."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509 import BasicConstraints, load_pem_x509_certificate

from provisioner.kube import certificates

NAMES = ["course.test", "www.course.test"]
CERTIFICATE, KEY = certificates.self_signed(NAMES)
NOW = datetime.now(UTC)


def handshake(folder: Path, name: str) -> str:
    """Return why a client that trusts only the certificate refuses a server of that name; "" if it does not."""
    (folder / "both.pem").write_bytes(CERTIFICATE + KEY)
    (folder / "trusted.pem").write_bytes(CERTIFICATE)
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(folder / "both.pem")
    theirs = ssl.create_default_context(cafile=str(folder / "trusted.pem"))
    client, server = socket.socketpair()

    def serve() -> None:
        try:
            ours.wrap_socket(server, server_side=True).close()
        except OSError:
            server.close()  # the client reports why

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client, theirs.wrap_socket(client, server_hostname=name):
            return ""
    except ssl.SSLError as error:
        return str(error)
    finally:
        client.close()
        thread.join()


def test_a_client_accepts_it_only_for_its_names(tmp_path: Path) -> None:
    assert handshake(tmp_path, "course.test") == ""
    assert handshake(tmp_path, "www.course.test") == ""
    assert "Hostname mismatch" in handshake(tmp_path, "other.test")


def test_it_cannot_sign_other_certificates() -> None:
    found = load_pem_x509_certificate(CERTIFICATE)
    assert not found.extensions.get_extension_for_class(BasicConstraints).value.ca
    assert found.not_valid_before_utc < NOW < found.not_valid_after_utc
    assert certificates.dns_names(found) == NAMES


@pytest.mark.parametrize(
    ("certificate", "key", "names", "now", "why"),
    [
        (CERTIFICATE, KEY, NAMES, NOW, ""),
        (CERTIFICATE, KEY, ["course.test"], NOW, ""),
        (CERTIFICATE, KEY, ["course.test", "new.test"], NOW, "it does not cover new.test"),
        (CERTIFICATE, certificates.self_signed(NAMES)[1], NAMES, NOW, "its key does not match"),
        (CERTIFICATE, b"", NAMES, NOW, "certificate or key cannot be read"),
        (b"", KEY, NAMES, NOW, "certificate or key cannot be read"),
        (b"\xff", b"\xff", NAMES, NOW, "certificate or key cannot be read"),
        (CERTIFICATE, KEY, NAMES, NOW + timedelta(days=330), ""),
        (CERTIFICATE, KEY, NAMES, NOW + timedelta(days=340), "it expires on "),
    ],
)
def test_reasons_to_renew(certificate: bytes, key: bytes, names: list[str], now: datetime, why: str) -> None:
    reason = certificates.reason_to_renew(certificate, key, names, now)
    assert reason.startswith(why)
    assert bool(reason) is bool(why)


def test_a_long_name_is_accepted() -> None:
    name = ".".join(["a" * 60, "b" * 60, "test"])
    certificate, key = certificates.self_signed([name])
    assert certificates.reason_to_renew(certificate, key, [name]) == ""


def test_a_description_has_names_and_expiry() -> None:
    described = certificates.describe(certificates.pem_to_der(CERTIFICATE))
    assert described.startswith("for course.test, www.course.test, until ")
    assert certificates.describe(b"nonsense") == "no readable certificate"
    assert certificates.pem_to_der(b"nonsense") == b""

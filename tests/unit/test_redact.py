"""Secrets are masked; text that merely looks like one is not."""

from __future__ import annotations

import base64
import time

import pytest

from provisioner.redact import MASK, hide, redact

TOKEN = "abcdef.0123456789abcdef"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlIn0.c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"kubeadm join 192.0.2.1:6443 --token {TOKEN} \\", TOKEN),
        (f"token: {TOKEN}", TOKEN),
        (f"--certificate-key {'ab' * 32}", "ab" * 32),
        (f"certificateKey: {'ab' * 32}", "ab" * 32),
        (f"--certificate-key={'ab' * 32}", "ab" * 32),
        (f'{{"certificateKey":"{"ab" * 32}"}}', "ab" * 32),
        (f'{{\\"certificateKey\\": \\"{"AB" * 32}\\"}}', "AB" * 32),
        (f"Bearer_{JWT}, next", JWT[10:]),
        (f"a.b.{JWT}.c", JWT),
        ('{"client-key-data": "TFMwdExTMUNSVWRKVGlC"}', "TFMwdExTMUNSVWRKVGlC"),
        (f"tls.key: {base64.b64encode(PEM.encode()).decode()}", base64.b64encode(PEM.encode()).decode()[30:]),
        (f"secret: {base64.b64encode(b'0' * 32).decode()}", base64.b64encode(b"0" * 32).decode()),
        (f"token: {JWT}", JWT),
        (f"before\n{PEM}\nafter", "MIIEow"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEow (cut", "MIIEow"),
        ("    client-key-data: TFMwdExTMUNSVWRKVGlC", "TFMwdExTMUNSVWRKVGlC"),
    ],
)
def test_secrets_are_masked(text: str, secret: str) -> None:
    assert secret not in redact(text)
    assert MASK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "--discovery-token-ca-cert-hash sha256:" + "ab" * 32,
        "image sha256:" + "0f" * 32,
        "master.0123456789abcdefgh",
        base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMIID").decode(),
        "LS0tLS1CRUdJTiB",
        "the secret: a word; tab\there",
        "kube-apiserver.yaml 192.168.56.10 v1.31.2-1.1",
        "-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----",
    ],
)
def test_other_text_is_unchanged(text: str) -> None:
    assert redact(text) == text


def test_text_around_a_secret_is_kept() -> None:
    assert redact(f"before\n{PEM}\nafter") == f"before\n{MASK}\nafter"


def test_a_registered_password_is_masked_everywhere() -> None:
    hide("Tr0ub4dor&3")
    assert redact("echo Tr0ub4dor&3|x") == f"echo {MASK}|x"


def test_a_short_password_is_masked_as_a_word() -> None:
    hide("abc")
    assert redact("sudo: abc, xabcx abc\n") == f"sudo: {MASK}, xabcx {MASK}\n"


def test_a_terminal_obeys_nothing_in_what_is_shown() -> None:
    """Cursor, clipboard (OSC 52), C1 controls and reversed text are shown, not sent."""
    assert redact("a\x1b]52;c;cm0=\x07\x9b2J\u202eb\r\nc\td\re") == ("a\\x1b]52;c;cm0=\\x07\\x9b2J\\u202eb\nc\td\\re")


@pytest.mark.parametrize(
    "piece",
    [
        *("eyJ", "eyJaaaaaaaaaaa.", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "LS0tLS1CRUdJTi", "a", "secret: "),
        *("A ", "certificateKey", "certificate-key   ", 'secret\\"', "\x1b", "a.b", "abcdef.0123456789abcde"),
    ],
)
def test_time_is_linear_in_the_text(piece: str) -> None:
    """Sixteen times the text takes about sixteen times as long, not 256 times."""

    def seconds(count: int) -> float:
        text = piece * count
        started = time.process_time()
        redact(text)
        return time.process_time() - started

    small = max(min(seconds(20_000 // len(piece)) for _ in range(3)), 1e-3)
    assert seconds(320_000 // len(piece)) < 80 * small

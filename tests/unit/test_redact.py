"""Secrets are masked; text that merely looks like one is not."""

from __future__ import annotations

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

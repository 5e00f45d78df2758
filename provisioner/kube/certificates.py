"""Self-signed certificates for a site's own HTTPS, and whether an existing one has to be renewed.

Private keys stay in memory: never print, diff or log the keys that these functions return.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS = 365
RENEW_BEFORE = timedelta(days=30)
# The clocks of machines and clients differ a little.
_SKEW = timedelta(hours=1)


def self_signed(names: Sequence[str], now: datetime | None = None) -> tuple[bytes, bytes]:
    """Return (certificate, private key) for host names, both PEM: ECDSA P-256, valid for DAYS from `now`."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    # RFC 5280 limits a common name to 64 characters; clients check the subject alternative names.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    begin = now or datetime.now(UTC)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _SKEW)
        .not_valid_after(begin + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), secret


def reason_to_renew(certificate: bytes, key: bytes, names: Sequence[str], now: datetime | None = None) -> str:
    """Return why a certificate and its key (PEM) must be renewed for these host names, "" if they need not be."""
    try:
        found = x509.load_pem_x509_certificate(certificate)
        secret = load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "certificate or key cannot be read"
    if found.public_key() != secret.public_key():
        return "its key does not match"
    if missing := [name for name in names if name not in dns_names(found)]:
        return f"it does not cover {', '.join(missing)}"
    end = found.not_valid_after_utc
    if (now or datetime.now(UTC)) > end - RENEW_BEFORE:
        return f"it expires on {end:%Y-%m-%d}"
    return ""


def dns_names(certificate: x509.Certificate) -> list[str]:
    """Return a certificate's DNS names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName)


def pem_to_der(pem: bytes) -> bytes:
    """Return the first certificate of a PEM text as DER, b"" if there is none."""
    try:
        return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    except ValueError:
        return b""


def describe(certificate: bytes) -> str:
    """Return a certificate's (DER) names, expiry and the start of its SHA-256 as a phrase."""
    try:
        found = x509.load_der_x509_certificate(certificate)
    except ValueError:
        return "no readable certificate"
    names = ", ".join(dns_names(found)) or found.subject.rfc4514_string() or "nobody"
    fingerprint = hashlib.sha256(certificate).hexdigest()[:16]
    return f"for {names}, until {found.not_valid_after_utc:%Y-%m-%d}, SHA-256 {fingerprint}…"

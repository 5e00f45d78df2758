"""Part of the step kubeadm_files: which certificates expire soon."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from cryptography import x509

# When `verify` fails too; the share is for sites with shorter periods of validity than kubeadm's year.
SOON, SHARE = timedelta(days=30), 0.1


def expiring(certificates: Mapping[str, bytes], now: float) -> dict[str, datetime]:
    """Return the end of each certificate (PEM) that expires soon, by name. now: Unix time by the host's clock.

    One that cannot be parsed has ended: whoever reads it has no certificate.
    """
    moment = datetime.fromtimestamp(now, UTC)
    found = {}
    for name, pem in certificates.items():
        try:
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError:
            found[name] = moment
            continue
        ends = certificate.not_valid_after_utc
        if ends - moment < min(SOON, SHARE * (ends - certificate.not_valid_before_utc)):
            found[name] = ends
    return found

"""Keep secrets out of everything that is printed or logged, as the last line of defence.

The first line is that commands with secrets are run with `secret=True`. This one knows what kubeadm and Kubernetes
print unasked: bootstrap tokens, certificate keys, PEM private keys, key data in kubeconfigs; and values told to it.
"""

from __future__ import annotations

import re
import threading

MASK = "‹secret›"

_PATTERNS = (
    # Private keys as PEM, whole or cut off.
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    # Bootstrap tokens: [a-z0-9]{6}.[a-z0-9]{16} (Kubernetes, "Authenticating with Bootstrap Tokens").
    re.compile(r"(?<![\w.-])[a-z0-9]{6}\.[a-z0-9]{16}(?![\w.-])"),
    # kubeadm's certificate key: 64 hex digits; a CA's public hash has "sha256:" before it and stays.
    re.compile(r"(?<=certificate-key )[0-9a-f]{64}|(?<=certificateKey: )[0-9a-f]{64}"),
    # Service account and other JSON web tokens.
    re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+"),
    re.compile(r"(?<=client-key-data: )\S+"),
)
_known: set[str] = set()
_lock = threading.Lock()


def hide(secret: str) -> None:
    """Remember a value (a password) that must never be shown; those under 4 characters would mangle words."""
    if len(secret) >= 4:
        with _lock:
            _known.add(secret)


def redact(text: str) -> str:
    """Return `text` with every secret masked.

    >>> redact("kubeadm join 10.0.0.1:6443 --token abcdef.0123456789abcdef")
    'kubeadm join 10.0.0.1:6443 --token ‹secret›'
    """
    for pattern in _PATTERNS:
        text = pattern.sub(MASK, text)
    with _lock:
        known = tuple(_known)
    for secret in known:
        text = text.replace(secret, MASK)
    return text

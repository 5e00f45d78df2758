"""Mask secrets in everything that is printed or logged, as the last line of defense.

The first one is to run commands with secrets with `secret=True`. This module recognizes the secrets that kubeadm and
Kubernetes print by themselves (bootstrap tokens, certificate keys, PEM private keys, key data in kubeconfigs) and the
values registered with `hide`.
"""

from __future__ import annotations

import re
import threading

MASK = "‹secret›"

_PATTERNS = (
    # PEM private keys, complete or truncated.
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    # Bootstrap tokens: [a-z0-9]{6}.[a-z0-9]{16} (Kubernetes, "Authenticating with Bootstrap Tokens").
    re.compile(r"(?<![\w.-])[a-z0-9]{6}\.[a-z0-9]{16}(?![\w.-])"),
    # kubeadm's certificate key: 64 hex digits; not the hash of a CA's public key, which follows "sha256:".
    re.compile(r"(?<=certificate-key )[0-9a-f]{64}|(?<=certificateKey: )[0-9a-f]{64}"),
    # Service account tokens and other JSON Web Tokens.
    re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+"),
    re.compile(r"(?<=client-key-data: )\S+"),
)
_known: set[str] = set()
_lock = threading.Lock()


def hide(secret: str) -> None:
    """Register a value (a password) to mask; values under 4 characters are ignored, since they would mangle words."""
    if len(secret) >= 4:
        with _lock:
            _known.add(secret)


def redact(text: str) -> str:
    """Return `text` with all secrets masked.

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

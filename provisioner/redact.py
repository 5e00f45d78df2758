"""Mask secrets in everything that is printed or logged, as the last line of defense.

The first one is to run commands with secrets with `secret=True`. This module recognizes the secrets that kubeadm and
Kubernetes print by themselves (bootstrap tokens, certificate keys, private keys, key data in kubeconfigs) and the
values registered with `hide`. It also shows control characters instead of sending them to a terminal. Its time is
linear in the text, which may be a host's.
"""

from __future__ import annotations

import base64
import re
import threading

MASK = "‹secret›"

_PATTERNS = (
    # PEM private keys, complete or truncated.
    re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL),
    # Bootstrap tokens: [a-z0-9]{6}.[a-z0-9]{16} (Kubernetes, "Authenticating with Bootstrap Tokens").
    re.compile(r"(?<![\w.-])[a-z0-9]{6}\.[a-z0-9]{16}(?![\w.-])"),
    # kubeadm's certificate key: 64 hex digits, in a flag, YAML, JSON or Go's quoting; not the hash of a CA's public
    # key, which follows "sha256:".
    re.compile(
        r"""(?i)((?:certificate-key|certificateKey)[\\"']{0,4}[ \t]{0,4}[=:]?[ \t]{0,4}[\\"']{0,4})[0-9a-f]{64}"""
    ),
    # Keys of kubeconfigs and of an EncryptionConfiguration.
    re.compile(
        r"""((?:client-key-data|\bsecret)[\\"']{0,4}[ \t]{0,4}[=:][ \t]{0,4}[\\"']{0,4})[A-Za-z0-9+/]{16,}={0,2}"""
    ),
)
# Each is a maximal run of its characters, so that a text is read once (a search at every "eyJ" would be quadratic).
_DOTTED = re.compile(r"[\w.-]{35,}")
_BASE64_PEM = re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]+")  # "-----BEGIN "
_JWT_PART = 11  # characters of the shortest header and claims that count
_known: set[str] = set()
_lock = threading.Lock()
# C0 without tab and newline, DEL, C1, and what reorders text (Unicode's bidirectional controls).
_CONTROLS = (
    *range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
)  # fmt: skip
_SHOWN = {code: chr(code).encode("unicode_escape").decode() for code in _CONTROLS}
_CONTROL = re.compile(f"[{''.join(map(chr, _CONTROLS))}]")


def hide(secret: str) -> None:
    """Register a value (a password) to mask; one of up to 3 characters only where it is a word of its own."""
    if secret:
        with _lock:
            _known.add(secret)


def redact(text: str) -> str:
    """Return `text` with all secrets masked and without control characters: what may be shown on a terminal.

    >>> redact("kubeadm join 10.0.0.1:6443 --token abcdef.0123456789abcdef")
    'kubeadm join 10.0.0.1:6443 --token ‹secret›'
    >>> redact("\x1b[2Jgone")
    '\\x1b[2Jgone'
    """
    for pattern in _PATTERNS:
        text = pattern.sub(lambda found: f"{found[1] if found.lastindex else ''}{MASK}", text)
    if "eyJ" in text:
        text = _DOTTED.sub(_without_jwt, text)
    text = _BASE64_PEM.sub(_without_key, text)
    with _lock:
        known = sorted(_known, key=len, reverse=True)  # one may contain another
    for secret in known:
        if len(secret) > 3:
            text = text.replace(secret, MASK)
        elif secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
    return printable(text)


def printable(text: str) -> str:
    """Return text with control characters in Python's notation, which a terminal would obey; newline and tab stay.

    They move the cursor, set the clipboard (OSC 52), answer on behalf of the keyboard, or reverse the reading order.
    """
    if _CONTROL.search(text) is None:
        return text
    return text.replace("\r\n", "\n").translate(_SHOWN)


def _without_jwt(found: re.Match[str]) -> str:
    """Mask JSON Web Tokens (of service accounts) in a run of dotted words: two of base64 JSON, then a signature."""
    parts = found[0].split(".")
    kept = []
    index = 0
    while index < len(parts):
        part, claims = parts[index], parts[index + 1] if index + 2 < len(parts) else ""
        at = part.find("eyJ")
        if at >= 0 and len(part) - at >= _JWT_PART and claims.startswith("eyJ") and len(claims) >= _JWT_PART:
            kept.append(f"{part[:at]}{MASK}")
            index += 3
        else:
            kept.append(part)
            index += 1
    return ".".join(kept)


def _without_key(found: re.Match[str]) -> str:
    """Mask base64 of a PEM file (in Secrets and kubeconfigs) if it is a private key."""
    head = found[0][:80].rstrip("=")
    return MASK if b"PRIVATE KEY" in base64.b64decode(head[: len(head) // 4 * 4]) else found[0]

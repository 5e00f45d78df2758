"""Bring a script through a host's login shell, whichever it is, and recognize where its own output begins.

sshd(8) hands a command to the user's login shell, which reads its rc file first (bash, zsh, fish, tcsh all do) and
parses the command by its own rules. The script therefore travels in one word that every shell reads alike, and a
marker that nobody can guess precedes its output.
"""

from __future__ import annotations

import secrets
import shlex
from dataclasses import dataclass

# umask: that of the login or of root may be 077 (CIS benchmarks), with which what we create is unreadable to others.
PROLOGUE = "umask 022\nexport LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
# csh replaces `!` and ends a word at a newline even between single quotes; fish knows backslashes between them.
_ESCAPED = {ord(each): f"\\0{ord(each):03o}" for each in "\n'!\\"}
MAX_WORD = 128 * 1024 - 1  # bytes of one argument (MAX_ARG_STRLEN in Linux' include/uapi/linux/binfmts.h)


@dataclass(frozen=True)
class Line:
    """A command line for sshd and the marker that its script prints first, on stdout and on stderr."""

    text: str
    marker: bytes


def line(script: str, prefix: tuple[str, ...] = ()) -> Line:
    """Return the command line that runs `script` with `sh -eu`, after the words of `prefix` (sudo, timeout).

    It consists of words that bash, dash, zsh, fish and tcsh parse alike. The script's first argument is itself.
    """
    token = secrets.token_hex(16)
    body = f"set --\n{PROLOGUE}echo @{token}; echo @{token} >&2\n{script}"
    words = ["exec", *prefix, "/bin/sh", "-euc", '\'eval "$(printf %b "$1")"\'', "sh", f"'{encode(body)}'"]
    return Line(" ".join(words), f"@{token}\n".encode())


def encode(script: str) -> str:
    """Return the script as the argument of `printf %b` (POSIX), without a character that a login shell replaces.

    >>> encode("echo 'a'!")
    'echo \\\\0047a\\\\0047\\\\0041'
    """
    text = script.translate(_ESCAPED)
    if not text.isascii():  # csh is not 8-bit clean in every locale
        text = "".join(
            each if each.isascii() else "".join(f"\\0{byte:03o}" for byte in each.encode()) for each in text
        )
    if len(text) > MAX_WORD:
        raise ValueError(f"a script of {len(text)} bytes does not fit into one argument")
    return text


def quoted_prefix(words: list[str]) -> tuple[str, ...]:
    """Return words quoted for every login shell."""
    return tuple(shlex.quote(word) for word in words)

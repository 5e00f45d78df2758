"""Fold and cut text between words for terminals of any width."""

from __future__ import annotations

import shutil
import textwrap

LEAST = 40  # columns; in a narrower terminal lines are folded by it


def columns(terminal: bool) -> int | None:
    """Return the width of the terminal, None without one."""
    return shutil.get_terminal_size().columns if terminal else None


def folded(head: str, sentence: str, width: int | None) -> list[str]:
    """Return a sentence behind `head`, folded between words and aligned; a word longer than a line stays whole.

    >>> folded("ok ", "one two three", 10)
    ['ok one two', '   three']
    """
    if width is None or len(head) + len(sentence) <= width:
        return [head + sentence]
    return textwrap.wrap(
        sentence,
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def clipped(text: str, width: int, ellipsis: str = "…") -> str:
    """Return a text of at most `width` characters, cut between words if one is not longer than the rest of the line.

    >>> clipped("install kubeadm 1.37.2", 17)
    'install kubeadm …'
    >>> clipped("/var/lib/containerd", 10)
    '/var/lib/…'
    """
    if len(text) <= width:
        return text
    room = width - len(ellipsis)
    if room <= 0:
        return ""
    cut = text[:room]
    for border in (" ", "/", ",", "="):
        if text[room] == border and cut.strip():
            return cut.rstrip() + (" " if border == " " and len(cut.rstrip()) < room else "") + ellipsis
        head, found, _ = cut.rpartition(border)
        if found and len(head) >= room / 3:
            return head + border + ellipsis
    return cut + ellipsis

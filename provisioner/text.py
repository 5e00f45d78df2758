"""Lists and numbers as people say them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def join_words(items: Iterable[object], word: str = "and") -> str:
    """Return items as prose.

    >>> join_words(["w1", "w2", "w3"])
    'w1, w2 and w3'
    """
    words = [str(item) for item in items]
    return f"{', '.join(words[:-1])} {word} {words[-1]}" if len(words) > 1 else "".join(words)


def times(count: int) -> str:
    """Return how often.

    >>> times(1), times(3)
    ('once', '3 times')
    """
    return "once" if count == 1 else f"{count} times"


def pluralize(number: int, what: str) -> str:
    """Return a number of things, the thing's plural by s.

    >>> pluralize(1, "node"), pluralize(3, "node")
    ('1 node', '3 nodes')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def unified_diff(path: str, old: str, new: str) -> str:
    """Return the unified diff from `old` to `new`, named by `path`; empty when they are equal."""
    return "".join(
        difflib.unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True), f"{path} (now)", f"{path} (wanted)"
        )
    )

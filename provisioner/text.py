"""Format lists, counts, durations and diffs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def join_words(items: Iterable[object], word: str = "and") -> str:
    """Join items as in prose.

    >>> join_words(["w1", "w2", "w3"])
    'w1, w2 and w3'
    """
    words = [str(item) for item in items]
    return f"{', '.join(words[:-1])} {word} {words[-1]}" if len(words) > 1 else "".join(words)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question with the known word that is closest to a mistyped one, "" if none is close.

    >>> did_you_mean("kubernets", ["containerd", "kubernetes"])
    'did you mean kubernetes?'
    """
    close = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {close[0]}?" if close else ""


def times(count: int) -> str:
    """Return a count of occurrences in words.

    >>> times(1), times(2), times(3)
    ('once', 'twice', '3 times')
    """
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def pluralize(number: int, noun: str) -> str:
    """Return a number with a noun, which takes a plural s.

    >>> pluralize(1, "node"), pluralize(3, "node")
    ('1 node', '3 nodes')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return a text on one line with nothing that a terminal would obey: what is not printable is escaped.

    Messages contain what others chose: names, annotations, file names. None may add a line to a report or a color.

    >>> printable("a\\x1b[2Jb\\nc")
    'a\\\\x1b[2Jb c'
    """
    return "".join(
        one if one.isprintable() else " " if one in "\t\n\r" else one.encode("unicode_escape").decode() for one in text
    )


def duration(seconds: float) -> str:
    """Return a duration with at most two units.

    >>> [duration(0.42), duration(75), duration(3700)]
    ['0.4 s', '1 min 15 s', '1 h 1 min']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def clock(seconds: float) -> str:
    """Return a duration that is running, in whole seconds.

    >>> [clock(0.4), clock(75.2), clock(3700)]
    ['0 s', '1 min 15 s', '1 h 1 min']
    """
    return f"{int(seconds)} s" if seconds < 60 else duration(int(seconds))


def roughly(seconds: float) -> str:
    """Return an expected duration, no more exact than expectations are.

    >>> [roughly(0.7), roughly(8.4), roughly(33), roughly(128), roughly(250), roughly(4000)]
    ['1 s', '8 s', '35 s', '2 min', '4 min', '1 h 5 min']
    """
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 58:
        return f"{5 * round(seconds / 5)} s"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(5 * round(minutes / 5), 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def unified_diff(path: str, old: str, new: str) -> str:
    """Return the unified diff from `old` to `new`, labeled with `path`; empty if they are equal."""
    return "".join(
        difflib.unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True), f"{path} (now)", f"{path} (wanted)"
        )
    )

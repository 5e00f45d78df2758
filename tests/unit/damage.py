"""Damage text as a broken disk, a full one, another version of a tool, or an attacker would; for bounded fuzzing."""

from __future__ import annotations

import random

PIECES = (
    "\0", "\n", "\t", " ", "=", ":", "-1", "9" * 400, "nan", "inf", "[[", "{}", "null", '"', "\\",
    "\x1b]52;c;AAAA\x07", "٣", "é", "%s", "1.5", "true", "[]",
)  # fmt: skip


def damaged(text: str, chance: random.Random) -> str:
    """Return the text with one to four places cut, overwritten, repeated, or filled with something odd."""
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(text) + 1)
        end = place + chance.randint(1, 20)
        kind = chance.randrange(6)
        if kind == 0:
            text = text[:place] + text[end:]
        elif kind == 1:
            text = text[:place]
        elif kind == 2:
            text = text[:place] + chance.choice(PIECES) + text[place:]
        elif kind == 3:
            text = text[:place] + chance.choice(PIECES) + text[end:]
        elif kind == 4:
            text = text[:end] + text[place:]
        else:
            lines = text.splitlines(keepends=True)
            chance.shuffle(lines)
            text = "".join(lines)
    return text

"""What a terminal shows: its width, whether to use colors, and text styled with ANSI escape codes (ECMA-48 SGR)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

_COLORS = {
    name: 30 + number
    for number, name in enumerate(["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"])
}
_COLORS["bright_black"] = 90
_BACKGROUND = 10  # what a background's code is above the foreground's
_RESET = "\x1b[0m"


def style(text: str, color: str = "", *, background: str = "", bold: bool = False) -> str:
    """Return text in a color; "" keeps the terminal's own.

    >>> style("OK", "green", bold=True)
    '\\x1b[32m\\x1b[1mOK\\x1b[0m'
    """
    codes = [_COLORS[color]] if color else []
    codes += [_COLORS[background] + _BACKGROUND] if background else []
    codes += [1] if bold else []
    return "".join(f"\x1b[{code}m" for code in codes) + text + _RESET


def columns(terminal: bool) -> int:
    """Return how many columns to write: the terminal's, 100 without one."""
    return shutil.get_terminal_size((100, 24)).columns if terminal else 100


def use_color(environment: Mapping[str, str], terminal: bool) -> bool:
    """Tell whether to use colors: only on a terminal, and not if NO_COLOR (no-color.org) or TERM forbids it."""
    return terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"

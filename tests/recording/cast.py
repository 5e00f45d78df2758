"""Record programs on a pseudo-terminal as asciicast v2, and play a recording into an emulated terminal."""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import re
import struct
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyte

from tests.recording import COLUMNS, ROWS

_ERASE = re.compile(r"\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")
_AT_LEAST = 1.0  # seconds between two redraws that are kept


@dataclass
class Cast:
    """What a terminal was sent: (seconds since the start, text)."""

    sent: list[tuple[float, str]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Return how long it took."""
        return self.sent[-1][0] if self.sent else 0.0

    def save(self, path: Path, title: str) -> None:
        """Write it as asciicast v2."""
        header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": title, "env": {"TERM": "xterm-256color"}}
        lines = [json.dumps(header), *(json.dumps([round(at, 2), "o", text]) for at, text in self.sent)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Cast:
        """Read an asciicast v2 of this size."""
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        assert [json.loads(header)[key] for key in ("version", "width", "height")] == [2, COLUMNS, ROWS]
        events = [json.loads(line) for line in lines]
        assert {kind for _, kind, _ in events} == {"o"}
        return cls([(at, text) for at, _, text in events])

    def thinned(self) -> Cast:
        """Return it without the redraws that another one of the same height replaced within a second."""
        kept: list[tuple[float, str]] = []
        for at, text in self.sent:
            if kept and at - kept[-1][0] < _AT_LEAST and _redraws(kept[-1][1], text):
                kept[-1] = (kept[-1][0], text)
            else:
                kept.append((at, text))
        return Cast(kept)


def _redraws(old: str, new: str) -> bool:
    """Return whether both erase as many lines as they draw, and as many as each other, and nothing else."""
    heights = [
        (found.group().count("\x1b[1A"), text.count("\n")) for text in (old, new) if (found := _ERASE.match(text))
    ]
    return len(heights) == 2 and len({*heights[0], *heights[1]}) == 1


def record(cast: Cast, began: float, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> int:
    """Run a program on a terminal, append what it sends, and return its exit status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execvpe(argv[0], [*argv], {**environment, "TERM": "xterm-256color"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # EIO: the program has ended
            break
        if not piece:
            break
        if text := decoder.decode(piece):
            cast.sent.append((time.monotonic() - began, text))
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def screens(cast: Cast, every: float) -> Iterator[pyte.Screen]:
    """Yield the same screen as it is after each `every` seconds, and at the end."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.Stream(screen)
    following = every
    for at, text in cast.sent:
        while at > following:
            yield screen
            following += every
        stream.feed(text)
    yield screen


def lines(text: str) -> list[str]:
    """Return what stays on a terminal of this size, scrolled off or not, after it was sent a text."""
    screen = pyte.HistoryScreen(COLUMNS, ROWS, history=100_000, ratio=1.0)
    pyte.Stream(screen).feed(text)
    above = ["".join(row[column].data for column in range(COLUMNS)).rstrip() for row in screen.history.top]
    shown = [*above, *(line.rstrip() for line in screen.display)]
    while shown and not shown[-1]:
        shown.pop()
    return shown

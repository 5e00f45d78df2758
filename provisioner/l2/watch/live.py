"""Live output of a watch: one line per event and, on a terminal, a status line that counts the silence.

It goes to stderr, so that stdout has the report only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from provisioner.l2.watch.recorder import Tick
from provisioner.l2.watch.timeline import ONE_ROUND
from provisioner.l2.watch.verdict import format_seconds

_CLEAR = "\r\x1b[K"
_REDRAW = 0.2  # seconds
END = "press Ctrl-C to end it with the report"


class Live:
    """Lines on a stream. name: returns an owner's name for a MAC, by what is known so far."""

    def __init__(self, stream: TextIO, name: Callable[[str], str]) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._name = name
        self._holders: tuple[str, ...] | None = None
        self._last: float | None = None
        self._announced: dict[str, float] = {}
        self._outcomes: dict[str, str] = {}
        self._lines: list[tuple[float, str]] = []
        self._drawn = 0.0

    def __call__(self, tick: Tick) -> None:
        """Print what is new, and redraw the status line."""
        for frame in tick.announcements:
            if frame.timestamp - self._announced.get(frame.mac, 0.0) > ONE_ROUND:
                self._announced[frame.mac] = frame.timestamp
                self._line(frame.timestamp, f"gratuitous frame from {self._name(frame.mac)}")
        if tick.holders != self._holders:
            self._holders_changed(tick)
        self._last = tick.last
        for shake in tick.handshakes:
            if shake.outcome != self._outcomes.get(shake.mac):
                self._outcomes[shake.mac] = shake.outcome
                when = shake.timestamp or tick.now
                self._line(when, f"TCP {shake.port} through {self._name(shake.mac)}: {shake.outcome}")
        self._print()
        if self._terminal and tick.now - self._drawn >= _REDRAW:
            self._drawn = tick.now
            self._stream.write(f"{_CLEAR}{self._status(tick)}")
            self._stream.flush()

    def close(self) -> None:
        """Clear the status line."""
        if self._terminal:
            self._stream.write(_CLEAR)
            self._stream.flush()

    def _holders_changed(self, tick: Tick) -> None:
        new = [mac for mac in tick.holders if mac not in (self._holders or ())]
        if not tick.holders and self._holders is not None and tick.last is not None:
            gone = " and ".join(map(self._name, self._holders))
            self._line(tick.last, f"last reply from {gone}; silent since")
        for mac in new:
            first = next((answer.timestamp for answer in tick.answers if answer.mac == mac), tick.now)
            silence = "" if self._last is None else format_seconds(max(0.0, first - self._last))
            self._line(first, f"{self._name(mac)} answers{silence and f', {silence} after the last reply'}")
        if tick.holders and self._holders and set(tick.holders) < set(self._holders):
            gone = " and ".join(self._name(mac) for mac in self._holders if mac not in tick.holders)
            self._line(tick.now, f"{gone} no longer answers")
        self._holders = tick.holders

    def _status(self, tick: Tick) -> str:
        if tick.last is None:
            return f"no reply yet; {END}"
        if not tick.holders:
            return f"silent for {format_seconds(tick.now - tick.last)}; {END}"
        who = " and ".join(map(self._name, tick.holders))
        return f"{who} answer{'s' if len(tick.holders) == 1 else ''}; {END}"

    def _line(self, when: float, text: str) -> None:
        self._lines.append((when, text))

    def _print(self) -> None:
        """Print this tick's lines in order of time."""
        for when, text in sorted(self._lines):
            clock = time.strftime("%H:%M:%S", time.localtime(when))
            self._stream.write(f"{_CLEAR if self._terminal else ''}{clock}.{int(when % 1 * 1000):03d}  {text}\n")
        self._stream.flush()
        self._lines.clear()

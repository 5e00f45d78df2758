"""What a watch shows while it runs: a line for each thing that happens; on a terminal, one that counts the silence.

It goes to stderr, so that a report on stdout stays what it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from provisioner.l2.watch.recorder import Moment
from provisioner.l2.watch.timeline import ONE_ROUND
from provisioner.l2.watch.verdict import seconds

_CLEAR = "\r\x1b[K"
_REDRAW = 0.2  # seconds


class Live:
    """Lines on a stream. name: what people call a MAC, by what is known when it is said."""

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

    def __call__(self, moment: Moment) -> None:
        """Tell what is new, and redraw the line that says how things stand."""
        for frame in moment.announcements:
            if frame.timestamp - self._announced.get(frame.mac, 0.0) > ONE_ROUND:
                self._announced[frame.mac] = frame.timestamp
                self._line(frame.timestamp, f"gratuitous frame from {self._name(frame.mac)}")
        if moment.holders != self._holders:
            self._changed(moment)
        self._last = moment.last
        for shake in moment.handshakes:
            if shake.outcome != self._outcomes.get(shake.mac):
                self._outcomes[shake.mac] = shake.outcome
                when = shake.timestamp or moment.now
                self._line(when, f"TCP {shake.port} through {self._name(shake.mac)}: {shake.outcome}")
        self._print()
        if self._terminal and moment.now - self._drawn >= _REDRAW:
            self._drawn = moment.now
            self._stream.write(f"{_CLEAR}{self._standing(moment)}")
            self._stream.flush()

    def close(self) -> None:
        """Clear the line that says how things stand."""
        if self._terminal:
            self._stream.write(_CLEAR)
            self._stream.flush()

    def _changed(self, moment: Moment) -> None:
        new = [mac for mac in moment.holders if mac not in (self._holders or ())]
        if not moment.holders and self._holders is not None and moment.last is not None:
            gone = " and ".join(map(self._name, self._holders))
            self._line(moment.last, f"last answer of {gone}; silent since")
        for mac in new:
            first = next((answer.timestamp for answer in moment.answers if answer.mac == mac), moment.now)
            pause = "" if self._last is None else f", {seconds(max(0.0, first - self._last))} after the last answer"
            self._line(first, f"{self._name(mac)} answers{pause}")
        if moment.holders and self._holders and set(moment.holders) < set(self._holders):
            gone = " and ".join(self._name(mac) for mac in self._holders if mac not in moment.holders)
            self._line(moment.now, f"{gone} answers no longer")
        self._holders = moment.holders

    def _standing(self, moment: Moment) -> str:
        if moment.last is None:
            return "nobody has answered yet; Ctrl-C ends with the report"
        if not moment.holders:
            return f"nobody answers for {seconds(moment.now - moment.last)}; Ctrl-C ends with the report"
        who = " and ".join(map(self._name, moment.holders))
        return f"{who} answer{'s' if len(moment.holders) == 1 else ''}; Ctrl-C ends with the report"

    def _line(self, when: float, text: str) -> None:
        self._lines.append((when, text))

    def _print(self) -> None:
        """Print what this tick has brought, in order of time."""
        for when, text in sorted(self._lines):
            clock = time.strftime("%H:%M:%S", time.localtime(when))
            self._stream.write(f"{_CLEAR if self._terminal else ''}{clock}.{int(when % 1 * 1000):03d}  {text}\n")
        self._stream.flush()
        self._lines.clear()

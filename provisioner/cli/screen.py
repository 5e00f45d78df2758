"""Show the events of a run as plain lines or JSON; terminal.py shows them live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TextIO

from provisioner.report import Event
from provisioner.text import clock, duration, roughly

HEARTBEAT = 30.0  # seconds between output lines shown for a long command without a terminal


class Viewer(Protocol):
    """Show events to a person or a program."""

    def __call__(self, event: Event) -> None:
        """Show an event."""

    def close(self) -> None:
        """Release the terminal."""


class Silent:
    """Show nothing."""

    def __call__(self, event: Event) -> None:
        """Show an event."""

    def close(self) -> None:
        """Do nothing."""


class JsonLines:
    """Print each event as one line of JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event.kind != "idle":
            print(event.json(), file=self._stream, flush=True)

    def close(self) -> None:
        """Do nothing."""


class Plain:
    """Print one line per event; with -v every output line, else one per HEARTBEAT as a sign of life."""

    def __init__(self, stream: TextIO, verbose: int = 0) -> None:
        self._stream = stream
        self._verbose = verbose
        self._last_output: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event.kind == "output":
            last = self._last_output.setdefault(event.host, event.time)
            if not self._verbose and event.time - last < HEARTBEAT:
                return
        if event.kind in ("output", "host"):
            self._last_output[event.host] = event.time
        for line in plain_lines(event):
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Do nothing."""


def plain_lines(event: Event) -> Iterator[str]:
    """Yield the lines for an event, none for a kind that is not shown."""
    data = event.data
    seconds = f" ({duration(data['seconds'])})" if "seconds" in data else ""
    place = f"{data['number']}/{data['of']} " if "number" in data else ""
    expected = f" (about {roughly(data['expected'])})" if "expected" in data else ""
    lines = {
        "step": f"== {place}{event.step}: {event.text}{expected}",
        "check": f"== {place}{event.step}: {event.text}{expected}",
        "expected": f"   {event.step}:{expected}",
        "change": f"   {event.host}: {event.text}",
        "output": f"   {event.host}: | {event.text}",
        "proof": f"   {event.text}",
        "done": f"   {event.host}: {result(data.get('pending', 0), data.get('changes', 0))}{seconds}",
        "unseen": f"   {event.host}: not seen yet: {event.text}",
        "failed": f"   {event.host}: FAILED{seconds}",
        "note": event.text,
        "summary": event.text,
    }
    if event.kind == "made":
        yield from (f"{head}{text}" for head, text in made_lines(data))
    elif line := lines.get(event.kind):
        yield line


def made_lines(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (head, text) of each line about what stands now, from the data of an event "made"."""
    yield "", f"{data['title']}:"
    parts = data["parts"]
    widest = max((len(name) for name in parts), default=0)
    for name, text in parts.items():
        for number, line in enumerate(text if isinstance(text, list) else [text]):
            yield f"  {'' if number else name:<{widest}}  ", line


def progress(seconds: float, expected: float | None) -> str:
    """Return the time that a running step has taken, and of how much.

    >>> progress(12, 33), progress(50, 33), progress(12, None)
    ('12 s of about 35 s', '50 s, expected about 35 s', '12 s')
    """
    if expected is None:
        return clock(seconds)
    between = " of about" if seconds <= max(expected, 1) else ", expected about"
    return f"{clock(seconds)}{between} {roughly(expected)}"


def result(pending: int, changes: int) -> str:
    """Return the result of a step without failures: "2 to do" in a plan, "2 changed" in an apply, or "ok"."""
    return f"{pending} to do" if pending else f"{changes} changed" if changes else "ok"

"""Show the events of a run as plain lines or JSON; terminal.py shows them live."""

from __future__ import annotations

from typing import Protocol, TextIO

from provisioner.report import Event
from provisioner.text import duration

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
        line = plain_line(event)
        if line:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Do nothing."""


def plain_line(event: Event) -> str:
    """Return the line for an event, empty for a kind that is not shown."""
    seconds = f" ({duration(event.data['seconds'])})" if "seconds" in event.data else ""
    lines = {
        "step": f"== {event.step}: {event.text}",
        "change": f"   {event.host}: {event.text}",
        "output": f"   {event.host}: | {event.text}",
        "proof": f"   {event.text}",
        "done": f"   {event.host}: {result(event.data.get('pending', 0), event.data.get('changes', 0))}{seconds}",
        "unseen": f"   {event.host}: not seen yet: {event.text}",
        "failed": f"   {event.host}: FAILED{seconds}",
        "note": event.text,
        "summary": event.text,
    }
    return lines.get(event.kind, "")


def result(pending: int, changes: int) -> str:
    """Return the result of a step without failures: "2 to do" in a plan, "2 changed" in an apply, or "ok"."""
    return f"{pending} to do" if pending else f"{changes} changed" if changes else "ok"

"""How a person or a machine sees a run: plain lines, or one JSON event a line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

from provisioner.report import Event


def plain(stream: TextIO | None = None, verbose: int = 0) -> Callable[[Event], None]:
    """Return a viewer that prints a line for each thing that a person wants to know; output lines with -v."""
    out = stream or sys.stderr

    def view(event: Event) -> None:
        line = sentence(event, verbose)
        if line:
            print(line, file=out, flush=True)

    return view


def sentence(event: Event, verbose: int = 0) -> str:
    """Return the line for an event, empty for those that are not shown."""
    seconds = event.data.get("seconds", 0)
    match event.kind:
        case "step":
            return f"== {event.step}: {event.text}"
        case "change":
            return f"   {event.host}: {event.text}"
        case "output" if verbose:
            return f"   {event.host}: | {event.text}"
        case "waiting":
            return f"== {event.step}: {event.text}"
        case "done":
            count = event.data.get("changes", 0)
            return f"   {event.host}: {f'{count} changed' if count else 'ok'} ({seconds:.1f} s)"
        case "failed":
            return f"   {event.host}: FAILED: {event.text} ({seconds:.1f} s)"
        case "note":
            return event.text
    return ""


def json_lines(stream: TextIO | None = None) -> Callable[[Event], None]:
    """Return a viewer that prints every event as one line of JSON."""
    out = stream or sys.stdout

    def view(event: Event) -> None:
        print(event.json(), file=out, flush=True)

    return view

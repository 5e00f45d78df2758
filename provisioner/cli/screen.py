"""How a person or a machine sees a run: live lines on a terminal, plain lines elsewhere, or JSON events."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from provisioner.engine.summary import duration
from provisioner.report import Event

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live

Viewer = Callable[[Event], None]
HEARTBEAT = 30.0  # seconds between signs of life of a long command where there is no terminal


def viewer(output: str, verbose: int) -> Viewer:
    """Return the viewer for a command's `-o` and `-v`; progress goes to stderr, JSON to stdout."""
    if output == "json":
        return json_lines(sys.stdout)
    if sys.stderr.isatty() and not verbose:
        return Terminal()
    return Plain(sys.stderr, verbose)


def json_lines(stream: TextIO) -> Viewer:
    """Return a viewer that prints every event as one line of JSON."""

    def view(event: Event) -> None:
        if event.kind != "idle":
            print(event.json(), file=stream, flush=True)

    return view


class Plain:
    """Print a line for each thing that a person wants to know; every output line with -v, else some."""

    def __init__(self, stream: TextIO, verbose: int = 0) -> None:
        self._stream = stream
        self._verbose = verbose
        self._told: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event.kind == "output":
            last = self._told.setdefault(event.host, event.time)
            if not self._verbose and event.time - last < HEARTBEAT:
                return
        if event.kind in ("output", "host"):
            self._told[event.host] = event.time
        line = sentence(event)
        if line:
            print(line, file=self._stream, flush=True)


def sentence(event: Event) -> str:
    """Return the line for an event, empty for those that are not shown."""
    took = f" ({duration(event.data['seconds'])})" if "seconds" in event.data else ""
    lines = {
        "step": f"== {event.step}: {event.text}",
        "change": f"   {event.host}: {event.text}",
        "output": f"   {event.host}: | {event.text}",
        "proof": f"   {event.text}",
        "done": f"   {event.host}: {_count(event)}{took}",
        "failed": f"   {event.host}: FAILED{took}",
        "note": event.text,
        "summary": event.text,
    }
    return lines.get(event.kind, "")


def _count(event: Event) -> str:
    pending, changes = event.data.get("pending", 0), event.data.get("changes", 0)
    return f"{pending} to do" if pending else f"{changes} changed" if changes else "ok"


@dataclass
class _Line:
    started: float
    state: str = "…"
    text: str = ""
    seconds: float | None = None
    changes: int = 0
    pending: int = 0


class Terminal:
    """Show the running step as one live line a host: elapsed time and the last output line; then one line a step."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._lines: dict[str, _Line] = {}
        self._title = ""

    def __call__(self, event: Event) -> None:
        """Show an event."""
        show = getattr(self, f"_on_{event.kind.replace('-', '_')}", None)
        if show is not None:
            show(event)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        del options
        yield Text(self._title, style="bold", no_wrap=True, overflow="ellipsis")
        for name, line in tuple(self._lines.items()):
            taken = line.seconds if line.seconds is not None else time.time() - line.started
            row = f"  {line.state} {name:14} {duration(taken):>12}  {line.text}"
            yield Text(row[: console.width], no_wrap=True, overflow="ellipsis")

    def _on_step(self, event: Event) -> None:
        self._begin(f"{event.step}: {event.text}")

    def _begin(self, title: str) -> None:
        from rich.live import Live

        self.stop()
        self._title = title
        self._lines = {}
        self._live = Live(self, console=self._console, transient=True, refresh_per_second=4, redirect_stdout=False)
        self._live.start()

    def _on_host(self, event: Event) -> None:
        self._lines[event.host] = _Line(event.time)

    def _on_output(self, event: Event) -> None:
        if self._live is None:  # between steps: what a single waiting command says
            self._begin(f"{event.step}:")
            self._lines[event.host] = _Line(event.time)
        if event.host in self._lines:
            self._lines[event.host].text = event.text

    def _on_change(self, event: Event) -> None:
        self._print(f"  {event.host}: {event.text}")
        self._on_output(event)

    def _on_proof(self, event: Event) -> None:
        self._print(f"  {event.text}")

    def _on_done(self, event: Event) -> None:
        line = self._lines[event.host]
        line.state, line.text, line.seconds = "✔", "", event.data["seconds"]
        line.changes += event.data.get("changes", 0)
        line.pending += event.data.get("pending", 0)

    def _on_failed(self, event: Event) -> None:
        line = self._lines[event.host]
        line.state, line.text, line.seconds = "✘", event.text, event.data["seconds"]

    def _on_step_done(self, event: Event) -> None:
        self.stop()
        lines = self._lines.values()
        failed = [name for name, line in self._lines.items() if line.state == "✘"]
        changes, pending = sum(line.changes for line in lines), sum(line.pending for line in lines)
        done = f"{pending} to do" if pending else f"{changes} changed" if changes else "ok"
        verdict = f"failed on {', '.join(failed)}" if failed else done
        style = "red" if failed else "yellow" if changes or pending else "green"
        mark = "✘" if failed else "✔"
        self._print(f"{mark} {event.step:22} {verdict:24} {duration(event.data['seconds']):>12}", style)

    def _on_idle(self, event: Event) -> None:
        del event
        self.stop()

    def _on_note(self, event: Event) -> None:
        self._print(event.text)

    def _on_summary(self, event: Event) -> None:
        self._print(event.text, "bold")

    def _print(self, text: str, style: str | None = None) -> None:
        kwargs: dict[str, Any] = {"markup": False, "soft_wrap": True}
        self._console.print(text, style=style, **kwargs)

    def stop(self) -> None:
        """Give the terminal back; the cursor too."""
        if self._live is not None:
            self._live.stop()
            self._live = None

"""The live view of a run on a terminal."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from provisioner.cli.screen import result
from provisioner.report import Event
from provisioner.text import duration


@dataclass
class _Line:
    """The state of the running step on one host."""

    started: float
    mark: str = "…"
    text: str = ""
    seconds: float | None = None
    changes: int = 0
    pending: int = 0


class Terminal:
    """Show the running step as one live line per host (elapsed time, last output), then one line per step."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._lines: dict[str, _Line] = {}
        self._title = ""

    def __call__(self, event: Event) -> None:
        """Show an event."""
        show = getattr(self, f"_on_{event.kind.replace('-', '_')}", None)
        if show is not None:
            show(event)

    def close(self) -> None:
        """Stop the live lines and restore the cursor."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del options
        yield Text(self._title, style="bold", no_wrap=True, overflow="ellipsis")
        for name, line in tuple(self._lines.items()):
            seconds = line.seconds if line.seconds is not None else time.time() - line.started
            row = f"  {line.mark} {name:14} {duration(seconds):>12}  {line.text}"
            yield Text(row[: console.width], no_wrap=True, overflow="ellipsis")

    def _on_step(self, event: Event) -> None:
        self._begin(f"{event.step}: {event.text}")

    def _begin(self, title: str) -> None:
        self.close()
        self._title = title
        self._lines = {}
        self._live = Live(self, console=self._console, transient=True, refresh_per_second=4, redirect_stdout=False)
        self._live.start()

    def _on_host(self, event: Event) -> None:
        self._lines[event.host] = _Line(event.time)

    def _on_output(self, event: Event) -> None:
        if self._live is None:  # output of a command that runs no steps
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
        line.mark, line.text, line.seconds = "✔", "", event.data["seconds"]
        line.changes += event.data.get("changes", 0)
        line.pending += event.data.get("pending", 0)

    def _on_unseen(self, event: Event) -> None:
        line = self._lines[event.host]
        line.mark, line.text, line.seconds = "–", event.text, event.data["seconds"]

    def _on_failed(self, event: Event) -> None:
        line = self._lines[event.host]
        line.mark, line.text, line.seconds = "✘", event.text, event.data["seconds"]

    def _on_step_done(self, event: Event) -> None:
        self.close()
        lines = self._lines.values()
        failed = [name for name, line in self._lines.items() if line.mark == "✘"]
        changes, pending = sum(line.changes for line in lines), sum(line.pending for line in lines)
        unseen = [name for name, line in self._lines.items() if line.mark == "–"]
        verdict = f"failed on {', '.join(failed)}" if failed else result(pending, changes)
        style = "red" if failed else "yellow" if changes or pending else "green"
        mark = "✘" if failed else "✔"
        if unseen and not failed and not changes and not pending:  # no tick for what nobody could look at
            verdict, style, mark = f"not seen on {', '.join(unseen)}", "dim", "–"
        self._print(f"{mark} {event.step:22} {verdict:24} {duration(event.data['seconds']):>12}", style)

    def _on_idle(self, event: Event) -> None:
        del event
        self.close()

    def _on_note(self, event: Event) -> None:
        self._print(event.text)

    def _on_summary(self, event: Event) -> None:
        self._print(event.text, "bold")

    def _print(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, soft_wrap=True)

"""The live view of a run on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from provisioner.cli.fold import clipped, folded
from provisioner.cli.screen import made_lines, progress, result
from provisioner.report import Event
from provisioner.text import clock, duration, roughly

_LEAST_ROWS = 3  # of hosts, however low the terminal
_MOST_BELOW = 10  # different changes of a step that are printed; installing MetalLB makes 33
_BELOW = "    "
_NEWLINE = "\n"  # an f-string of Python 3.11 may have no backslash


@dataclass
class _Line:
    """The state of the running step on one host."""

    started: float
    mark: str = "…"
    text: str = ""
    seconds: float | None = None
    changes: int = 0
    pending: int = 0


@dataclass
class _Stage:
    """What is running: a step or a check. hosts: all that it will run on. below: the lines to print under its end."""

    title: str = ""
    name: str = ""
    place: str = ""  # 7/20
    hosts: tuple[str, ...] = ()
    started: float = field(default_factory=time.time)
    expected: float | None = None
    left: float | None = None
    lines: dict[str, _Line] = field(default_factory=dict)
    below: dict[str, list[str]] = field(default_factory=dict)


class Terminal:
    """Show the running step as live lines: what each host does, how long it takes; then one line per step.

    The changes of a step are printed below its line when it ends, each once with its hosts.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._stage = _Stage()
        self._began = time.time()
        plain = self._console.options.ascii_only
        self._marks = dict(zip("✔✘–…", "+x-~" if plain else "✔✘–…", strict=True))
        self._ellipsis = "..." if plain else "…"

    def __call__(self, event: Event) -> None:
        """Show an event."""
        show = getattr(self, f"_on_{event.kind.replace('-', '_')}", None)
        if show is not None:
            show(event)

    def close(self) -> None:
        """Stop the live lines, restore the cursor, and print what was changed by a step that did not end."""
        self._stop()
        if self._stage.below:
            self._end("–", "interrupted", time.time() - self._stage.started, "yellow")

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    # --- the live lines -----------------------------------------------------------------------------------------

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the title, a line for each host as far as there is room, and the time of the run."""
        del options
        stage, now, width = self._stage, time.time(), console.width - 1
        yield self._row(stage.title, progress(now - stage.started, stage.expected), width, "bold")
        lines = [*stage.lines.items()]
        room = max(console.height - 4, _LEAST_ROWS)
        shown = lines if len(stage.hosts) <= room else [one for one in lines if one[1].seconds is None][:room]
        names = max((len(name) for name, _ in shown), default=0)
        for name, line in shown:
            seconds = line.seconds if line.seconds is not None else now - line.started
            head = f"  {self._marks[line.mark]} {clipped(name, max(width // 3, 8), self._ellipsis):<{names}}  "
            yield self._row(f"{head}{line.text.replace(_NEWLINE, '; ')}", clock(seconds), width)
        if rest := ", ".join(_rest(stage, len(shown))):
            yield self._row(f"    {rest}", "", width)
        yield self._row(f"  {self._total(now)}", "", width, "dim")

    def _row(self, text: str, right: str, width: int, style: str = "") -> Text:
        """Return a line with something at its right end; the rest is cut between words where it is too long."""
        room = width - len(right) - 2
        return Text(f"{clipped(text, room, self._ellipsis):<{room}}  {right}", style, no_wrap=True, overflow="crop")

    def _total(self, now: float) -> str:
        text = f"{clock(now - self._began)} since the start"
        if self._stage.left is None:
            return text
        left = self._stage.left - min(now - self._stage.started, self._stage.expected or 0.0)
        return f"{text}, about {roughly(left)} left"

    def _begin(self, stage: _Stage) -> None:
        self.close()
        self._stage = stage
        self._resume()

    def _resume(self) -> None:
        self._live = Live(self, console=self._console, transient=True, refresh_per_second=4, redirect_stdout=False)
        self._live.start()

    # --- events -------------------------------------------------------------------------------------------------

    def _on_step(self, event: Event) -> None:
        self._begin(self._new_stage(event, "Step"))

    def _on_check(self, event: Event) -> None:
        stage = self._new_stage(event, "Check")
        stage.lines["cluster"] = _Line(event.time)
        self._begin(stage)

    @staticmethod
    def _new_stage(event: Event, noun: str) -> _Stage:
        data = event.data
        number = f"{noun} {data['number']} of {data['of']}  " if "number" in data else ""
        return _Stage(
            f"{number}{event.step}: {event.text}",
            event.step,
            f"{data['number']:>{len(str(data['of']))}}/{data['of']}" if "number" in data else "",
            tuple(data.get("hosts", ())),
            event.time,
            data.get("expected"),
            data.get("left"),
        )

    def _on_expected(self, event: Event) -> None:
        self._stage.expected = event.data["expected"]

    def _on_host(self, event: Event) -> None:
        self._stage.lines[event.host] = _Line(event.time)

    def _on_output(self, event: Event) -> None:
        stage = self._stage
        if self._live is None:
            if not stage.title:  # output of a command that runs no steps
                stage.title, stage.started = f"{event.step}:", event.time
            self._resume()
        line = stage.lines.setdefault(event.host, _Line(event.time))
        if line.seconds is None:
            line.text = event.text

    def _on_change(self, event: Event) -> None:
        self._stage.below.setdefault(event.text, []).append(event.host)
        self._on_output(event)

    def _on_proof(self, event: Event) -> None:
        self._stage.below.setdefault(event.text, [])

    def _on_done(self, event: Event) -> None:
        line = self._ended(event, "✔")
        line.text = ""
        line.changes += event.data.get("changes", 0)
        line.pending += event.data.get("pending", 0)

    def _on_unseen(self, event: Event) -> None:
        self._ended(event, "–")

    def _on_failed(self, event: Event) -> None:
        self._ended(event, "✘")

    def _ended(self, event: Event, mark: str) -> _Line:
        line = self._stage.lines.setdefault(event.host, _Line(event.time))
        line.mark, line.text, line.seconds = mark, event.text, event.data["seconds"]
        return line

    def _on_step_done(self, event: Event) -> None:
        self._stop()
        lines = self._stage.lines.values()
        failed = [name for name, line in self._stage.lines.items() if line.mark == "✘"]
        changes, pending = sum(line.changes for line in lines), sum(line.pending for line in lines)
        unseen = [name for name, line in self._stage.lines.items() if line.mark == "–"]
        verdict = f"failed on {', '.join(failed)}" if failed else result(pending, changes)
        style = "red" if failed else "yellow" if changes or pending else "green"
        mark = "✘" if failed else "✔"
        if unseen and not failed and not changes and not pending:  # no tick for what nobody could look at
            verdict, style, mark = f"not seen on {', '.join(unseen)}", "dim", "–"
        self._end(mark, verdict, event.data["seconds"], style)

    def _end(self, mark: str, verdict: str, seconds: float, style: str) -> None:
        """Print the line of a step that ended and what it did."""
        stage, width = self._stage, self._console.width - 1
        head = " ".join(filter(None, (self._marks[mark], stage.place, f"{stage.name:20} ")))
        took = duration(seconds)
        whole = f"{head}{verdict:16}{took:>12}"
        for line in [whole] if len(whole) <= width else folded(head, f"{verdict}, {took}", width):
            self._print(line, style)
        below = [*stage.below.items()]
        shown = below if len(below) <= _MOST_BELOW else below[: _MOST_BELOW - 1]
        for text, hosts in shown:
            names = f"  [{', '.join(sorted(dict.fromkeys(hosts), key=self._order))}]" if hosts else ""
            for line in folded(_BELOW, f"{text}{names}", width):
                self._print(line)
        if len(shown) < len(below):
            self._print(f"{_BELOW}and {len(below) - len(shown)} more, which the log has")
        stage.below = {}

    def _order(self, host: str) -> int:
        """Return where a host is in the step's order, which is that of hosts.toml."""
        return self._stage.hosts.index(host) if host in self._stage.hosts else len(self._stage.hosts)

    def _on_idle(self, event: Event) -> None:
        del event
        self.close()

    def _on_note(self, event: Event) -> None:
        for line in event.text.splitlines():
            if event.data.get("follow_up"):  # a command, which can be copied as long as it is one line
                self._print(line)
            else:
                self._fold(line)

    def _on_summary(self, event: Event) -> None:
        self._fold(event.text, "bold")

    def _on_made(self, event: Event) -> None:
        for head, text in made_lines(event.data):
            for line in folded(head, text, self._console.width - 1):
                self._print(line)

    def _fold(self, text: str, style: str | None = None) -> None:
        """Print a line that goes on indented where it is folded."""
        body = text.lstrip()
        indent = text[: len(text) - len(body)]
        if len(text) < self._console.width:
            self._print(text, style)
            return
        first, *more = folded(indent, body, self._console.width - 3)
        for line in (first, *(f"  {one}" for one in more)):
            self._print(line, style)

    def _print(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, soft_wrap=True)


def _rest(stage: _Stage, shown: int) -> Iterator[str]:
    """Yield how many hosts have no line of their own, by what they do."""
    failed = sum(line.mark == "✘" for line in stage.lines.values())
    ended = sum(line.seconds is not None for line in stage.lines.values())
    waiting = len(stage.hosts) - len(stage.lines)
    listed_all = shown == len(stage.lines)
    running = len(stage.lines) - ended - shown if not listed_all else 0
    if running > 0:
        yield f"{running} more running"
    if ended and not listed_all:
        yield f"{ended - failed} done"
    if failed and not listed_all:
        yield f"{failed} failed"
    if waiting > 0:
        yield f"{waiting} waiting"

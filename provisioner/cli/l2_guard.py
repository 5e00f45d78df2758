"""`provisioner l2 guard`: watch a segment for days, and tell of what has happened."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import click

from provisioner.cli import completing
from provisioner.cli.l2 import Seconds, interface_option
from provisioner.cli.l2_selection import Selection, cluster_options, output_option
from provisioner.cli.l2_sources import open_source
from provisioner.cli.options import Options
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2 import check, terminal
from provisioner.l2.facts import Facts
from provisioner.l2.guard import history, hooks, known, metrics, runner, store
from provisioner.l2.guard.event import Event
from provisioner.l2.guard.known import Known
from provisioner.l2.guard.listening import Listener
from provisioner.l2.guard.watcher import Watcher
from provisioner.l2.probe import interfaces
from provisioner.l2.probe.interfaces import Interface
from provisioner.redact import redact
from provisioner.text import pluralize

SHOW_EVERY = 5.0  # seconds between two states of the metrics
_DB = "guard.sqlite"

db_option = click.option(
    "--db",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file of past events. [default: $STATE_DIRECTORY/guard.sqlite, else .provisioner/guard.sqlite]",
)


class DefaultRun(click.Group):
    """A group whose command `run` need not be named: its arguments are addresses, not commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert `run` where no command is named."""
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=DefaultRun)
def guard() -> None:
    """Watch a segment: who answers for each external IP, and who uses the pools. It runs until it is stopped.

    It listens to ARP, NDP, VRRP, HSRP, CARP and DHCP, and asks for each external IP twice a minute. Each change is
    one line: a silent address, a new owner, a conflict, a split brain, a host or a DHCP server in a pool. `guard IP`
    is short for `guard run IP`; `guard history` shows what has happened.

    Example: provisioner l2 guard --facts cluster.json --metrics-port 9466
    """


@guard.command()
@click.argument("words", nargs=-1, metavar="[IP|CIDR|RANGE|pool:NAME]...", shell_complete=completing.pools)
@click.option("--facts", type=click.Path(path_type=Path), metavar="FILE", help="Use this file of `l2 collect`.")
@click.option("--offline", is_flag=True, help="Use hosts.toml only; do not contact the cluster.")
@cluster_options
@output_option
@interface_option
@click.option(
    "--every",
    default=30.0,
    type=Seconds(10, 3600),
    show_default=True,
    metavar="SECONDS",
    help="Ask for each address at this interval; in doubt up to three times at once.",
)
@click.option(
    "--refresh",
    default=300.0,
    type=Seconds(30, 86400),
    show_default=True,
    metavar="SECONDS",
    help="Read the cluster at this interval.",
)
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), metavar="PORT", help="Serve Prometheus metrics on 127.0.0.1:PORT."
)
@click.option(
    "--on-verdict",
    default="",
    metavar="COMMAND",
    help="Run this for each fault and its end, with the event as JSON on stdin and in $L2_CODE, $L2_TEXT…",
)
@click.option("--webhook", default="", metavar="URL", help="POST each fault and its end as JSON to this URL.")
@db_option
@click.pass_obj
def run(
    options: Options | None,
    words: tuple[str, ...],
    *,
    selection: Selection,
    interface: str,
    every: float,
    refresh: float,
    metrics_port: int | None,
    on_verdict: str,
    webhook: str,
    db: Path | None,
) -> None:
    """Watch until stopped. Addresses should be answered for; networks, ranges and pool:NAME are pools.

    The default is every external IP and pool of the cluster, in the interface's subnets.

    Exit status: 0 stopped, 2 it could not start, or the interface was lost.

    Example: provisioner l2 guard run 192.168.56.200 192.168.56.200-192.168.56.230
    """
    options = options or Options()
    facts = _read(options, selection)
    place = _place(interface, words, facts)
    watched = known.known(facts, words, place)
    machine = interfaces.read()
    watcher = Watcher(watched, (one.mac for one in machine), interfaces.own_addresses(machine))
    passing = hooks.Hooks(on_verdict, webhook, _note)
    with store.Store(db or default_db()) as kept, Listener(place) as listener:
        server = metrics.Server(metrics_port) if metrics_port is not None else None
        _note(_beginning(watched, place, every, server))

        def report(event: Event) -> None:
            kept.add(event)
            click.echo(redact(event.json() if options.output == "json" else event.line()))
            passing(event)
            if server is not None:
                server.count(event)

        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        read = None
        if selection.facts is None and not selection.offline:
            read = _reader(options, selection, words, place)
        refreshed = _refreshed(read, refresh, stopping)
        try:
            runner.run(
                listener,
                watcher,
                every=every,
                report=report,
                refresh=refreshed,
                show=_throttled(lambda: server.show(watcher, listener) if server is not None else None),
                stop=stopping.is_set,
            )
        finally:
            stopping.set()
            passing.close()
            if server is not None:
                server.close()


@guard.command("history")
@click.argument("subjects", nargs=-1, metavar="[IP]...")
@click.option("--since", default="24h", show_default=True, metavar="PERIOD", help="From so long ago on: 90m, 24h, 7d.")
@output_option
@db_option
@click.pass_obj
def show_history(
    options: Options | None, subjects: tuple[str, ...], *, since: str, output: str | None, db: Path | None
) -> None:
    """Show what has happened: a timeline for each address, and the events.

    Exit status: 0 shown, 2 there is no file of past events.

    Example: provisioner l2 guard history 192.168.56.200 --since 7d
    """
    options = options or Options()
    until = time.time()
    begun = store.parse_since(since, until)
    with store.Store(db or default_db(), create=False) as kept:
        events = kept.events(since=begun, subjects=subjects)
        before = [event for event in kept.before(begun) if not subjects or event.subject in subjects]
    if (output or options.output) == "json":
        click.echo(redact(json.dumps(history.document(events, begun, until), indent=2)))
        return
    tty = sys.stdout.isatty()
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = history.render(events, before, begun, until, width=min(terminal.columns(tty), 140), utf8=utf8)
    click.echo(redact(text))


def default_db() -> Path:
    """Return the file of past events: in systemd's state directory, or beside the other state of this folder."""
    folder = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(folder) / _DB if folder else Path(".provisioner") / _DB


def _note(text: str) -> None:
    click.echo(redact(f"note: {text}"), err=True)


def _read(options: Options, selection: Selection) -> Facts | None:
    """Return the cluster's facts, None if nothing is known. Raises Inconclusive if a cluster cannot be read."""
    with open_source(options, "l2-guard", selection) as source:
        for note in source.notes:
            _note(note)
        if source.problems and source.facts is None:
            raise Inconclusive("; ".join(source.problems))
        for problem in source.problems:
            _note(problem)
        return source.facts


def _place(name: str, words: Sequence[str], facts: Facts | None) -> Interface:
    wanted = known.known(facts, words)
    ips = [*wanted.assigned] or [held[0].first for held in wanted.pools.values() if held]
    return check.choose_interface(interfaces.read(), ips, facts, name)


def _beginning(watched: Known, place: Interface, every: float, server: metrics.Server | None) -> str:
    what = f"{len(watched.assigned)} address{'es' * (len(watched.assigned) != 1)}"
    pools = f" and {pluralize(len(watched.pools), 'pool')}" if watched.pools else ""
    text = f"watching {what}{pools} from {place.name}, each asked every {every:g} s"
    return f"{text}; metrics: http://127.0.0.1:{server.port}/metrics" if server is not None else text


def _throttled(call: Callable[[], None]) -> Callable[[], None]:
    due = [0.0]

    def throttled() -> None:
        if time.monotonic() >= due[0]:
            due[0] = time.monotonic() + SHOW_EVERY
            call()

    return throttled


def _reader(
    options: Options, selection: Selection, words: Sequence[str], place: Interface
) -> Callable[[], Known | None]:
    """Return a function that reads the cluster again; None: nothing is known of one. Raises ProvisionerError."""

    def read() -> Known | None:
        with open_source(replace(options, output="text"), "l2-guard", selection) as source:
            if source.problems:
                raise Inconclusive("; ".join(source.problems))
            return known.known(source.facts, words, place) if source.facts is not None else None

    return read


def _refreshed(
    read: Callable[[], Known | None] | None, every: float, stopping: threading.Event
) -> Callable[[], Known | None]:
    """Return a function that returns what is watched from now on, if the cluster was read again; None if not.

    The cluster is read in a thread of its own: it may be slow, or down, just when the segment is to be heard.
    """
    found: queue.Queue[Known] = queue.Queue()

    def work(read: Callable[[], Known | None]) -> None:
        failing = ""
        while not stopping.wait(every):
            problem = ""
            try:
                if (one := read()) is not None:
                    found.put(one)
            except ProvisionerError as error:
                problem = str(error)
            if problem and problem != failing:
                _note(f"{problem}; going on with what was known")
            failing = problem

    if read is not None:
        threading.Thread(target=work, args=(read,), daemon=True).start()

    def newest() -> Known | None:
        one = None
        while not found.empty():
            one = found.get()
        return one

    return newest

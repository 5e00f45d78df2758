"""A small site, and hosts without a connection that remember what was asked of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from provisioner.engine import Change, Scope, Step
from provisioner.engine.runner import Run, Selection
from provisioner.kube import Cluster
from provisioner.report import Event, Report
from provisioner.site import Site, parse_site
from provisioner.ssh import Host

HOSTS = """
[[hosts]]
name = "master"
address = "192.0.2.10"
roles = ["control-plane"]
[[hosts]]
name = "one"
address = "192.0.2.11"
roles = ["worker"]
[[hosts]]
name = "two"
address = "192.0.2.12"
roles = ["worker"]
"""


def site(text: str = "", folder: Path = Path("/nowhere")) -> Site:
    """Return a site of a master and two workers, with other tables before them."""
    return parse_site(text + HOSTS, folder / "hosts.toml")


class World:
    """What exists "on" the hosts: names by host. Steps look it up and change it; nothing else is pretended."""

    def __init__(self, own: Site) -> None:
        self.site = own
        self.has: dict[str, set[str]] = {spec.name: set() for spec in own.hosts}
        self.hosts: Mapping[str, Host] = cast(
            "Mapping[str, Host]", {spec.name: _Here(spec.name, self) for spec in own.hosts}
        )
        self.events: list[Event] = []
        self.forgotten: list[str] = []

    def run(self, *steps: Step, selection: Selection | None = None, **options: Any) -> Run:
        """Return a run of these steps over this world."""
        report = Report(self.events.append)
        cluster = cast("Cluster", None)
        return Run(self.site, self.hosts, cluster, report, steps, selection or Selection(), **options)

    def told(self, kind: str) -> list[tuple[str, str, str]]:
        """Return (step, host, text) of the events of a kind."""
        return [(event.step, event.host, event.text) for event in self.events if event.kind == kind]


class _Here:
    """Stands where the runner expects a Host: a name, a step, and `forget`."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.step = ""
        self._world = world

    def forget_facts(self) -> None:
        self._world.forgotten.append(self.name)


def makes(world: World, name: str, *, scope: Scope = Scope.ALL, after: Sequence[str] = (), **options: Any) -> Step:
    """Return a step that puts `name` on hosts that lack it."""

    def changes(host: Host, cluster: Cluster, own: Site) -> Iterator[Change]:
        del cluster, own
        if name not in world.has[host.name]:
            yield Change(f"make {name}", lambda: world.has[host.name].add(name))

    return Step(name, f"{name} on hosts", scope, changes, after=tuple(after), **options)


def raising(name: str, error: Callable[[str], Exception], on: str, **options: Any) -> Step:
    """Return a step that raises `error(host)` on one host and is content on the others."""

    def changes(host: Host, cluster: Cluster, own: Site) -> Iterator[Change]:
        del cluster, own
        if host.name == on:
            raise error(host.name)
        yield from ()

    return Step(name, f"{name} fails", Scope.ALL, changes, **options)

"""Fake hosts that steps of the runner's tests change, without any connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from provisioner.engine import Change, Scope, Step
from provisioner.engine.runner import Run, Selection
from provisioner.kube import Cluster
from provisioner.report import Event, Report
from provisioner.site import Site
from provisioner.ssh import Host
from tests.unit.fake_cluster import FakeCluster


class World:
    """The hosts of a site, each a set of names that steps read and add to."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.has: dict[str, set[str]] = {spec.name: set() for spec in site.hosts}
        self.hosts: Mapping[str, Host] = cast(
            "Mapping[str, Host]", {spec.name: _FakeHost(spec.name, self) for spec in site.hosts}
        )
        self.events: list[Event] = []
        self.facts_forgotten: list[str] = []

    def run(self, *steps: Step, selection: Selection | None = None, **options: Any) -> Run:
        """Return a run of these steps over the hosts."""
        report = Report(self.events.append)
        cluster = cast("Cluster", FakeCluster())
        return Run(self.site, self.hosts, cluster, report, steps, selection or Selection(), **options)

    def events_of(self, kind: str) -> list[tuple[str, str, str]]:
        """Return (step, host, text) of the events of a kind."""
        return [(event.step, event.host, event.text) for event in self.events if event.kind == kind]


class _FakeHost:
    """The part of a Host that the runner uses."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.step = ""
        self._world = world

    def forget_facts(self) -> None:
        self._world.facts_forgotten.append(self.name)


def adding_step(
    world: World, name: str, *, scope: Scope = Scope.ALL, after: Sequence[str] = (), **options: Any
) -> Step:
    """Return a step that adds its name to the hosts that lack it."""

    def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
        if name not in world.has[host.name]:
            yield Change(f"add {name}", lambda: world.has[host.name].add(name))

    return Step(name, f"{name} on hosts", scope, changes, after=tuple(after), **options)


def failing_step(name: str, error: Callable[[str], Exception], on: str, **options: Any) -> Step:
    """Return a step that raises `error(host)` on one host and changes nothing."""

    def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
        if host.name == on:
            raise error(host.name)
        yield from ()

    return Step(name, f"{name} fails", Scope.ALL, changes, **options)

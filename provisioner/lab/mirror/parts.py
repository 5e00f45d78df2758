"""What an edition is built from: Kubernetes and every other program, each with its recipe and its builder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from provisioner.lab.mirror import cache, etcd, flannel, goprograms, kubernetes_modules, kubernetes_source, traefik
from provisioner.lab.mirror.editions import SOURCE, Edition
from provisioner.lab.mirror.goprograms import GO, Program


@dataclass(frozen=True)
class Part:
    """An artifact of the cache. `build` returns its directory or, for a single program, the program's path."""

    name: str
    recipe: Mapping[str, object]
    build: Callable[[], Path]

    @property
    def directory(self) -> Path:
        """The artifact's directory, whether or not it has been built."""
        return cache.path(self.name, self.recipe)

    @property
    def cached(self) -> bool:
        """Whether the artifact has been built."""
        return cache.has(self.name, self.recipe)


def kubernetes(edition: Edition) -> Part:
    """Return the part with all of Kubernetes' programs."""
    if edition is SOURCE:
        return Part("kubernetes", kubernetes_source.recipe(), kubernetes_source.build)
    version = edition.kubernetes
    return Part("kubernetes", kubernetes_modules.recipe(version, GO), partial(kubernetes_modules.build, version, GO))


def programs(edition: Edition) -> dict[str, Part]:
    """Return the parts of every other program, by name."""
    parts = {program.name: go_program(program) for program in edition.programs}
    if edition.flannel:
        parts[flannel.NAME] = Part(
            flannel.NAME, flannel.recipe(edition.flannel, GO), partial(flannel.build, edition.flannel, GO)
        )
    parts[traefik.NAME] = Part(traefik.NAME, traefik.recipe(edition.traefik), partial(traefik.build, edition.traefik))
    for name in etcd.PACKAGES:
        if name not in parts:
            parts[name] = Part(name, etcd.recipe(name), partial(etcd.build, name))
    return parts


def go_program(program: Program) -> Part:
    """Return the part of one Go program."""
    return Part(program.name, goprograms.recipe(program), partial(goprograms.build, program))

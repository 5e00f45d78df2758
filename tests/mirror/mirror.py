"""The whole mirror: build every part, put them together, describe the result."""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError
from tests.mirror import (
    apt,
    cache,
    docker,
    flannel,
    goprograms,
    images,
    kubernetes_modules,
    kubernetes_source,
    manifests,
    packages,
    signing,
    traefik,
)
from tests.mirror.editions import GO, SOURCE, Edition
from tests.mirror.progress import beside, say, stage, timings

# What only the autoscaler and the Ingress need, and what takes a third of the time to build.
OPTIONAL = ("metrics-server", traefik.NAME)


def build(
    edition: Edition = SOURCE, status: Path | None = None, *, small: bool = False, for_tests: bool = False
) -> dict[str, Any]:
    """Build what the cache lacks and return the description.

    status: see `apt.build`. small: without the optional programs, where the cache does not have them anyway.
    for_tests: also the programs that tests start themselves, which are no part of the mirror.
    """
    with cache.locked():
        debian = apt.build(status)
        wanted = _programs(edition, small)
        besides = [partial(goprograms.build, program) for program in goprograms.FOR_TESTS if for_tests]
        kube, *built = beside([partial(_kubernetes, edition), *wanted.values(), *besides], lanes=2)
        programs = dict(zip(wanted, built[: len(wanted)], strict=True))
        binaries = {path.name: path for path in kube.iterdir()} | programs
        ingredients = apt.ingredients()
        parts = {
            "debian": debian,
            "packages": packages.build(edition, binaries, ingredients),
            "images": images.build(edition, kube, programs, ingredients),
            "manifests": manifests.build(),
            "kubernetes": kube,
            "key": signing.key(),
            **({"docker": docker.build(edition, programs, ingredients)} if edition.containerd else {}),
        }
        lacking = [name for name in OPTIONAL if name not in programs]
        recipe = {
            "edition": edition.kubernetes,
            "parts": parts,
            "programs": programs,
            "steps": cache.own_source("mirror.py", "editions.py"),
        }
        whole = cache.artefact(
            "mirror", recipe, lambda directory: _assemble(directory, edition, parts, programs, lacking)
        )
        with stage("tidying"):
            cache.tidy()
        say(f"complete in {whole}")
    return info(whole) | {"seconds": timings}


def _kubernetes(edition: Edition) -> Path:
    if edition is SOURCE:
        return kubernetes_source.build()
    return kubernetes_modules.build(edition.kubernetes, GO)


def _programs(edition: Edition, small: bool) -> dict[str, Callable[[], Path]]:
    """Return what builds each program, by name."""
    recipes = {program.name: goprograms.recipe(program) for program in edition.programs}
    builders: dict[str, Callable[[], Path]] = {
        program.name: partial(goprograms.build, program) for program in edition.programs
    }
    if edition.flannel:
        builders[flannel.NAME] = partial(flannel.build, edition.flannel, GO)
    recipes[traefik.NAME] = traefik.recipe(edition.traefik)
    builders[traefik.NAME] = partial(traefik.build, edition.traefik)
    left = [name for name in OPTIONAL if small and not cache.has(name, recipes[name])]
    return {name: build for name, build in builders.items() if name not in left}


def _assemble(
    directory: Path, edition: Edition, parts: dict[str, Path], binaries: dict[str, Path], lacking: Sequence[str]
) -> None:
    www = directory / "www"
    shutil.copytree(parts["manifests"], www)
    (www / "debian").symlink_to(parts["debian"])
    repositories = {f"pkgs.k8s.io/{packages.path(edition)}": "packages"}
    if edition.containerd:
        repositories[f"download.docker.com/{docker.PATH}"] = "docker"
    for place, part in repositories.items():
        (www / place).parent.mkdir(parents=True)
        (www / place).symlink_to(parts[part])
    (directory / "registry").symlink_to(parts["images"] / "registry")
    (directory / "key.asc").symlink_to(parts["key"] / "public.asc")
    programs = directory / "bin"
    programs.mkdir()
    for path in (*parts["kubernetes"].iterdir(), *(parts["images"] / "bin").iterdir()):
        (programs / path.name).symlink_to(path)
    for name, path in binaries.items():
        if not (programs / name).is_symlink():
            (programs / name).symlink_to(path)
    described = {
        "kubernetes": edition.kubernetes,
        "metallb": edition.metallb,
        "metrics_server": edition.metrics_server,
        "containerd": edition.containerd,
        "images": _images(parts["images"] / "registry"),
        "manifests": sorted(
            str(path.relative_to(parts["manifests"])) for path in parts["manifests"].rglob("*") if path.is_file()
        ),
        "substitutes": edition.said(),
        "left_out": edition.left_out()
        | dict.fromkeys(lacking, "is not built for a small lab; provisioner lab up --whole does"),
    }
    (directory / "info.json").write_text(json.dumps(described))


def _images(storage: Path) -> dict[str, int]:
    """Return the size in bytes (all layers) of every name:tag, as the storage has them."""
    registry = storage / "docker/registry/v2"
    sizes: dict[str, int] = {}
    for link in sorted(registry.glob("repositories/**/_manifests/tags/*/current/link")):
        tag = link.parents[1]
        name = tag.parents[2].relative_to(registry / "repositories")
        digest = link.read_text().removeprefix("sha256:")
        manifest = json.loads((registry / f"blobs/sha256/{digest[:2]}/{digest}/data").read_bytes())
        sizes[f"{name}:{tag.name}"] = sum(layer["size"] for layer in manifest["layers"])
    return sizes


def newest(edition: Edition = SOURCE) -> Path:
    """Return the directory of an edition that was built last; raises ProvisionerError where there is none."""
    built = [path.parent for path in cache.root().glob("mirror-*/info.json") if _holds(path, edition)]
    if not built:
        raise ProvisionerError(
            f"no mirror has been built for Kubernetes {edition.minor}",
            f"python3 -m tests.mirror build --kubernetes {edition.minor}",
        )
    return max(built, key=lambda path: path.stat().st_mtime)


def _holds(description: Path, edition: Edition) -> bool:
    return bool(json.loads(description.read_text())["kubernetes"] == edition.kubernetes)


def info(directory: Path) -> dict[str, Any]:
    """Describe a built mirror: what to serve, its key, its programs (`bin`), what it holds and what it lacks."""
    return {
        "directory": str(directory),
        "key": str(directory / "key.asc"),
        "bin": str(directory / "bin"),
        **json.loads((directory / "info.json").read_text()),
    }

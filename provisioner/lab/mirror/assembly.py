"""The whole mirror, of one edition or several: build every part, assemble them, describe the result."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import apt, cache, docker, images, manifests, packages, parts, signing, traefik
from provisioner.lab.mirror.editions import SOURCE, Edition
from provisioner.lab.mirror.parts import Part
from provisioner.lab.mirror.progress import announce, in_parallel, timings

# Needed only by the autoscaler and the Ingress; they take a third of the build time.
OPTIONAL = ("metrics-server", traefik.NAME)
# More than the compilers need: others download meanwhile.
_LANES = 3


@dataclass(frozen=True)
class Built:
    """An edition with the directory of its Kubernetes and the path of every other program by name."""

    edition: Edition
    kubernetes: Path
    programs: Mapping[str, Path]

    @property
    def binaries(self) -> dict[str, Path]:
        """All programs by name."""
        return {path.name: path for path in self.kubernetes.iterdir()} | dict(self.programs)


def build(
    wanted: Sequence[Edition] = (SOURCE,),
    status: Path | None = None,
    *,
    small: bool = False,
    suites: Sequence[str] = (apt.SUITE,),
) -> dict[str, Any]:
    """Build what the cache lacks and return the description.

    wanted: the edition that a cluster starts with, then those that it can be upgraded to. status: see `apt.build`.
    small: without the optional programs, unless they are cached. suites: the Debian releases that nodes run.
    """
    manifests.folder()  # fail before the programs are built, not after
    with cache.in_use():
        debian, ingredients, built = _build(wanted, status, small, tuple(dict.fromkeys((apt.SUITE, *suites))))
        minors: dict[str, list[Built]] = {}
        for each in built:
            minors.setdefault(each.edition.minor, []).append(each)
        with_containerd = [(each.edition, each.programs) for each in built if each.edition.containerd]
        repositories = {
            **{_repository(suite): path for suite, path in debian.items()},
            **{
                f"pkgs.k8s.io/{packages.path(minor)}": packages.build(
                    [(each.edition, each.binaries) for each in patches], ingredients
                )
                for minor, patches in minors.items()
            },
            **(
                {f"download.docker.com/{docker.PATH}": docker.build(with_containerd, ingredients)}
                if with_containerd
                else {}
            ),
        }
        registries = [
            images.build(each.edition, each.kubernetes, each.programs, ingredients) / "registry" for each in built
        ]
        served = {"manifests": manifests.build(), "key": signing.key()}
        recipe = {
            "editions": [each.edition.kubernetes for each in built],
            "parts": (repositories, registries, served),
            "programs": [each.binaries for each in built],
            "steps": cache.source_hash("assembly.py", "editions.py"),
        }
        whole = cache.artifact(
            "mirror",
            recipe,
            lambda directory: _assemble(
                directory, built, repositories, registries, manifests=served["manifests"], key=served["key"]
            ),
        )
        announce(f"complete in {whole}")
    return info(whole) | {"seconds": timings}


def _repository(suite: str) -> str:
    """Return the path of a suite's repository below the mirror's root."""
    return "debian" if suite == apt.SUITE else f"debian-{suite}"


def _build(
    wanted: Sequence[Edition], status: Path | None, small: bool, suites: Sequence[str]
) -> tuple[dict[str, Path], Path, list[Built]]:
    """Return the repository of each suite, the directory of the ingredients and the editions.

    What takes longest is first. Editions share every part whose recipe is the same.
    """
    of_editions = [parts.kubernetes(edition) for edition in wanted]
    others = [programs_of(edition, small) for edition in wanted]
    shared = {
        part.directory: part
        for part in (
            *of_editions,
            *sorted(
                (part for programs in others for part in programs.values()), key=lambda part: part.name != traefik.NAME
            ),
        )
    }
    tasks = [part.build for part in shared.values()]
    repositories = [partial(apt.build, status, suite) for suite in suites]
    ingredients, *paths = in_parallel([apt.ingredients, *repositories, *tasks], _LANES)
    debian = dict(zip(suites, paths, strict=False))
    made = dict(zip(shared, paths[len(suites) :], strict=True))
    built = [
        Built(edition, made[kubernetes.directory], {name: made[part.directory] for name, part in programs.items()})
        for edition, kubernetes, programs in zip(wanted, of_editions, others, strict=True)
    ]
    return debian, ingredients, built


def programs_of(edition: Edition, small: bool) -> dict[str, Part]:
    """Return the programs to build, by name."""
    programs = parts.programs(edition)
    omitted = [name for name in OPTIONAL if small and not programs[name].cached]
    return {name: part for name, part in programs.items() if name not in omitted}


def _assemble(
    directory: Path,
    built: Sequence[Built],
    repositories: Mapping[str, Path],
    registries: Sequence[Path],
    *,
    manifests: Path,
    key: Path,
) -> None:
    www = directory / "www"
    shutil.copytree(manifests, www)
    for path, repository in repositories.items():
        (www / path).parent.mkdir(parents=True, exist_ok=True)
        (www / path).symlink_to(repository)
    if len(registries) == 1:
        (directory / "registry").symlink_to(registries[0])
    else:
        join_registries(registries, directory / "registry")
    (directory / "key.asc").symlink_to(key / "public.asc")
    bin_directory = directory / "bin"
    bin_directory.mkdir()
    for name, program in built[0].binaries.items():
        (bin_directory / name).symlink_to(program)
    (directory / "info.json").write_text(json.dumps(_description(built, directory / "registry", manifests)))


def _description(built: Sequence[Built], registry: Path, manifests: Path) -> dict[str, object]:
    first = built[0].edition
    omitted = [name for name in OPTIONAL if any(name not in each.programs for each in built)]
    return {
        "kubernetes": first.kubernetes,
        "also": [each.edition.kubernetes for each in built[1:]],
        "metallb": first.metallb,
        "metrics_server": first.metrics_server,
        "containerd": next((each.edition.containerd for each in built if each.edition.containerd), ""),
        "images": _image_sizes(registry),
        "manifests": sorted(str(path.relative_to(manifests)) for path in manifests.rglob("*") if path.is_file()),
        "substitutes": _merged(each.edition.substitutions() for each in built),
        "left_out": _merged(each.edition.left_out() for each in built)
        | dict.fromkeys(omitted, "is not built for a small lab; provisioner lab up --whole builds it"),
    }


def _merged(descriptions: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return all descriptions; those of the first edition count where several describe the same name."""
    return {name: text for each in reversed(list(descriptions)) for name, text in each.items()}


def join_registries(storages: Sequence[Path], target: Path) -> None:
    """Make one registry's storage of several, by hard links: blobs are named by their content.

    Where two have the same tag, the first one's counts.
    """

    def link(source: str, destination: str) -> None:
        if not os.path.exists(destination):
            os.link(source, destination)

    for storage in storages:
        shutil.copytree(storage, target, copy_function=link, dirs_exist_ok=True)


def _image_sizes(storage: Path) -> dict[str, int]:
    """Return the size in bytes (all layers) of every name:tag in the registry's storage."""
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
    """Return the directory of an edition's newest mirror; raises ProvisionerError if there is none."""
    built = [path.parent for path in cache.root().glob("mirror-*/info.json") if _is_of(path, edition)]
    if not built:
        raise ProvisionerError(
            f"no mirror has been built for Kubernetes {edition.minor}",
            f"python3 -m provisioner.lab.mirror build --kubernetes {edition.minor}",
        )
    return max(built, key=lambda path: path.stat().st_mtime)


def _is_of(description: Path, edition: Edition) -> bool:
    return bool(json.loads(description.read_text())["kubernetes"] == edition.kubernetes)


def info(directory: Path) -> dict[str, Any]:
    """Return the description of a built mirror: what to serve, its key, its programs (`bin`), its contents."""
    return {
        "directory": str(directory),
        "key": str(directory / "key.asc"),
        "bin": str(directory / "bin"),
        **json.loads((directory / "info.json").read_text()),
    }

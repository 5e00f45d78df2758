"""The whole mirror: build every part, assemble them, describe the result."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import apt, cache, docker, images, manifests, packages, parts, signing, traefik
from provisioner.lab.mirror.editions import SOURCE, Edition
from provisioner.lab.mirror.parts import Part
from provisioner.lab.mirror.progress import announce, in_parallel, stage, timings

# Needed only by the autoscaler and the Ingress; they take a third of the build time.
OPTIONAL = ("metrics-server", traefik.NAME)


def build(
    edition: Edition = SOURCE, status: Path | None = None, *, small: bool = False, suites: Sequence[str] = (apt.SUITE,)
) -> dict[str, Any]:
    """Build what the cache lacks and return the description.

    status: see `apt.build`. small: without the optional programs, unless they are cached. suites: the Debian releases
    that nodes run.
    """
    manifests.folder()  # fail before the programs are built, not after
    with cache.locked():
        debian = {suite: apt.build(status, suite) for suite in dict.fromkeys((apt.SUITE, *suites))}
        ingredients = apt.ingredients()  # before the parts that run in parallel and use it
        wanted = programs_of(edition, small)
        kube, *built = in_parallel([parts.kubernetes(edition).build, *(part.build for part in wanted.values())], 2)
        programs = dict(zip(wanted, built, strict=True))
        binaries = {path.name: path for path in kube.iterdir()} | programs
        made = {
            **{_repository(suite): path for suite, path in debian.items()},
            "packages": packages.build(edition, binaries, ingredients),
            "images": images.build(edition, kube, programs, ingredients),
            "manifests": manifests.build(),
            "kubernetes": kube,
            "key": signing.key(),
            **({"docker": docker.build(edition, programs, ingredients)} if edition.containerd else {}),
        }
        omitted = [name for name in OPTIONAL if name not in programs]
        recipe = {
            "edition": edition.kubernetes,
            "parts": made,
            "programs": programs,
            "steps": cache.source_hash("assembly.py", "editions.py"),
        }
        whole = cache.artifact(
            "mirror", recipe, lambda directory: _assemble(directory, edition, made, programs, omitted)
        )
        with stage("pruning the cache"):
            cache.prune()
        announce(f"complete in {whole}")
    return info(whole) | {"seconds": timings}


def _repository(suite: str) -> str:
    """Return the path of a suite's repository below the mirror's root."""
    return "debian" if suite == apt.SUITE else f"debian-{suite}"


def programs_of(edition: Edition, small: bool) -> dict[str, Part]:
    """Return the programs to build, by name."""
    programs = parts.programs(edition)
    omitted = [name for name in OPTIONAL if small and not programs[name].cached]
    return {name: part for name, part in programs.items() if name not in omitted}


def _assemble(
    directory: Path, edition: Edition, made: dict[str, Path], programs: dict[str, Path], omitted: Sequence[str]
) -> None:
    www = directory / "www"
    shutil.copytree(made["manifests"], www)
    for name in (name for name in made if name.startswith("debian")):
        (www / name).symlink_to(made[name])
    repositories = {f"pkgs.k8s.io/{packages.path(edition)}": "packages"}
    if edition.containerd:
        repositories[f"download.docker.com/{docker.PATH}"] = "docker"
    for path, part in repositories.items():
        (www / path).parent.mkdir(parents=True)
        (www / path).symlink_to(made[part])
    (directory / "registry").symlink_to(made["images"] / "registry")
    (directory / "key.asc").symlink_to(made["key"] / "public.asc")
    bin_directory = directory / "bin"
    bin_directory.mkdir()
    for name, program in ({path.name: path for path in made["kubernetes"].iterdir()} | programs).items():
        (bin_directory / name).symlink_to(program)
    description = {
        "kubernetes": edition.kubernetes,
        "metallb": edition.metallb,
        "metrics_server": edition.metrics_server,
        "containerd": edition.containerd,
        "images": _image_sizes(made["images"] / "registry"),
        "manifests": sorted(
            str(path.relative_to(made["manifests"])) for path in made["manifests"].rglob("*") if path.is_file()
        ),
        "substitutes": edition.substitutions(),
        "left_out": edition.left_out()
        | dict.fromkeys(omitted, "is not built for a small lab; provisioner lab up --whole builds it"),
    }
    (directory / "info.json").write_text(json.dumps(description))


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

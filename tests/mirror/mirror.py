"""The whole mirror: build every part, put them together, describe the result."""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError
from tests.mirror import apt, cache, goprograms, images, kubernetes, manifests, packages, signing, traefik
from tests.mirror.progress import beside, say, stage, timings

# What upstream has under that name is not what is served; said wherever the mirror is described.
SUBSTITUTES = {
    "crictl": "cri-tools cannot be installed from the Go module proxy: a small CRI client of our own stands in",
    "agnhost:2.21": "is 2.25, what the source tree of Kubernetes 1.20.2 holds",
    "etcd:3.4.13-0": "is Debian's etcd 3.4",
    "kubernetes-cni": "is Debian's containernetworking-plugins",
    "nginx:1.22.1": "is Debian's nginx 1.22",
    "pause": "is twenty lines of our own",
    "traefik:v2.11.2": "is built without dashboard and without the DNS providers of its ACME client",
}
LEFT_OUT = {
    "flannel": 'needs modules that the Go module proxy does not offer; use cluster.network = "bridge"',
    "nginx and haproxy ingress controllers": 'cannot be had there either; use ingress.controller = "traefik"',
}


# What only the autoscaler and the Ingress need, and what takes a third of the time to build.
OPTIONAL = ("metrics-server", traefik.NAME)


def build(status: Path | None = None, *, small: bool = False, for_tests: bool = False) -> dict[str, Any]:
    """Build what the cache lacks and return the description.

    status: see `apt.build`. small: without the optional programs, where the cache does not have them anyway.
    for_tests: also the programs that tests start themselves, which are no part of the mirror.
    """
    with cache.locked():
        debian = apt.build(status)
        wanted = _programs(small)
        besides = [partial(goprograms.build, program) for program in goprograms.FOR_TESTS if for_tests]
        kube, *built = beside([kubernetes.build, *wanted.values(), *besides], lanes=2)
        programs = dict(zip(wanted, built[: len(wanted)], strict=True))
        ingredients = apt.ingredients()
        repository = packages.build(kube, ingredients)
        storage = images.build(kube, programs, ingredients)
        yaml = manifests.build()
        parts = {
            "debian": debian,
            "packages": repository,
            "images": storage,
            "manifests": yaml,
            "kubernetes": kube,
            "key": signing.key(),
            **programs,
        }
        lacking = [name for name in OPTIONAL if name not in programs]
        recipe = {"parts": parts, "steps": cache.own_source("mirror.py")}
        whole = cache.artefact("mirror", recipe, lambda directory: _assemble(directory, parts, lacking))
        with stage("tidying"):
            cache.tidy()
        say(f"complete in {whole}")
    return info(whole) | {"seconds": timings}


def _programs(small: bool) -> dict[str, Callable[[], Path]]:
    """Return what builds each program, by name."""
    recipes = {program.name: goprograms.recipe(program) for program in goprograms.PROGRAMS}
    builders: dict[str, Callable[[], Path]] = {
        program.name: partial(goprograms.build, program) for program in goprograms.PROGRAMS
    }
    recipes[traefik.NAME], builders[traefik.NAME] = traefik.recipe(), traefik.build
    left = [name for name in OPTIONAL if small and not cache.has(name, recipes[name])]
    return {name: build for name, build in builders.items() if name not in left}


def _assemble(directory: Path, parts: dict[str, Path], lacking: Sequence[str]) -> None:
    www = directory / "www"
    shutil.copytree(parts["manifests"], www)
    (www / "debian").symlink_to(parts["debian"])
    (www / "pkgs.k8s.io" / packages.PATH).parent.mkdir(parents=True)
    (www / "pkgs.k8s.io" / packages.PATH).symlink_to(parts["packages"])
    (directory / "registry").symlink_to(parts["images"] / "registry")
    (directory / "key.asc").symlink_to(parts["key"] / "public.asc")
    programs = directory / "bin"
    programs.mkdir()
    for path in (*parts["kubernetes"].iterdir(), *(parts["images"] / "bin").iterdir()):
        (programs / path.name).symlink_to(path)
    for name in (*(program.name for program in goprograms.PROGRAMS), traefik.NAME):
        if name not in lacking:
            (programs / name).symlink_to(parts[name])
    described = {
        "kubernetes": kubernetes.VERSION,
        "metallb": goprograms.METALLB,
        "metrics_server": goprograms.METRICS_SERVER,
        "images": _images(parts["images"] / "registry"),
        "manifests": sorted(
            str(path.relative_to(parts["manifests"])) for path in parts["manifests"].rglob("*") if path.is_file()
        ),
        "substitutes": SUBSTITUTES,
        "left_out": LEFT_OUT | dict.fromkeys(lacking, "is not built for a small lab; provisioner lab up --whole does"),
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


def newest() -> Path:
    """Return the directory of the mirror that was built last; raises ProvisionerError where there is none."""
    built = [path for path in cache.root().glob("mirror-*") if (path / "info.json").is_file()]
    if not built:
        raise ProvisionerError("no mirror has been built", "python3 -m tests.mirror build")
    return max(built, key=lambda path: path.stat().st_mtime)


def info(directory: Path) -> dict[str, Any]:
    """Describe a built mirror: what to serve, its key, its programs (`bin`), what it holds and what it lacks."""
    return {
        "directory": str(directory),
        "key": str(directory / "key.asc"),
        "bin": str(directory / "bin"),
        **json.loads((directory / "info.json").read_text()),
    }

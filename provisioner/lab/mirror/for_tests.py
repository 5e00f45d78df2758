"""The programs that integration tests start themselves, without the rest of the mirror."""

from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import cache, parts
from provisioner.lab.mirror.editions import CURRENT, Edition
from provisioner.lab.mirror.goprograms import Program
from provisioner.lab.mirror.parts import Part
from provisioner.lab.mirror.progress import announce, in_parallel

_OF_EDITION = ("etcd", "metallb-speaker", "traefik")
# Of other releases of MetalLB: below 0.13 both programs read one ConfigMap, and depend on reflect2 1.0.1.
_OF_OLD_METALLB = (
    Program("metallb-oldest", "go.universe.tf/metallb/speaker", "v0.12.1", "1.17.13", "go.universe.tf/metallb"),
    Program("controller-oldest", "go.universe.tf/metallb/controller", "v0.12.1", "1.17.13", "go.universe.tf/metallb"),
)


def build(edition: Edition) -> Path:
    """Return a directory with links to all the programs, building what the cache lacks."""
    with cache.in_use():
        wanted = {"kubernetes": parts.kubernetes(edition), **programs(edition)}
        in_parallel([part.build for part in {part.directory: part for part in wanted.values()}.values()], lanes=3)
        made = cache.artifact("for-tests", _recipe(edition), lambda directory: _link(directory, wanted))
    announce(f"the programs for tests are in {made}")
    return made


def directory(edition: Edition) -> Path:
    """Return the directory that `build` has made; raises ProvisionerError if there is none."""
    made = cache.path("for-tests", _recipe(edition))
    if not made.is_dir():
        raise ProvisionerError(
            f"the programs that tests start have not been built for Kubernetes {edition.minor}",
            f"python3 -m provisioner.lab.mirror build --for-tests --kubernetes {edition.minor}",
        )
    return made


def programs(edition: Edition) -> dict[str, Part]:
    """Return the parts other than Kubernetes, by name."""
    of_edition = parts.programs(edition)
    return {
        **{name: of_edition[name] for name in _OF_EDITION},
        # A current speaker serves its metrics only to requests with a token.
        "metallb-newest": parts.programs(CURRENT)["metallb-speaker"],
        **{program.name: parts.go_program(program) for program in _OF_OLD_METALLB},
    }


def _recipe(edition: Edition) -> dict[str, object]:
    return {
        "kubernetes": parts.kubernetes(edition).directory,
        "programs": {name: part.directory for name, part in programs(edition).items()},
    }


def _link(directory: Path, wanted: dict[str, Part]) -> None:
    for name, part in wanted.items():
        for path in part.directory.iterdir():
            (directory / (name if path.name == part.name else path.name)).symlink_to(path)

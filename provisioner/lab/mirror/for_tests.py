"""The programs that integration tests start themselves, without the rest of the mirror."""

from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import cache, parts
from provisioner.lab.mirror.editions import Edition
from provisioner.lab.mirror.goprograms import Program
from provisioner.lab.mirror.parts import Part
from provisioner.lab.mirror.progress import announce, in_parallel

# Of the edition. metallb-controller is not started, but takes seconds next to the speaker, with which it shares most
# packages, and minutes in a later build of the mirror.
_OF_EDITION = ("etcd", "metallb-controller", "metallb-speaker", "traefik")
# Of other releases of MetalLB. A current speaker serves its metrics only to requests with a token; below 0.13 both
# programs read one ConfigMap, and depend on reflect2 1.0.1.
_OF_OTHER_RELEASES = (
    Program("metallb-newest", "go.universe.tf/metallb/speaker", "v0.16.1", "1.25.10"),
    Program("metallb-oldest", "go.universe.tf/metallb/speaker", "v0.12.1", "1.17.13", "go.universe.tf/metallb"),
    Program("controller-oldest", "go.universe.tf/metallb/controller", "v0.12.1", "1.17.13", "go.universe.tf/metallb"),
)


def build(edition: Edition) -> Path:
    """Return a directory with links to all the programs, building what the cache lacks."""
    with cache.locked():
        wanted = {"kubernetes": parts.kubernetes(edition), **programs(edition)}
        in_parallel([part.build for part in wanted.values()], lanes=2)
        made = cache.artifact("for-tests", _recipe(edition), lambda directory: _link(directory, wanted))
        cache.discard_work()
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
    return {name: of_edition[name] for name in _OF_EDITION} | {
        program.name: parts.go_program(program) for program in _OF_OTHER_RELEASES
    }


def _recipe(edition: Edition) -> dict[str, object]:
    return {"parts": [parts.kubernetes(edition).directory, *(part.directory for part in programs(edition).values())]}


def _link(directory: Path, wanted: dict[str, Part]) -> None:
    for part in wanted.values():
        for path in part.directory.iterdir():
            (directory / path.name).symlink_to(path)

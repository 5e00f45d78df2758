"""flanneld, built from flannel's Go module as the main module, without its backend for Tencent Cloud.

Only that backend, which one import line pulls in, needs modules that are not on the Go module proxy. flanneld contains
C (the backend `udp`) and is linked statically, as upstream's is.
"""

from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import cache
from provisioner.lab.mirror.goprograms import LDFLAGS, build_from_tree

NAME = "flanneld"
_MODULE = "github.com/flannel-io/flannel"
_BACKEND = f'\t_ "{_MODULE}/pkg/backend/tencentvpc"\n'


def build(version: str, go: str) -> Path:
    """Return the path of the static binary at a version such as "0.28.9", building it unless it is cached."""
    return cache.artifact(NAME, recipe(version, go), lambda directory: _compile(version, go, directory)) / NAME


def recipe(version: str, go: str) -> dict[str, object]:
    """Return everything that determines the program, for the cache."""
    return {
        "module": f"{_MODULE}@v{version}",
        "go": go,
        "ldflags": _flags(version),
        "changes": _BACKEND,
    }


def _flags(version: str) -> str:
    return f"{LDFLAGS} -X {_MODULE}/pkg/version.Version=v{version} -extldflags -static"


def _compile(version: str, go: str, directory: Path) -> None:
    def change(tree: Path) -> None:
        remove_backend(tree, version)

    flags = _flags(version)
    build_from_tree(_MODULE, version, change, "-ldflags", flags, ".", go=go, target=directory / NAME, cgo=1)


def remove_backend(tree: Path, version: str) -> None:
    """Remove the import of the backend that cannot be built."""
    source = tree / "main.go"
    text = source.read_text()
    if text.count(_BACKEND) != 1:
        raise ProvisionerError(
            f"main.go of flannel {version} does not import the backend tencentvpc",
            "adapt provisioner/lab/mirror/flannel.py",
        )
    source.write_text(text.replace(_BACKEND, ""))

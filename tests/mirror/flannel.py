"""flanneld, built from flannel's Go module as the main module, without its backend for Tencent's cloud.

That backend alone needs modules that the Go module proxy does not offer; nothing else of flannel knows of it but one
line of imports. It has C in it (the backend `udp`), and is linked statically as upstream's is.
"""

from pathlib import Path

from provisioner.errors import ProvisionerError
from tests.mirror import cache
from tests.mirror.goprograms import LDFLAGS, from_tree

NAME = "flanneld"
_MODULE = "github.com/flannel-io/flannel"
_BACKEND = f'\t_ "{_MODULE}/pkg/backend/tencentvpc"\n'


def build(version: str, go: str) -> Path:
    """Return the path of the static binary, in a version such as "0.28.9", built unless the cache has it."""
    recipe: dict[str, object] = {
        "module": f"{_MODULE}@v{version}",
        "go": go,
        "ldflags": _flags(version),
        "changes": _BACKEND,
    }
    return cache.artefact(NAME, recipe, lambda directory: _compile(version, go, directory)) / NAME


def _flags(version: str) -> str:
    return f"{LDFLAGS} -X {_MODULE}/pkg/version.Version=v{version} -extldflags -static"


def _compile(version: str, go: str, directory: Path) -> None:
    def change(tree: Path) -> None:
        without_backend(tree, version)

    from_tree(_MODULE, version, go, change, directory, NAME, "-ldflags", _flags(version), ".", cgo=1)


def without_backend(tree: Path, version: str) -> None:
    """Leave out the import of the backend that cannot be built, and the backend."""
    source = tree / "main.go"
    text = source.read_text()
    if text.count(_BACKEND) != 1:
        raise ProvisionerError(
            f"main.go of flannel {version} does not import the backend tencentvpc", "adapt tests/mirror/flannel.py"
        )
    source.write_text(text.replace(_BACKEND, ""))

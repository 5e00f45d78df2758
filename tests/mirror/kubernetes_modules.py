"""A current Kubernetes, from the modules that it publishes on the Go module proxy, agnhost among its programs.

Its go.mod replaces its own libraries by folders of its repository (staging/src/k8s.io), which are published as
modules of their own, v0.37.2 for v1.37.2. `go install` refuses such a module, so that one of ours requires it and
says where those libraries are; versions of all others are those of Kubernetes' own go.mod.
"""

from pathlib import Path

from tests.mirror import cache
from tests.mirror.goprograms import LDFLAGS, install, required, toolchain
from tests.mirror.kubernetes_source import PROGRAMS

MODULE = "k8s.io/kubernetes"
_VERSION_PACKAGE = "k8s.io/component-base/version"


def build(version: str, go: str) -> Path:
    """Return the directory of Kubernetes' programs and agnhost, in a version such as "1.37.2"."""
    recipe: dict[str, object] = {
        "module": f"{MODULE}@v{version}",
        "go": go,
        "ldflags": _flags(version),
        "packages": _packages(),
    }
    return cache.artefact("kubernetes", recipe, lambda directory: _compile(version, go, directory))


def _packages() -> list[str]:
    return [*(f"{MODULE}/cmd/{name}" for name in PROGRAMS), f"{MODULE}/test/images/agnhost"]


def _flags(version: str) -> str:
    """Return the linker's flags: what hack/lib/version.sh would say of a release."""
    major, minor, _ = version.split(".")
    said = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join([LDFLAGS, *(f"-X {_VERSION_PACKAGE}.{name}={value}" for name, value in said.items())])


def _compile(version: str, go: str, directory: Path) -> None:
    log = cache.root() / "logs/kubernetes.log"
    program = toolchain(go)
    lines = required(MODULE, f"v{version}", program, log, siblings=f"v0.{version.partition('.')[2]}")
    argv = ["install", "-mod=mod", "-v", "-trimpath", "-ldflags", _flags(version), *_packages()]
    install(program, argv, directory, log, lines)

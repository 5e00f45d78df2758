"""A current Kubernetes and its agnhost, built from the modules that it publishes on the Go module proxy.

Its go.mod replaces its own libraries by directories of its repository (staging/src/k8s.io), which are also published
as modules, v0.37.2 for v1.37.2. `go install` refuses such a module, so a module of ours requires it and replaces those
libraries by what is published; all other versions are those of Kubernetes' go.mod.
"""

from pathlib import Path

from provisioner.lab.mirror import cache
from provisioner.lab.mirror.goprograms import LDFLAGS, NO_DEBUGGING, go_mod_lines, install, toolchain
from provisioner.lab.mirror.kubernetes_source import PROGRAMS

MODULE = "k8s.io/kubernetes"
_VERSION_PACKAGE = "k8s.io/component-base/version"


def build(version: str, go: str) -> Path:
    """Return the directory of Kubernetes' programs and agnhost at, say, "1.37.2", building it unless it is cached."""
    return cache.artifact("kubernetes", recipe(version, go), lambda directory: _compile(version, go, directory))


def recipe(version: str, go: str) -> dict[str, object]:
    """Return everything that determines the programs, for the cache."""
    return {
        "module": f"{MODULE}@v{version}",
        "go": go,
        "ldflags": _flags(version),
        "packages": _packages(),
    }


def _packages() -> list[str]:
    return [*(f"{MODULE}/cmd/{name}" for name in PROGRAMS), f"{MODULE}/test/images/agnhost"]


def _flags(version: str) -> str:
    """Return the linker's flags, with the version as hack/lib/version.sh has it for a release."""
    major, minor, _ = version.split(".")
    values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join([LDFLAGS, *(f"-X {_VERSION_PACKAGE}.{name}={value}" for name, value in values.items())])


def _compile(version: str, go: str, directory: Path) -> None:
    log = cache.root() / f"logs/kubernetes-{version}.log"
    lines = go_mod_lines(MODULE, f"v{version}", toolchain(go), log, siblings=f"v0.{version.partition('.')[2]}")
    argv = ["install", "-mod=mod", "-v", "-trimpath", *NO_DEBUGGING, "-ldflags", _flags(version), *_packages()]
    install(go, argv, directory, log, lines)

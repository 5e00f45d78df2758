"""Kubernetes 1.20.2, built from Debian's source package, which has the whole tree with its dependencies.

Go 1.15 on purpose: with 1.18 or later the vendored reflect2 crashes kubeadm at run time. The tree also has agnhost,
Kubernetes' test image, and the CRI client library that the stand-in for crictl uses.
"""

import shutil
from pathlib import Path

from provisioner.lab.mirror import apt, cache
from provisioner.lab.mirror.goprograms import LDFLAGS, environment, garbage, toolchain
from provisioner.lab.mirror.progress import run

VERSION = "1.20.2"
SOURCE = apt.PoolFile(
    "main/k/kubernetes/kubernetes_1.20.5+really1.20.2.orig.tar.gz",
    "b83c0780efb182d928dc63d46488a847f161f04e40a94b96bf5247dd671ecdfc",
)
GO = "1.15.15"
COMMIT = "faecb196815e248d3ecfb03c680a4507229c2a56"
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
PROGRAMS = ("kubeadm", "kubelet", "kubectl", "kube-proxy", *CONTROL_PLANE)
_CRICTL = Path(__file__).parent / "crictl/main.go"


def build() -> Path:
    """Return the directory of Kubernetes' programs, agnhost and the stand-in crictl, building it if needed."""
    return cache.artifact("kubernetes", recipe(), _compile)


def recipe() -> dict[str, object]:
    """Return everything that determines the programs, for the cache."""
    return {
        "source": SOURCE.sha256,
        "go": GO,
        "ldflags": LDFLAGS,
        "targets": _targets(),
        "crictl": _CRICTL.read_text(),
    }


def _targets() -> tuple[str, ...]:
    return (*(f"cmd/{name}" for name in PROGRAMS), "cmd/crictl", "test/images/agnhost")


def _compile(directory: Path) -> None:
    log = cache.root() / "logs/kubernetes.log"
    archive = apt.pool_file(SOURCE, directory / "source.tar.gz")
    tree = directory / "tree"
    tree.mkdir()
    run(["tar", "-xzf", archive, "-C", tree, "--strip-components=1"], log)
    (tree / "cmd/crictl").mkdir()
    shutil.copy(_CRICTL, tree / "cmd/crictl/main.go")
    go = toolchain(GO)
    env = (
        environment()
        | garbage(GO)
        | {
            "GOROOT": str(go.parent.parent),
            "PATH": f"{go.parent}:{environment()['PATH']}",
            "GO111MODULE": "auto",  # the tree sets up its own GOPATH
            "CGO_ENABLED": "0",
            # Otherwise the build asks git, and there is no repository.
            "KUBE_GIT_VERSION": f"v{VERSION}",
            "KUBE_GIT_MAJOR": VERSION.split(".", maxsplit=1)[0],
            "KUBE_GIT_MINOR": VERSION.split(".")[1],
            "KUBE_GIT_TREE_STATE": "clean",
            "KUBE_GIT_COMMIT": COMMIT,
        }
    )
    run(["make", "-C", tree, f"GOLDFLAGS={LDFLAGS}", f"WHAT={' '.join(_targets())}"], log, env=env)
    binaries = tree / "_output/local/go/bin"
    for target in _targets():
        name = target.rpartition("/")[2]
        (binaries / name).rename(directory / name)
    run(["chmod", "-R", "u+w", tree], log)
    shutil.rmtree(tree)
    archive.unlink()

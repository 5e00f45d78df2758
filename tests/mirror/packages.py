"""Kubernetes' own apt repository, laid out and packaged as pkgs.k8s.io does: one flat repository a minor."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.mirror import apt, cache, signing
from tests.mirror.kubernetes import MINOR, VERSION
from tests.mirror.progress import run

REVISION = "1.1"
# Where the repository lies below the host's name.
PATH = f"core:/stable:/v{MINOR}/deb"
_RELEASE = f"{VERSION}-{REVISION}"

_KUBELET_UNIT = """\
[Unit]
Description=kubelet: the node agent of Kubernetes
Documentation=https://kubernetes.io/docs/
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
"""
# kubernetes.io, "The kubelet drop-in file for systemd".
_KUBEADM_DROP_IN = """\
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
--kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""
# Enabled, not started: without a configuration it would only end and be started again.
_KUBELET_POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl enable --quiet kubelet.service
fi
"""


@dataclass(frozen=True)
class Package:
    """A package to make: programs of the Kubernetes build (name -> path on the node) and further files."""

    name: str
    version: str
    depends: str
    description: str
    programs: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    postinst: str = ""
    folders: tuple[str, ...] = ()


PACKAGES = (
    Package(
        "kubelet",
        _RELEASE,
        "iptables (>= 1.4.21), kubernetes-cni (>= 0.8.7), iproute2, mount, util-linux, socat, ebtables, ethtool, "
        "conntrack",
        "Kubernetes node agent",
        (("kubelet", "usr/bin/kubelet"),),
        (("usr/lib/systemd/system/kubelet.service", _KUBELET_UNIT),),
        _KUBELET_POSTINST,
        # As upstream's package has it; without it a worker's kubelet looks for it once a second, and says so.
        ("etc/kubernetes/manifests",),
    ),
    Package(
        "kubeadm",
        _RELEASE,
        "kubelet (>= 1.19.0), kubectl (>= 1.19.0), kubernetes-cni (>= 0.8.7), cri-tools (>= 1.13.0)",
        "Kubernetes cluster bootstrapping tool",
        (("kubeadm", "usr/bin/kubeadm"),),
        (("usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", _KUBEADM_DROP_IN),),
    ),
    Package("kubectl", _RELEASE, "", "Kubernetes command line client", (("kubectl", "usr/bin/kubectl"),)),
    Package(
        "cri-tools",
        f"{VERSION}-0.standin",
        "",
        "stand-in for crictl: the calls that kubeadm makes, by a small CRI client of the lab",
        (("crictl", "usr/bin/crictl"),),
    ),
    Package("kubernetes-cni", f"1.1.1-{REVISION}", "", "CNI plugins, from Debian's containernetworking-plugins"),
)


def build(binaries: Path, ingredients: Path) -> Path:
    """Return the repository's directory, from the binaries of `kubernetes` and Debian's packages in `ingredients`."""
    recipe: dict[str, object] = {
        "binaries": str(binaries),
        "ingredients": str(ingredients),
        "steps": cache.own_source("packages.py", "apt.py"),
    }
    return cache.artefact("packages", recipe, lambda directory: _make(directory, binaries, ingredients))


def _make(directory: Path, binaries: Path, ingredients: Path) -> None:
    log = cache.root() / "logs/packages.log"
    for package in PACKAGES:
        tree = directory / package.name
        for program, place in package.programs:
            (tree / place).parent.mkdir(parents=True)
            shutil.copy(binaries / program, tree / place)
        for place, text in package.files:
            (tree / place).parent.mkdir(parents=True)
            (tree / place).write_text(text)
        for place in package.folders:
            (tree / place).mkdir(parents=True)
        if package.name == "kubernetes-cni":
            apt.unpack(ingredients, "containernetworking-plugins", directory / "plugins")
            shutil.copytree(directory / "plugins/usr/lib/cni", tree / "opt/cni/bin", symlinks=True)
            shutil.rmtree(directory / "plugins")
        _control(tree, package)
        target = directory / f"amd64/{package.name}_{package.version}_amd64.deb"
        target.parent.mkdir(exist_ok=True)
        # Not compressed: emulated machines would spend longer on unpacking than on the wire.
        run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, target], log)
        shutil.rmtree(tree)
    apt.packages_index(directory, ".", directory)
    key = signing.key()
    apt.release(directory, {}, key)
    shutil.copy(key / "public.asc", directory / "Release.key")


def control(package: Package, kibibytes: int) -> str:
    """Return the control file of a package whose files take `kibibytes`."""
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": "amd64",
        "Maintainer": "Mirror of a lab <mirror@lab.invalid>",
        "Installed-Size": str(kibibytes),
        "Depends": package.depends,
        "Section": "admin",
        "Priority": "optional",
        "Homepage": "https://kubernetes.io",
        "Description": package.description,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def _control(tree: Path, package: Package) -> None:
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(control(package, -(-size // 1024)))
    if package.postinst:
        (tree / "DEBIAN/postinst").write_text(package.postinst)
        (tree / "DEBIAN/postinst").chmod(0o755)

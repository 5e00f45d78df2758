"""Kubernetes' apt repository, with the layout and packages of pkgs.k8s.io: one flat repository a minor version."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from provisioner.lab.mirror import apt, cache, debs, signing
from provisioner.lab.mirror.debs import Package
from provisioner.lab.mirror.editions import Edition

REVISION = "1.1"

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
# Enable the unit but do not start it: without a configuration the kubelet exits and systemd restarts it.
_KUBELET_POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl enable --quiet kubelet.service
fi
"""


def path(minor: str) -> str:
    """Return the path of a minor version's repository below the host's name."""
    return f"core:/stable:/v{minor}/deb"


def contents(edition: Edition) -> tuple[Package, ...]:
    """Return the packages of the repository."""
    release = f"{edition.kubernetes}-{REVISION}"
    crictl = next((program for program in edition.programs if program.name == "crictl"), None)
    tools = f"{crictl.version.removeprefix('v')}-{REVISION}" if crictl else f"{edition.kubernetes}-0.standin"
    return (
        Package(
            "kubelet",
            release,
            "iptables (>= 1.4.21), kubernetes-cni (>= 0.8.7), iproute2, mount, util-linux, socat, ebtables, ethtool, "
            "conntrack",
            "Kubernetes node agent",
            (("kubelet", "usr/bin/kubelet"),),
            (("usr/lib/systemd/system/kubelet.service", _KUBELET_UNIT),),
            _KUBELET_POSTINST,
            # As in upstream's package; a worker's kubelet without it looks for it, and logs that, once a second.
            ("etc/kubernetes/manifests",),
        ),
        Package(
            "kubeadm",
            release,
            "kubelet (>= 1.19.0), kubectl (>= 1.19.0), kubernetes-cni (>= 0.8.7), cri-tools (>= 1.13.0)",
            "Kubernetes cluster bootstrapping tool",
            (("kubeadm", "usr/bin/kubeadm"),),
            (("usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", _KUBEADM_DROP_IN),),
        ),
        Package("kubectl", release, "", "Kubernetes command line client", (("kubectl", "usr/bin/kubectl"),)),
        Package(
            "cri-tools",
            tools,
            "",
            "command line client of the container runtime interface"
            if crictl
            else "stand-in for crictl: a small CRI client with the calls that kubeadm makes",
            (("crictl", "usr/bin/crictl"),),
        ),
        Package(
            "kubernetes-cni",
            f"1.1.1-{REVISION}",
            "",
            "CNI plugins, from Debian's containernetworking-plugins",
            borrowed=(("containernetworking-plugins", "usr/lib/cni", "opt/cni/bin"),),
        ),
    )


def build(patches: Sequence[tuple[Edition, Mapping[str, Path]]], ingredients: Path) -> Path:
    """Return the directory of one minor version's repository.

    patches: editions of that minor, each with the paths of Kubernetes' programs and crictl by name; ingredients: see
    `apt.ingredients`.
    """
    recipe: dict[str, object] = {
        "editions": [
            (edition.kubernetes, {name: str(binaries[name]) for name in programs(edition)})
            for edition, binaries in patches
        ],
        "ingredients": str(ingredients),
        "steps": cache.source_hash("packages.py", "debs.py", "apt.py"),
    }
    return cache.artifact("packages", recipe, lambda directory: _make(directory, patches, ingredients))


def programs(edition: Edition) -> tuple[str, ...]:
    """Return the names of the programs in an edition's packages."""
    return tuple(name for package in contents(edition) for name, _ in package.programs)


def _make(directory: Path, patches: Sequence[tuple[Edition, Mapping[str, Path]]], ingredients: Path) -> None:
    for edition, binaries in patches:
        for package in contents(edition):
            if not (directory / "amd64" / package.file).exists():  # several patches can need the same one
                debs.build(package, binaries, ingredients, directory / "amd64", directory / "scratch")
    apt.packages_index(directory, ".", directory)
    key = signing.key()
    apt.release(directory, {}, key)
    shutil.copy(key / "public.asc", directory / "Release.key")

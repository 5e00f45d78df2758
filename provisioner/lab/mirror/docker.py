"""Docker's apt repository, for the one package that nodes install from it: containerd.io, which is containerd 2.x.

It has the layout of download.docker.com, and the package is like Docker's: it includes runc, and its configuration
disables the CRI plugin until it is replaced.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from provisioner.lab.mirror import apt, cache, debs, signing
from provisioner.lab.mirror.editions import Edition

# The repository's path below the host's name, with its key as `gpg`.
PATH = "linux/debian"
PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr")
SUITES = ("bookworm", "trixie")  # one package for both: its programs link nothing that differs
_REVISION = "1~debian.12~bookworm"

_UNIT = """\
[Unit]
Description=containerd, the container runtime
Documentation=https://containerd.io
After=network.target local-fs.target

[Service]
Type=notify
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/bin/containerd
Delegate=yes
KillMode=process
Restart=always
RestartSec=5
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-999

[Install]
WantedBy=multi-user.target
"""
_CONFIG = """\
disabled_plugins = ["cri"]
"""
# Enable and start the unit, as Debian's systemd helpers do.
_POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl enable --quiet containerd.service
  systemctl restart containerd.service
fi
"""


def package(edition: Edition) -> debs.Package:
    """Return the package containerd.io of an edition."""
    return debs.Package(
        "containerd.io",
        f"{edition.containerd}-{_REVISION}",
        "libc6 (>= 2.34), libseccomp2 (>= 2.5.0)",
        "industry-standard container runtime, with Debian's runc",
        tuple((name, f"usr/bin/{name}") for name in PROGRAMS),
        (("usr/lib/systemd/system/containerd.service", _UNIT), ("etc/containerd/config.toml", _CONFIG)),
        _POSTINST,
        borrowed=(("runc", "usr/sbin/runc", "usr/bin/runc"),),
        conflicts="containerd, runc",
        homepage="https://containerd.io",
    )


def build(editions: Sequence[tuple[Edition, Mapping[str, Path]]], ingredients: Path) -> Path:
    """Return the repository's directory.

    editions: those with a containerd, each with the paths of its programs by name; ingredients: see `apt.ingredients`.
    """
    versions = {edition.containerd: (edition, programs) for edition, programs in editions}
    recipe: dict[str, object] = {
        "versions": {
            version: {name: str(programs[name]) for name in PROGRAMS} for version, (_, programs) in versions.items()
        },
        "ingredients": str(ingredients),
        "steps": cache.source_hash("docker.py", "debs.py", "apt.py"),
    }

    def make(directory: Path) -> None:
        for edition, programs in versions.values():
            debs.build(package(edition), programs, ingredients, directory / "pool", directory / "scratch")
        key = signing.key()
        for suite in SUITES:
            index = directory / f"dists/{suite}/stable/binary-amd64"
            index.mkdir(parents=True)
            apt.packages_index(directory, "pool", index)
            apt.release(index.parents[1], {"Suite": suite, "Codename": suite, "Components": "stable"}, key)
        shutil.copy(key / "public.asc", directory / "gpg")

    return cache.artifact("docker", recipe, make)

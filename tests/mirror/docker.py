"""Docker's apt repository, for the one package that nodes take from it: containerd.io, which is containerd 2.x.

Laid out as download.docker.com does, and packaged as Docker does: a runc of its own inside, and a configuration that
leaves the CRI plugin out until somebody writes another one.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.mirror import apt, cache, debs, signing
from tests.mirror.editions import Edition

# Where the repository lies below the host's name; its key beside it, as `gpg`.
PATH = "linux/debian"
PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr")
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
# Enabled and started, as Debian's helpers for systemd do.
_POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl enable --quiet containerd.service
  systemctl restart containerd.service
fi
"""


def listed(edition: Edition) -> debs.Package:
    """Return the package containerd.io of an edition."""
    return debs.Package(
        "containerd.io",
        f"{edition.containerd}-{_REVISION}",
        "libc6 (>= 2.34), libseccomp2 (>= 2.5.0)",
        "industry-standard container runtime, with Debian's runc",
        tuple((name, f"usr/bin/{name}") for name in PROGRAMS),
        (("usr/lib/systemd/system/containerd.service", _UNIT), ("etc/containerd/config.toml", _CONFIG)),
        _POSTINST,
        taken=(("runc", "usr/sbin/runc", "usr/bin/runc"),),
        conflicts="containerd, runc",
        homepage="https://containerd.io",
    )


def build(edition: Edition, programs: Mapping[str, Path], ingredients: Path) -> Path:
    """Return the repository's directory; ingredients: Debian's packages, runc among them."""
    binaries = {name: programs[name] for name in PROGRAMS}
    recipe: dict[str, object] = {
        "version": edition.containerd,
        "binaries": {name: str(path) for name, path in binaries.items()},
        "ingredients": str(ingredients),
        "steps": cache.own_source("docker.py", "debs.py", "apt.py"),
    }

    def make(directory: Path) -> None:
        debs.make(listed(edition), binaries, ingredients, directory / "pool", directory / "scratch")
        index = directory / f"dists/{apt.SUITE}/stable/binary-amd64"
        index.mkdir(parents=True)
        apt.packages_index(directory, "pool", index)
        key = signing.key()
        fields = {"Suite": apt.SUITE, "Codename": apt.SUITE, "Components": "stable"}
        apt.release(index.parents[1], fields, key)
        shutil.copy(key / "public.asc", directory / "gpg")

    return cache.artefact("docker", recipe, make)

"""What building and serving the mirror needs on a Debian 12 machine, reported in one message."""

import os
import shutil
from pathlib import Path

from provisioner.errors import ProvisionerError

# A program or an absolute path -> the Debian package that installs it.
# The package docker-registry also enables a service of that name on port 5000; the mirror does not use it, and does
# not conflict with it, since it serves in a network namespace.
NEEDED = {
    "go": "golang-go",
    "gcc": "gcc",
    "/usr/lib/x86_64-linux-gnu/libc.a": "libc6-dev",
    "make": "make",
    "rsync": "rsync",
    "dpkg-deb": "dpkg",
    "apt-ftparchive": "apt-utils",
    "/usr/lib/apt/apt-helper": "apt",
    "gpg": "gnupg",
    "docker-registry": "docker-registry",
    "setpriv": "util-linux",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
# Where Debian and Go's own archive install programs outside the usual PATH.
EXTRA_PATH = "/usr/local/go/bin:/usr/lib/go/bin:/usr/lib/go-1.19/bin:/usr/local/sbin:/usr/sbin:/sbin"


def missing() -> tuple[str, ...]:
    """List the Debian packages that are not installed."""
    absent = {
        package
        for item, package in NEEDED.items()
        if not (Path(item).exists() if item.startswith("/") else find_program(item))
    }
    return tuple(sorted(absent))


def check() -> None:
    """Raise ProvisionerError with the command that installs what is missing."""
    absent = missing()
    if absent:
        raise ProvisionerError(
            f"the mirror needs Debian packages that are not installed: {', '.join(absent)}",
            f"apt-get install --no-install-recommends {' '.join(absent)}",
        )


def find_program(name: str) -> str | None:
    """Return the path of a program, or None; search the PATH, then EXTRA_PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{EXTRA_PATH}")

"""What building and serving the mirror needs of a Debian 12 machine, said in one message."""

import os
import shutil
from pathlib import Path

from provisioner.errors import ProvisionerError

# What proves that it is there (a program, or an absolute path) -> Debian package.
# docker-registry's package also enables a service of that name on port 5000; the mirror does not use it and is
# not disturbed by it, since it serves inside a network namespace.
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
# The Debian packages, for a set-up that installs them beforehand.
PACKAGES = tuple(sorted(set(NEEDED.values())))
# Where Debian and Go's own archive put programs that are not always on the PATH.
EXTRA_PATH = "/usr/local/go/bin:/usr/lib/go/bin:/usr/lib/go-1.19/bin:/usr/local/sbin:/usr/sbin:/sbin"


def missing() -> tuple[str, ...]:
    """List the Debian packages that this machine lacks."""
    lacking = {
        package
        for proof, package in NEEDED.items()
        if not (Path(proof).exists() if proof.startswith("/") else program(proof))
    }
    return tuple(sorted(lacking))


def check() -> None:
    """Raise ProvisionerError with the line that installs what is missing."""
    lacking = missing()
    if lacking:
        raise ProvisionerError(
            f"the mirror needs Debian packages that are not installed: {', '.join(lacking)}",
            f"apt-get install --no-install-recommends {' '.join(lacking)}",
        )


def program(name: str) -> str | None:
    """Return the path of a program, or None: the PATH first, then where Debian and Go put them."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{EXTRA_PATH}")

"""What the lab needs on this machine, reported in one message instead of one failure after another."""

import os
import shutil
import sys

from provisioner.errors import ProvisionerError

# program -> Debian package
_OF_VMS = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils"}
_OF_CONTAINERS = {"slirp4netns": "slirp4netns", "nsenter": "util-linux"}
_OF_BALANCED = {"haproxy": "haproxy"}
_OF_ALL = {
    "mmdebstrap": "mmdebstrap",
    "mkfs.ext4": "e2fsprogs",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
# By what the machines are; "" is either.
PROGRAMS = {
    "vms": _OF_ALL | _OF_VMS,
    "containers": _OF_ALL | _OF_CONTAINERS,
    "": _OF_ALL | _OF_VMS | _OF_CONTAINERS,
}


def check(nodes: str = "", *, balanced: bool = False) -> None:
    """Raise ProvisionerError unless this process is root and all programs for such machines are installed.

    balanced: the lab has several control planes behind a load balancer.
    """
    require_root()
    missing = missing_programs(nodes, balanced=balanced)
    if missing:
        known = PROGRAMS[nodes] | _OF_BALANCED
        packages = " ".join(sorted({known[program] for program in missing}))
        raise ProvisionerError(
            f"the lab needs {', '.join(missing)}", f"apt-get install --no-install-recommends {packages}"
        )


def missing_programs(nodes: str = "", *, balanced: bool = False) -> tuple[str, ...]:
    """List the programs for such machines, "" for either kind, that are not installed."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    programs = [*PROGRAMS[nodes], *(_OF_BALANCED if balanced else ())]
    return tuple(program for program in programs if shutil.which(program, path=path) is None)


def require_root() -> None:
    """Raise ProvisionerError with the command to run unless this process is root."""
    if os.geteuid() != 0:
        arguments = " ".join(sys.argv[1:]) or "lab up"
        raise ProvisionerError(
            "the lab creates network namespaces and a Debian image, which requires root",
            f"sudo {shutil.which(sys.argv[0]) or sys.argv[0]} {arguments}",
        )

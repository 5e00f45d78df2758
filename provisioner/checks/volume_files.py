"""Write, read and remove test files on the volumes of pods, for the storage, retained and statefulset checks.

A run removes its own files and those of an earlier run that was killed.
"""

from __future__ import annotations

import shlex

from provisioner.checks.check import NAMESPACE
from provisioner.kube import Cluster, Object

FOLDER = "/data"  # where the shipped workloads mount their volume
DIGITS = 8
# A shell pattern for exactly the paths that `path` returns.
PATTERN = f"{FOLDER}/.verify-{'[0-9a-f]' * DIGITS}"


def path(token: str) -> str:
    """Return the path of the file that a run with this token (secrets.token_hex) writes."""
    return f"{FOLDER}/.verify-{token[:DIGITS]}"


def server_script(folder: str, name: str) -> str:
    """Return the command that prints a file of a volume on the NFS server, at most 1 MiB.

    Pods own what is in the folder, and may put a link to a secret of the server, or a FIFO, in the file's place: it is
    read as nobody, and the file itself or nothing (O_NOFOLLOW in open(2)).
    """
    return (
        f"cd -P {shlex.quote(folder)}; setpriv --reuid 65534 --regid 65534 --clear-groups "
        f"dd if={shlex.quote(name)} iflag=nofollow,nonblock,fullblock bs=64k count=16 status=none"
    )


def write(cluster: Cluster, pod: Object, path: str, text: str) -> None:
    """Write a file in a pod; the shell's redirection closes it, so NFS has sent it to the server by then."""
    command = ["sh", "-c", 'printf %s "$1" > "$2"', "sh", text, path]
    cluster.exec(NAMESPACE, pod["metadata"]["name"], command)


def read(cluster: Cluster, pod: Object, path: str) -> str:
    """Return a file's text as a pod reads it."""
    return cluster.exec(NAMESPACE, pod["metadata"]["name"], ["cat", path])


def remove(cluster: Cluster, pod: str) -> None:
    """Remove the files of every run from a pod's volume; the cluster's lock excludes another run in progress."""
    cluster.exec(NAMESPACE, pod, ["sh", "-c", f"rm -f {PATTERN}"])

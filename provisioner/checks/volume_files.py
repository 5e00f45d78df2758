"""The files that checks write to volumes: a run removes its own, and what one before it left that was killed."""

from __future__ import annotations

from provisioner.checks.check import NAMESPACE
from provisioner.kube import Cluster, Object

FOLDER = "/data"  # where the pods of the shipped workloads have their volume
DIGITS = 8
# All names of exactly the form that `path` gives, as a shell's pattern.
OURS = f"{FOLDER}/.verify-{'[0-9a-f]' * DIGITS}"


def path(token: str) -> str:
    """Return where a run writes whose token (secrets.token_hex) this is."""
    return f"{FOLDER}/.verify-{token[:DIGITS]}"


def write(cluster: Cluster, pod: Object, path: str, text: str) -> None:
    """Write a file in a pod; the shell's redirection closes it, and NFS has it on the server by then."""
    command = ["sh", "-c", 'printf %s "$1" > "$2"', "sh", text, path]
    cluster.exec(NAMESPACE, pod["metadata"]["name"], command)


def read(cluster: Cluster, pod: Object, path: str) -> str:
    """Return a file's text as a pod sees it."""
    return cluster.exec(NAMESPACE, pod["metadata"]["name"], ["cat", path])


def remove(cluster: Cluster, pod: str) -> None:
    """Remove the files of every run from a pod's volume; the cluster's lock sees to it that no other is under way."""
    cluster.exec(NAMESPACE, pod, ["sh", "-c", f"rm -f {OURS}"])

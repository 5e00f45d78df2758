"""The file to which all pods of the shared volume append lines, for the storage check: read in a pod and on NFS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from provisioner.checks import claims, pods, volume_files
from provisioner.checks.check import NAMESPACE, Context, Finding, failed, passed, wait_for
from provisioner.kube import Object
from provisioner.text import join_words

NAME = "lines"
PATH = f"{volume_files.FOLDER}/{NAME}"


def judge(context: Context, claim: str, own: Sequence[Object], reader: Object) -> Iterator[Finding]:
    """Yield whether the file has lines of all pods: as one of them reads it, then on the server.

    claim: of the shared volume; it has the workload's name.
    """
    names, where = {pod["metadata"]["name"] for pod in own}, reader["metadata"]["name"]
    text = wait_for(
        context,
        f"a line of every {claim} pod in {PATH}",
        lambda: context.cluster.exec(NAMESPACE, where, ["sh", "-c", f"tail -n 500 {PATH}"]),
        lambda text: not names - writers(text),
        timeout=60,
    )
    yield _finding(claim, PATH, f"in pod {where}", names, text)
    place = claims.nfs_source(context.cluster.get("PersistentVolume", claims.bound_volume(context, claim)) or {})
    server = context.hosts.get(context.site.nfs_server.name)
    if server is not None and place:
        path = f"{place.partition(':')[2]}/{NAME}"
        output = server.run(volume_files.server_script(place.partition(":")[2], NAME), check=False)
        yield _finding(claim, path, f"on the server {server.name}", names, output.stdout or output.stderr)


def writers(text: str) -> set[str]:
    """Return the pods that wrote the lines, each of which is a time and a pod's name."""
    return {words[1] for line in text.splitlines() if len(words := line.split()) == 2}


def _finding(workload: str, path: str, where: str, names: set[str], text: str) -> Finding:
    missing = names - writers(text)
    if not missing:
        return passed("STORAGE_LINES", f"{path} {where}", f"has lines of {join_words(sorted(names))}")
    return failed(
        "STORAGE_LINES_MISSING",
        f"{path} {where}",
        f"has no line of {join_words(sorted(missing))}",
        f"kubectl -n {NAMESPACE} logs -l app.kubernetes.io/name={workload}",
        *text.splitlines()[-pods.LOG_LINES :],
    )

"""Part of the step preflight: exports that the operator made on the NFS server, and folders closed to clients."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from provisioner.site import Site
from provisioner.ssh import FactQuery, HostFacts
from provisioner.steps.nfs_server import EXPORTS

FILES = ("/etc/exports", "/etc/exports.d/*.exports")


@dataclass(frozen=True)
class Export:
    """A line of exports(5). clients: as written, with their options."""

    place: str
    path: str
    clients: tuple[str, ...]

    @property
    def is_root(self) -> bool:
        """Return whether it is the root of what NFSv4 clients see."""
        return any(re.search(r"[(,]fsid=(?:0|root)[,)]", client) for client in self.clients)


def query(site: Site) -> FactQuery:
    """Return the facts that this part reads."""
    return FactQuery(files=FILES, exists=tuple(_parents(site))) if site.nfs.enabled else FactQuery()


def problems(facts: HostFacts, site: Site) -> Iterator[str]:
    """Yield what keeps clients from mounting the export of the server that these facts are of."""
    export = site.nfs.export.rstrip("/")
    for other in exports(facts):
        if other.path == export:
            yield (
                f"exports {export} in {other.place} as well, to {' '.join(other.clients) or 'nobody'}: remove that "
                "line (hosts.toml's clients under [nfs] says who else may mount it), then sudo exportfs -ra"
            )
        elif other.is_root:
            yield (
                f"exports {other.path} with fsid=0 ({other.place}), so that NFSv4 clients see nothing but what is in "
                "it, by other paths: take fsid=0 out, then sudo exportfs -ra"
            )
    for parent in _parents(site):
        folder = facts.files[parent]
        if folder.exists and not folder.mode & 0o001:
            yield (
                f"has {parent} with mode {folder.mode:04o}, so that clients cannot pass it to {export}: "
                f"sudo chmod o+x {shlex.quote(parent)}"
            )


def notes(facts: HostFacts, site: Site) -> Iterator[str]:
    """Yield exports through which others reach the volumes."""
    export = PurePosixPath(site.nfs.export)
    for other in exports(facts):
        if PurePosixPath(other.path) in export.parents:
            clients = " ".join(other.clients)
            yield f"exports {other.path} to {clients} ({other.place}), and with it the volumes below it"


def exports(facts: HostFacts) -> Iterator[Export]:
    """Yield the exports in all files but ours."""
    for path, file_ in facts.files.items():
        is_exports = path == FILES[0] or (path.startswith("/etc/exports.d/") and path.endswith(".exports"))
        if not is_exports or path == EXPORTS or not file_.exists:
            continue
        joined = re.sub(r"\\\n", "  ", file_.content or "")
        for number, line in enumerate(joined.splitlines(), 1):
            try:
                words = shlex.split(line, comments=True)
            except ValueError:
                words = line.split()
            if words:
                yield Export(f"{path}:{number}", words[0].rstrip("/") or "/", tuple(words[1:]))


def _parents(site: Site) -> list[str]:
    """Return the folders above the export, without the root."""
    return [str(parent) for parent in PurePosixPath(site.nfs.export).parents if str(parent) != "/"]

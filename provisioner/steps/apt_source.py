"""A signed apt source: its key, its list, and that apt knows what is in it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from provisioner.engine import Change
from provisioner.engine.changes import file
from provisioner.errors import HostError, Unreachable
from provisioner.ssh import Host


@dataclass(frozen=True)
class AptSource:
    """A third-party repository. key_url: where its ASCII-armoured key is; suite: "SUITE COMPONENT…" or "/"."""

    name: str
    url: str
    key_url: str
    suite: str

    @staticmethod
    def paths(name: str) -> tuple[str, str]:
        """Return the paths of the key and the list, for a step's query."""
        return f"/etc/apt/keyrings/{name}.asc", f"/etc/apt/sources.list.d/{name}.list"

    def line(self) -> str:
        """Return the line of the sources list; only this repository's own key signs for it."""
        key, _ = self.paths(self.name)
        return f"deb [signed-by={key}] {self.url} {self.suite}\n"


def source(host: Host, repository: AptSource) -> Iterator[Change]:
    """Yield the changes that make apt trust and know a repository."""
    key, listing = repository.paths(repository.name)
    # Another address (a mirror in place of upstream) may be signed with another key.
    if not host.facts.files[key].exists or host.facts.files[listing].content != repository.line():
        yield Change(
            f"fetch the key of {repository.url}",
            lambda: _fetch_key(host, repository.key_url, key),
            f"+ {key} from {repository.key_url}\n",
        )
    yield from file(host, listing, repository.line())


def _fetch_key(host: Host, url: str, path: str) -> None:
    # Moved into place only when complete, so that an interrupted fetch is fetched again.
    command = (
        f"mkdir -p /etc/apt/keyrings; curl -fsSL --retry 3 -o {path}.part {shlex.quote(url)}; "
        f"grep -q 'BEGIN PGP PUBLIC KEY BLOCK' {path}.part; chmod 0644 {path}.part; mv {path}.part {path}"
    )
    try:
        host.run(command, timeout=60)
    except Unreachable:
        raise
    except HostError as error:
        raise HostError(
            host.name,
            f"cannot fetch the key of a package repository from {url}",
            f"look from there: provisioner ssh {host.name} -- curl -sSIL {url}; [mirror] in hosts.toml names another "
            "place (for Kubernetes below 1.24 it has to: upstream's packages are gone)",
            command=error.command,
            tail=error.tail,
        ) from error

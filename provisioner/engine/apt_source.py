"""Add third-party apt repositories to a host: the signing key and the sources list."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from provisioner.engine.changes import file
from provisioner.engine.step import Change
from provisioner.errors import HostError, Unreachable
from provisioner.ssh import Host


@dataclass(frozen=True)
class AptSource:
    """A third-party repository. key_url: its ASCII-armored key; suite: "SUITE COMPONENT…" or "/"."""

    name: str
    url: str
    key_url: str
    suite: str

    @staticmethod
    def paths(name: str) -> tuple[str, str]:
        """Return the paths of key and sources list, for a step's query."""
        return f"/etc/apt/keyrings/{name}.asc", f"/etc/apt/sources.list.d/{name}.list"

    def line(self) -> str:
        """Return the line of the sources list; apt accepts only this repository's own key for it."""
        key, _ = self.paths(self.name)
        return f"deb [signed-by={key}] {self.url} {self.suite}\n"


def add_repository(host: Host, repository: AptSource) -> Iterator[Change]:
    """Yield the changes that add a repository and its key. The step's query must name both `paths`."""
    key, listing = repository.paths(repository.name)
    # A repository at another address (a mirror instead of upstream) may be signed with another key.
    if not host.facts.files[key].exists or host.facts.files[listing].content != repository.line():
        yield Change(
            f"fetch the signing key of {repository.url}",
            lambda: _fetch_key(host, repository.key_url, key),
            f"+ {key} from {repository.key_url}\n",
        )
    yield from file(host, listing, repository.line())


def _fetch_key(host: Host, url: str, path: str) -> None:
    # Moved into place only when complete, so that an interrupted download is repeated.
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
            f"fetching a package repository's key from {url} failed",
            f"try it on the host: provisioner ssh {host.name} -- curl -sSIL {url}; or set another source under "
            "[mirror] in hosts.toml (required for Kubernetes below 1.24, which upstream no longer serves)",
            command=error.command,
            tail=error.tail,
        ) from error

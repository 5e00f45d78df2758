"""Add third-party apt repositories to a host: the signing key and the sources list."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from provisioner import openpgp
from provisioner.engine.changes import file
from provisioner.engine.step import Change
from provisioner.errors import HostError, Unreachable
from provisioner.ssh import Host


@dataclass(frozen=True)
class AptSource:
    """A third-party repository. key_url: its ASCII-armored key; suite: "SUITE COMPONENT…" or "/".

    fingerprints: of the keys that may sign it; setting: the key of hosts.toml under [mirror] that names another.
    """

    name: str
    url: str
    key_url: str
    suite: str
    fingerprints: tuple[str, ...]
    setting: str

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
    now = host.facts.files[key]
    # A repository at another address (a mirror instead of upstream) may be signed with another key.
    if (
        not now.exists
        or _doubt(repository, now.content or "")
        or host.facts.files[listing].content != repository.line()
    ):
        yield Change(
            f"fetch the signing key of {repository.url} ({', '.join(repository.fingerprints)})",
            lambda: _fetch_key(host, repository, key),
            f"+ {key} from {repository.key_url}\n",
        )
    yield from file(host, listing, repository.line())


def _doubt(repository: AptSource, text: str) -> str:
    """Return why a key file must not be trusted for a repository; "" if it may be."""
    try:
        found = openpgp.fingerprints(text)
    except (ValueError, IndexError) as error:
        return f"it is not an ASCII-armored key: {error or 'it is damaged'}"
    foreign = [each for each in found if each not in repository.fingerprints]
    wanted = " or ".join(repository.fingerprints)
    return f"its fingerprint is {', '.join(foreign)}, not {wanted}" if foreign else ""


def _fetch_key(host: Host, repository: AptSource, path: str) -> None:
    url = repository.key_url
    # What https protects must not continue over http.
    curl = "curl -fsSL --proto =https --proto-redir =https" if url.startswith("https:") else "curl -fsSL"
    try:
        text = host.run(f"{curl} --retry 3 --max-filesize 1000000 {shlex.quote(url)}", timeout=60).stdout
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
    if doubt := _doubt(repository, text):
        raise HostError(
            host.name,
            f"the package repository's key at {url} is not the expected one: {doubt}",
            f"if it is your mirror's own, verify it there and set {repository.setting} under [mirror] to its "
            "fingerprint; if it should be upstream's, do not trust this source",
        )
    host.put(path, text)

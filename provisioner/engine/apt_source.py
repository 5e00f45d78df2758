"""Add third-party apt repositories to a host: the signing key and the sources list."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from provisioner import openpgp
from provisioner.engine.changes import file
from provisioner.engine.step import Change
from provisioner.errors import HostError, Unreachable
from provisioner.site import proxy
from provisioner.ssh import Host, HostFacts

SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list", "/etc/apt/sources.list.d/*.sources")


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
        """Return the paths of key and sources list."""
        return f"/etc/apt/keyrings/{name}.asc", f"/etc/apt/sources.list.d/{name}.list"

    @classmethod
    def query(cls, name: str) -> tuple[str, ...]:
        """Return the files that a step's query must name: key and sources list, and all others that apt reads."""
        return (*cls.paths(name), *SOURCES)

    def line(self) -> str:
        """Return the line of the sources list; apt accepts only this repository's own key for it."""
        key, _ = self.paths(self.name)
        return f"deb [signed-by={key}] {self.url} {self.suite}\n"


@dataclass(frozen=True)
class Entry:
    """A binary repository in a sources file. options: by name in lower case, such as "signed-by"."""

    path: str
    url: str
    suite: str
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...]

    @property
    def signed_by(self) -> str:
        """Return the key that apt accepts for it; "" for any of the system's."""
        return dict(self.options).get("signed-by", "")


def elsewhere(facts: HostFacts, repository: AptSource) -> Entry | None:
    """Return where another file than ours already has a repository: Docker's own docker.sources, Ansible's names.

    apt reads no source at all if one of them is there twice with different keys, so it must not be added again.
    """
    suite, *components = repository.suite.split()
    _, ours = repository.paths(repository.name)
    for entry in entries(facts):
        same = (entry.url, entry.suite) == (repository.url.rstrip("/"), suite)
        if same and entry.path != ours and set(components) <= set(entry.components):
            return entry
    return None


def conflict(facts: HostFacts, repository: AptSource) -> str:
    """Return a sentence if a repository is in our file and, with another key, in another one; "" if not."""
    other = elsewhere(facts, repository)
    key, ours = repository.paths(repository.name)
    if other is None or not facts.files[ours].exists or other.signed_by == key:
        return ""
    return (
        f"has the repository {repository.url} in {ours} and, with another key, in {other.path}, so that apt reads no "
        f"source at all: sudo rm {ours}"
    )


def entries(facts: HostFacts) -> Iterator[Entry]:
    """Yield the enabled binary repositories of all sources files (sources.list(5))."""
    for path, file_ in facts.files.items():
        if not file_.exists or not file_.content or not path.startswith("/etc/apt/sources.list"):
            continue
        yield from _deb822(path, file_.content) if path.endswith(".sources") else _one_line(path, file_.content)


def _one_line(path: str, text: str) -> Iterator[Entry]:
    for line in text.splitlines():
        if found := re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)([^#]*)", line):
            pairs = (word.partition("=") for word in (found[1] or "").split())
            options = tuple((key.lower(), value) for key, _, value in pairs)
            yield Entry(path, found[2].rstrip("/"), found[3], tuple(found[4].split()), options)


def _deb822(path: str, text: str) -> Iterator[Entry]:
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if not line.startswith("#")]
        folded = re.sub(r"\n[ \t]+", " ", "\n".join(lines))
        fields = {
            key.strip().lower(): value.strip() for key, _, value in (one.partition(":") for one in folded.split("\n"))
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        for url in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Entry(
                    path, url.rstrip("/"), suite, tuple(fields.get("components", "").split()), tuple(fields.items())
                )


def add_repository(host: Host, repository: AptSource) -> Iterator[Change]:
    """Yield the changes that add a repository and its key; none if another file has it, which is then the operator's.

    The step's query must name all that `query` returns.
    """
    key, listing = repository.paths(repository.name)
    if elsewhere(host.facts, repository) is not None:
        return
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
        text = host.run(
            f"{proxy.shell_prefix(host.site)}{curl} --retry 3 --max-filesize 1000000 {shlex.quote(url)}", timeout=60
        ).stdout
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

"""A host as somebody named it, on the command line or in a file of Vagrant's or Ansible's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.text import did_you_mean

CONTROL_PLANE, WORKER = "control-plane", "worker"
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:_-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class Named:
    """A host as it was named.

    name: what hosts.toml will call it; guessed: it was named by an address. typed: where to log in, as for ssh. user,
    port, key, jump: "" or 0 leave them to ~/.ssh/config. roles: those of hosts.toml, none if nobody said. nfs: it was
    said to be the NFS server.
    """

    name: str
    typed: str
    user: str = ""
    port: int = 0
    key: str = ""
    jump: str = ""
    roles: tuple[str, ...] = ()
    nfs: bool = False
    guessed: bool = False


def parse(hosts: Sequence[str]) -> list[Named]:
    """Return the hosts `[user@]host` by name. Raises ProvisionerError for a word that names none, or one twice."""
    found: list[Named] = []
    for word in hosts:
        user, _, host = word.rpartition("@")
        if not _HOST.fullmatch(host) or (user and not user.isprintable()):
            raise ProvisionerError(f"{word!r} is no host", "write HOST or USER@HOST, as for ssh")
        if any(one.typed == host for one in found):
            raise ProvisionerError(f"{host} is named twice", "name each host once")
        found.append(Named(_free_name(host, found), host, user, guessed=not name_of(host)))
    return found


def checked(hosts: Iterable[Named], source: str) -> list[Named]:
    """Return the hosts of a file with valid, different names. Raises ProvisionerError, naming the file."""
    found: list[Named] = []
    for one in hosts:
        if not _HOST.fullmatch(one.typed) or not (one.user + one.key + one.jump).isprintable():
            raise ProvisionerError(f"{source}: {one.name}: {one.typed!r} is no host to log in to")
        other = next((each for each in found if (each.typed, each.port) == (one.typed, one.port)), None)
        if other is not None:
            raise ProvisionerError(f"{source}: {other.name} and {one.name} are both {one.typed}", "keep one of them")
        found.append(replace(one, name=_free_name(one.name, found), guessed=not name_of(one.name)))
    if not found:
        raise ProvisionerError(f"{source} names no host", "name them: provisioner init HOST...")
    return found


def chosen(hosts: Sequence[Named], groups: dict[str, set[str]], words: Sequence[str], source: str) -> list[Named]:
    """Return the hosts that the words name, by themselves or by their group; without words all."""
    known = {host.name: {host.name} for host in hosts} | groups
    for word in words:
        if word not in known:
            hint = did_you_mean(word, known) or f"it has {', '.join(host.name for host in hosts)}"
            raise ProvisionerError(f"{source} has no host or group {word}", hint)
    wanted = {name for word in words for name in known[word]}
    return [host for host in hosts if not words or host.name in wanted]


def read(path: Path, what: str, limit: int = 1 << 20) -> str:
    """Return the text of a file. Raises ProvisionerError."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ProvisionerError(f"{path} is larger than {limit >> 20} MiB", f"name {what}")
        return content.decode()
    except UnicodeDecodeError:
        raise ProvisionerError(f"{path} is not text", f"name {what}") from None
    except OSError as error:
        raise ProvisionerError(f"cannot read {path}: {error.strerror}", f"name {what}") from error


def name_of(host: str) -> str:
    """Return a host's name in hosts.toml: the first label of its own, "" for an address."""
    try:
        ip_address(host)
    except ValueError:
        return re.sub(r"[^a-z0-9-]", "-", host.lower().partition(".")[0]).strip("-")
    return ""


def _free_name(host: str, taken: Sequence[Named]) -> str:
    name = name_of(host)
    used = any(one.name == name for one in taken)  # nuc.attic and nuc.cellar
    return f"host{len(taken) + 1}" if used or not name else name

"""How to log in to a host: what hosts.toml says, and ~/.ssh/config where it is silent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioner.addresses import split_host_port
from provisioner.errors import ProvisionerError
from provisioner.ssh import lazy

if TYPE_CHECKING:
    from paramiko import SSHConfig

    from provisioner.site import HostSpec, Site

_INCLUDE_DEPTH = 16  # READCONF_MAX_DEPTH in OpenSSH's readconf.c


@dataclass(frozen=True)
class Login:
    """User, address, port and key of a login.

    key: the private key file of hosts.toml, or a `.pub` that picks one of the agent's keys; "" for those of the
    agent, `files` and ~/.ssh. files, only, agent: IdentityFile, IdentitiesOnly and IdentityAgent of ssh_config(5).
    jumps: the hosts on the way, the first one first. alias: its name in ssh_config, if that has a Host for it.
    """

    user: str
    address: str
    port: int
    key: str
    files: tuple[str, ...] = ()
    only: bool = False
    agent: str = ""
    jumps: tuple[Login, ...] = ()
    alias: str = ""

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.user}@{address}:{self.port}"


def login(site: Site, spec: HostSpec) -> Login:
    """Return a host's login: its own settings, else those under [ssh], else those of ssh_config(5).

    In ssh_config a host is looked up by its ssh_address, without one by its name, if a Host of the file matches that,
    and else by its address.
    """
    own, shared = spec.ssh, site.ssh
    given = shared.model_fields_set
    alias, found = _lookup(site, spec)
    key = own.key or shared.key
    address = spec.ssh_address or spec.address
    jumps = jump_logins(site)
    if not jumps and "jump" not in given and (proxy := found.get("proxyjump", "none")) != "none":
        jumps = _jumps(site, str(proxy), ours=False)
    return replace(
        _from_config(found),
        user=own.user or (shared.user if "user" in given else found.get("user", shared.user)),
        address=str(found["hostname"]) if alias and found["hostname"] != alias else address,
        port=own.port or (shared.port if "port" in given else int(found.get("port", shared.port))),
        key=str(site.directory / Path(key).expanduser()) if key else "",
        jumps=jumps,
        alias=alias,
    )


def configured_user(site: Site, spec: HostSpec) -> str:
    """Return the user that ssh_config(5) names for a host, "" if it names none."""
    return str(_lookup(site, spec)[1].get("user", ""))


def jump_logins(site: Site) -> tuple[Login, ...]:
    """Return the login of the jump host under [ssh] ("user@host:port", user and port optional); () without one."""
    return _jumps(site, site.ssh.jump, ours=True) if site.ssh.jump else ()


def _jumps(site: Site, text: str, *, ours: bool, depth: int = 0) -> tuple[Login, ...]:
    """Return the logins for `[user@]host[:port],…` (ProxyJump in ssh_config(5)).

    ours: whether it stands in hosts.toml, whose user and key then come before those of ssh_config.
    """
    logins: list[Login] = []
    shared = site.ssh
    key = str(site.directory / Path(shared.key).expanduser()) if shared.key else ""
    for hop in text.split(","):
        user, _, place = hop.strip().removeprefix("ssh://").rpartition("@")
        name, port = split_host_port(place, 0)
        read = _read(site)
        found: Mapping[str, Any] = read[0].lookup(name) if read is not None else {"hostname": name}
        proxy = str(found.get("proxyjump", "none"))
        if not logins and proxy != "none" and depth < _INCLUDE_DEPTH:
            logins += _jumps(site, proxy, ours=False, depth=depth + 1)
        first = shared.user if ours and "user" in shared.model_fields_set else ""
        logins.append(
            replace(
                _from_config(found),
                user=user or first or found.get("user", shared.user),
                address=str(found["hostname"]),
                port=port or int(found.get("port", 22)),
                key=key if ours or not found.get("identityfile") else "",
            )
        )
    return tuple(logins)


def _from_config(found: Mapping[str, Any]) -> Login:
    return Login(
        user="",
        address="",
        port=0,
        key="",
        files=tuple(str(Path(file).expanduser()) for file in found.get("identityfile", ())),
        only=found.get("identitiesonly") == "yes",
        agent=str(found.get("identityagent", "")),
    )


def _lookup(site: Site, spec: HostSpec) -> tuple[str, Mapping[str, Any]]:
    """Return the name that ssh_config knows the host by, and its options; "" if only wildcards match."""
    read = _read(site)
    address = spec.ssh_address or spec.address
    if read is None:
        return "", {"hostname": address}
    config, patterns = read
    names = (spec.ssh_address,) if spec.ssh_address else (spec.name, spec.address)
    for name in names:
        if any(pattern.strip("*?.") and fnmatchcase(name, pattern) for pattern in patterns):
            return name, config.lookup(name)
    return "", {**config.lookup(address), "hostname": address}


def _read(site: Site) -> tuple[SSHConfig, tuple[str, ...]] | None:
    """Return the ssh_config and the patterns of its Host lines; None without one."""
    if not site.ssh.config:
        return None
    path = site.directory / Path(site.ssh.config).expanduser()
    if not path.is_file():
        if "config" in site.ssh.model_fields_set:
            raise ProvisionerError(f"there is no file {path}", 'check config under [ssh]; "" reads none')
        return None
    return _parse(path)


@cache
def _parse(path: Path) -> tuple[SSHConfig, tuple[str, ...]]:
    try:
        lines = list(_lines(path, path.parent, 0))
        config = lazy.paramiko.SSHConfig.from_file(StringIO("\n".join(lines)))
        config.lookup("localhost")  # finds a Match that Paramiko does not know
    except (lazy.paramiko.SSHException, OSError, UnicodeDecodeError, ValueError, KeyError) as error:
        raise ProvisionerError(
            f"cannot read {path}: {error}", 'mend it, or set config = "" under [ssh] to log in by hosts.toml alone'
        ) from error
    words = [re.split(r"[\s=]+", line.strip().replace('"', "")) for line in lines]
    return config, tuple(pattern for first, *rest in words if first.lower() == "host" for pattern in rest)


def _lines(path: Path, folder: Path, depth: int) -> Iterator[str]:
    """Yield a file's lines, those of an Include in its place (ssh_config(5)), which Paramiko does not do."""
    block = "Host *"
    for line in path.read_text().splitlines():
        keyword, *words = re.split(r"[\s=]+", line.strip(), maxsplit=1)
        if keyword.lower() in ("host", "match"):
            block = line
        if keyword.lower() != "include":
            yield line
            continue
        for file in _included(words[0].split() if words else (), folder):
            if depth < _INCLUDE_DEPTH:
                yield from _lines(file, folder, depth + 1)
                yield block  # the included file's last Host does not reach beyond it


def _included(patterns: Iterable[str], folder: Path) -> Iterator[Path]:
    for pattern in patterns:
        place = Path(pattern.strip('"')).expanduser()
        base = Path("/") if place.is_absolute() else folder
        yield from sorted(each for each in base.glob(str(place).lstrip("/")) if each.is_file())

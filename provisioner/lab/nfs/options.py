"""The arguments and options of mount.nfs(8) and nfs(5), as mount(8), the kubelet and people give them."""

import re
from dataclasses import dataclass

# Flags of mount(2) by the options of mount(8); False clears one.
_FLAGS = {
    "ro": (1, True), "rw": (1, False), "nosuid": (2, True), "suid": (2, False), "nodev": (4, True), "dev": (4, False),
    "noexec": (8, True), "exec": (8, False), "sync": (16, True), "async": (16, False), "remount": (32, True),
    "mand": (64, True), "nomand": (64, False), "dirsync": (128, True), "noatime": (1024, True),
    "atime": (1024, False), "nodiratime": (2048, True), "diratime": (2048, False), "relatime": (1 << 21, True),
    "norelatime": (1 << 21, False), "strictatime": (1 << 24, True),
}  # fmt: skip
REMOUNT = 32
_VERSIONS = {"4": 2, "4.1": 1, "4.2": 2}
# Taken and without an effect: nothing is cached here, transfers have the server's largest size, TCP is all there is.
_IGNORED = frozenset({
    "hard", "fg", "auto", "noauto", "user", "nouser", "users", "owner", "group", "defaults", "_netdev", "nofail",
    "cto", "nocto", "ac", "noac", "lock", "nolock", "acl", "noacl", "rdirplus", "nordirplus", "intr", "nointr", "tcp",
    "sharecache", "nosharecache", "resvport", "fsc", "nofsc", "migration", "nomigration", "silent", "loud",
})  # fmt: skip
_IGNORED_WITH_VALUE = frozenset({
    "rsize", "wsize", "acregmin", "acregmax", "acdirmin", "acdirmax", "actimeo", "retrans", "bg", "lookupcache",
    "clientaddr", "comment", "local_lock", "nconnect", "max_connect", "mountport", "mountproto", "mountvers", "write",
})  # fmt: skip
_SOURCE = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:]+)\]|(?P<host>[^:/\[\]]+)):(?P<path>/.*|)")


class Usage(ValueError):
    """The command line is wrong; the text says how."""


@dataclass
class Mount:
    """What is to be mounted where. retry: seconds; soft: seconds until an operation fails, 0 for a hard mount."""

    source: str
    target: str
    host: str
    path: str
    minor: int = 2
    port: int = 2049
    privileged: bool = True
    retry: float = 120.0
    soft: float = 0.0
    flags: int = 0
    fake: bool = False


def parse(arguments: list[str]) -> Mount:
    """Read the words after mount.nfs; Usage if they cannot be followed."""
    words, given, fake = [], [], False
    rest = iter(arguments)
    for word in rest:
        if word in ("-o", "-t"):
            value = next(rest, None)
            if value is None:
                raise Usage(f"option {word} needs a value")
            given += value.split(",") if word == "-o" else []
        elif word.startswith("-o") and len(word) > 2:
            given += word[2:].split(",")
        elif word.startswith("-") and set(word[1:]) <= set("fnrsvw"):
            fake = fake or "f" in word
            given += ["ro"] * ("r" in word) + ["rw"] * ("w" in word)
        elif word.startswith("-"):
            raise Usage(f"unknown option {word}")
        else:
            words.append(word)
    if len(words) != 2:
        raise Usage("usage: mount.nfs SERVER:/PATH DIRECTORY [-rvnsfw] [-o OPTIONS]")
    match = _SOURCE.fullmatch(words[0])
    if not match:
        raise Usage(f"{words[0]} is not SERVER:/PATH")
    mount = Mount(words[0], words[1], match["six"] or match["host"], match["path"] or "/", fake=fake)
    for option in filter(None, given):
        _apply(mount, option)
    return mount


def _apply(mount: Mount, option: str) -> None:
    name, _, value = option.partition("=")
    if name in _FLAGS and not value:
        bit, on = _FLAGS[name]
        mount.flags = mount.flags | bit if on else mount.flags & ~bit
    elif name in ("nfsvers", "vers") or option in ("v4.1", "v4.2"):
        mount.minor = _minor(value or name[1:])
    elif name == "minorversion":
        mount.minor = _minor(f"4.{value}")
    elif name == "port":
        mount.port = _number(option, value) or 2049
    elif name == "retry":
        mount.retry = 60.0 * _number(option, value)  # nfs(5): minutes
    elif name == "noresvport":
        mount.privileged = False
    elif name in ("soft", "softerr"):
        mount.soft = mount.soft or 180.0  # three times timeo=600
    elif name == "timeo":
        mount.soft = 0.3 * _number(option, value) if mount.soft else 0.0  # tenths of a second, three attempts
    elif (name == "proto" and value not in ("tcp", "tcp6")) or (name == "sec" and value != "sys"):
        raise Usage(f"{option} is more than this stand-in for the kernel's NFS client can: it speaks TCP with sec=sys")
    elif name not in _IGNORED | _IGNORED_WITH_VALUE | {"proto", "sec"}:
        raise Usage(f"an incorrect mount option was specified: {option}")


def _minor(version: str) -> int:
    if version not in _VERSIONS:
        raise Usage(f"requested NFS version {version}: this stand-in for the kernel's NFS client speaks 4.1 and 4.2")
    return _VERSIONS[version]


def _number(option: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise Usage(f"{option} needs a number")
    return int(value)

"""A VM's identity: name, addresses, login key and package sources, passed at boot.

It is a tar in QEMU's fw_cfg that a unit in the image unpacks: setting up a machine takes no login, and all machines
share one image.
"""

import io
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from provisioner.lab.spec import PREFIX, PREFIX6, VmSpec

MIRROR_KEYRING = "/usr/share/keyrings/lab-mirror.asc"
_VAGRANT = 1000


@dataclass(frozen=True)
class Sources:
    """The package sources of a machine: one-line entries, and the key file that verifies them, if not Debian's."""

    lines: tuple[str, ...]
    key: Path | None = None


def mirror_sources(url: str, key: Path, suite: str = "bookworm") -> Sources:
    """Return the only source of a machine that can reach only the lab's mirror."""
    return Sources((f"deb [signed-by={MIRROR_KEYRING}] {url} {suite} main",), key)


def deb822(line: str) -> str:
    """Return a one-line source as the stanza that Debian has as its default since 13 (sources.list(5))."""
    match = re.fullmatch(r"deb \[signed-by=(\S+)\] (\S+) (\S+) (.+)", line)
    assert match
    keyring, uri, suite, components = match.groups()
    return f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {components}\nSigned-By: {keyring}\n"


def archive(vm: VmSpec, public_key: str, sources: Sources) -> bytes:
    """Return the identity archive of a machine as tar bytes, with paths relative to its root directory."""
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {vm.name}\n::1 localhost ip6-localhost ip6-loopback\n"
    segment = f"auto eth1\niface eth1 inet static\n  address {vm.address}/{PREFIX}\n"
    if vm.address6:
        segment += f"iface eth1 inet6 static\n  address {vm.address6}/{PREFIX6}\n  dad-attempts 0\n"
    second = f"auto eth2\niface eth2 inet static\n  address {vm.second}/{PREFIX}\n"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, "etc/hostname", vm.name + "\n")
        _add(tar, "etc/hosts", hosts)
        _add(tar, "etc/network/interfaces.d/eth1", segment)
        if vm.second:
            _add(tar, "etc/network/interfaces.d/eth2", second)
        if vm.os == "debian12":
            _add(tar, "etc/apt/sources.list", "".join(line + "\n" for line in sources.lines))
        else:
            _add(tar, "etc/apt/sources.list", "")
            _add(tar, "etc/apt/sources.list.d/debian.sources", "\n".join(map(deb822, sources.lines)))
        if sources.key:
            _add(tar, MIRROR_KEYRING.lstrip("/"), sources.key.read_text())
        _add(tar, "home/vagrant/.ssh", None, mode=0o700, owner=_VAGRANT)
        _add(tar, "home/vagrant/.ssh/authorized_keys", public_key, mode=0o600, owner=_VAGRANT)
    return out.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: str | None, mode: int = 0o644, owner: int = 0) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid = mode, owner, owner
    if content is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
        return
    data = content.encode()
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))

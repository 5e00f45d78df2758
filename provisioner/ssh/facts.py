"""Facts: the state of a host, read in one round trip, as typed, frozen values. Steps decide by facts alone.

facts_script.py writes the script that reads them; facts_parser.py parses its output.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FactQuery:
    """The facts that a step needs from a host; queries are combined so that one round trip answers all steps.

    files: absolute paths or shell globs to read with content, up to 256 KiB each. exists: the same, but existence,
    mode and owner only. disks: paths whose file system's free space is read. links: paths of which it is read whether
    they are symbolic links; the others are followed.
    """

    files: tuple[str, ...] = ()
    exists: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()
    links: tuple[str, ...] = ()

    def __or__(self, other: FactQuery) -> FactQuery:
        """Return the union of two queries without duplicates."""
        return FactQuery(
            *(
                tuple(dict.fromkeys(getattr(self, name) + getattr(other, name)))
                for name in ("files", "exists", "packages", "units", "sysctls", "disks", "links")
            )
        )


@dataclass(frozen=True)
class File:
    """A path on a host. content: text; None for a directory, a file over 256 KiB or one that is not UTF-8.

    mtime: modification time, Unix time by the host's clock.
    """

    exists: bool
    mode: int = 0
    owner: str = ""
    content: str | None = None
    is_dir: bool = False
    sha256: str = ""
    mtime: float = 0.0

    def __repr__(self) -> str:  # content may be secret, and a repr ends up in logs and assertion messages
        return f"File(exists={self.exists}, mode={self.mode:04o}, owner={self.owner!r}, is_dir={self.is_dir})"


@dataclass(frozen=True)
class HostNic:
    """A network interface. addresses: "ip/prefix" of both families; master: its bridge or bond, or empty.

    proxy_arp: whether the kernel answers ARP on it for addresses that it routes elsewhere; None if unknown.
    dad_failed: the addresses that failed duplicate address detection (RFC 4862), which the kernel does not use.
    mtu: in bytes. leased: the addresses that a DHCP server or router gave for a time.
    """

    name: str
    mac: str
    up: bool
    addresses: tuple[str, ...]
    master: str = ""
    proxy_arp: bool | None = None
    dad_failed: tuple[str, ...] = ()
    mtu: int = 1500
    leased: tuple[str, ...] = ()

    def has(self, address: str) -> bool:
        """Return whether the address is assigned to the interface."""
        wanted = ipaddress.ip_address(address)
        return any(ipaddress.ip_interface(own).ip == wanted for own in self.addresses)


@dataclass(frozen=True)
class Package:
    """An installed Debian package."""

    version: str
    held: bool = False


@dataclass(frozen=True)
class Unit:
    """A systemd unit. state: ActiveState/SubState; file: UnitFileState ("enabled", "masked", …, "" for none).

    since: when it last became active, Unix time in whole seconds by the host's clock; 0 for never.
    """

    active: bool
    enabled: bool
    loaded: bool = True
    state: str = ""
    file: str = ""
    since: float = 0.0


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    source: str
    fstype: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class HostFacts:
    """The facts of a host.

    clock: its Unix time; clock_skew: seconds it is ahead of this machine. routes: IPv4 network and interface of each
    route but the default one.
    """

    os_id: str
    os_version: str
    codename: str
    arch: str
    kernel: str
    hostname: str
    machine_id: str
    product_uuid: str
    boot_id: str
    cpus: int
    memory_mib: int
    swap: tuple[str, ...]
    cgroup: int
    clock: float
    clock_skew: float
    nics: tuple[HostNic, ...]
    default_nic: str
    default_gateway: str
    listening: frozenset[int]
    disk_free_mib: Mapping[str, int]
    dpkg_interrupted: bool
    files: Mapping[str, File]
    packages: Mapping[str, Package]
    units: Mapping[str, Unit]
    sysctls: Mapping[str, str]
    modules: frozenset[str]
    mounts: Mapping[str, Mount]
    processes: frozenset[str]
    links: frozenset[str] = frozenset()
    routes: tuple[tuple[str, str], ...] = ()

    def address_nic(self, address: str) -> HostNic | None:
        """Return the interface with the given address, or None."""
        return next((nic for nic in self.nics if nic.has(address)), None)

    def nic(self, name: str) -> HostNic | None:
        """Return the interface with the given name, or None."""
        return next((nic for nic in self.nics if nic.name == name), None)

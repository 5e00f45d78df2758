"""Prepare a machine for the kubelet: kernel modules, sysctls, swap off, packages that every node needs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatchcase

from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import file, packages
from provisioner.kube import Cluster
from provisioner.site import Site, proxy
from provisioner.ssh import FactQuery, Host
from provisioner.steps import kernel_settings
from provisioner.text import unified_diff

MODULES = ("overlay", "br_netfilter")
MODULES_FILE = "/etc/modules-load.d/provisioner.conf"
# kubernetes.io, "Container Runtimes": forwarding, and iptables for bridged packets.
SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.bridge.bridge-nf-call-ip6tables": "1",
}
SYSCTL_FILE = "/etc/sysctl.d/90-provisioner.conf"
FSTAB = "/etc/fstab"
# Units that turn swap on by themselves, on multi-user.target: of Raspberry Pi OS, Debian's zram-tools, Ubuntu's
# zram-config. Units of systemd-zram-generator and of partitions come through swap.target, which is masked.
SWAP_UNITS = ("dphys-swapfile.service", "zramswap.service", "zram-config.service")
APT_PROXY = "/etc/apt/apt.conf.d/90provisioner-proxy"
UNIT_FILES = "/etc/systemd/system/*.service"
WANTED = "/etc/systemd/system/*.wants/*.service"
SERVER_PACKAGE = "nfs-kernel-server"
# nfs-common on every node: if one lacks mount.nfs, the pods there wait for their volumes without a clear error.
PACKAGES = ("ca-certificates", "curl", "conntrack", "ebtables", "ethtool", "iptables", "nfs-common", "socat")


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the modules, sysctls, swap and packages to change."""
    del cluster
    facts = host.facts
    yield from file(host, MODULES_FILE, "".join(f"{name}\n" for name in MODULES))
    missing = [name for name in MODULES if name not in facts.modules]
    if missing:
        yield Change(f"load {', '.join(missing)}", lambda: _run(host, f"modprobe -a {' '.join(missing)}"))
    yield from file(host, SYSCTL_FILE, "".join(f"{name} = {value}\n" for name, value in SYSCTLS.items()))
    wrong = {name: value for name, value in SYSCTLS.items() if facts.sysctls.get(name) != value}
    if wrong:
        diff = "".join(f"- {name} = {facts.sysctls.get(name, '')}\n+ {name} = {wrong[name]}\n" for name in wrong)
        yield Change(f"set {', '.join(wrong)}", lambda: _run(host, f"sysctl -q -p {SYSCTL_FILE}"), diff)
    yield from kernel_settings.changes(host, site)
    yield from _no_swap(host)
    yield from _apt_proxy(host, site)
    yield from packages(host, packages_of(host))


def packages_of(host: Host) -> tuple[str, ...]:
    """Return the packages that a host needs, the NFS server's included; installed now, before the host is busy."""
    serves = host.site.nfs.enabled and host.name == host.site.nfs_server.name
    return (*PACKAGES, SERVER_PACKAGE) if serves else PACKAGES


def _no_swap(host: Host) -> Iterator[Change]:
    for name in _swap_units(host):
        command = f"systemctl disable --quiet --now {shlex.quote(name)}"
        yield Change(f"disable {name}, which turns swap on at boot", lambda command=command: _run(host, command))  # type: ignore[misc]
    if host.facts.swap:
        # Besides fstab, units, partitions with the swap type and zram enable swap at boot, all through this target
        # (systemd.special(7)). Masked first: after a kill in between, swap is still on and the plan shows it.
        command = "systemctl mask --quiet swap.target && swapoff -a"
        yield Change(f"turn swap off, also at boot ({', '.join(host.facts.swap)})", lambda: _run(host, command))
    now = host.facts.files.get(FSTAB)
    old = (now.content if now is not None else None) or ""
    new = "".join(_without_swap(line) for line in old.splitlines(keepends=True))
    if new != old:
        mode = now.mode if now is not None else 0o644
        yield Change(
            "comment swap out in /etc/fstab", lambda: host.put(FSTAB, new, mode=mode), unified_diff(FSTAB, old, new)
        )


def _apt_proxy(host: Host, site: Site) -> Iterator[Change]:
    """Yield the file that tells apt of the proxy, or its removal."""
    wanted, now = proxy.apt_settings(site), host.facts.files[APT_PROXY]
    if wanted:
        yield from file(host, APT_PROXY, wanted)
    elif now.exists:
        diff = unified_diff(APT_PROXY, now.content or "", "")
        yield Change(f"remove {APT_PROXY}", lambda: _run(host, f"rm -f {APT_PROXY}"), diff)


def _swap_units(host: Host) -> list[str]:
    """Return the units that turn swap on at boot: known ones, and the operator's own whose file runs swapon."""
    facts = host.facts
    known = [name for name in SWAP_UNITS if facts.units[name].enabled or facts.units[name].active]
    wanted = {path.rpartition("/")[2] for path, file_ in facts.files.items() if ".wants/" in path and file_.exists}
    own = [
        path.rpartition("/")[2]
        for path, file_ in facts.files.items()
        if fnmatchcase(path, UNIT_FILES) and "/swapon " in f"{_started_by(file_.content or '')} "
    ]
    return list(dict.fromkeys([*known, *(name for name in own if name in wanted)]))


def _started_by(unit_file: str) -> str:
    """Return the commands that a unit starts, each program by a path."""
    lines = re.findall(r"^Exec(?:Start|StartPre|StartPost)=[-@:+!]*(.*)$", unit_file, re.MULTILINE)
    return " ".join(f"/{word.lstrip('/')}" for line in lines for word in re.split(r"[\s;&\"']+", line))


def _without_swap(line: str) -> str:
    fields = line.split()
    is_swap = len(fields) > 2 and not fields[0].startswith("#") and fields[2] == "swap"
    return f"#{line}" if is_swap else line


def _run(host: Host, command: str) -> None:
    host.run(command, timeout=60)


STEP = Step(
    name="prepare",
    summary="kernel modules, sysctls, swap off, packages",
    scope=Scope.ALL,
    changes=changes,
    query=lambda site: (
        FactQuery(
            files=(MODULES_FILE, SYSCTL_FILE, kernel_settings.FILE, FSTAB, UNIT_FILES, APT_PROXY),
            exists=(WANTED,),
            packages=(*PACKAGES, SERVER_PACKAGE),
            units=SWAP_UNITS,
            sysctls=tuple(SYSCTLS),
        )
        | kernel_settings.QUERY
    ),
)

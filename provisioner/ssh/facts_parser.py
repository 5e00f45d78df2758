"""Parse the output of the facts script into HostFacts."""

from __future__ import annotations

import hashlib
import io
import ipaddress
import json
import math
import re
import secrets
import shlex
import tarfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from provisioner.ssh import facts_script
from provisioner.ssh.facts import FactQuery, File, HostFacts, HostNic, Mount, Package, Unit


def new_token() -> str:
    """Return a random section marker, which no file on a host contains by accident."""
    return secrets.token_hex(16)


def parse(query: FactQuery, token: str, output: bytes, sent: float, received: float) -> HostFacts:
    """Parse the output of `facts_script.script(query, token)`.

    sent, received: this machine's Unix time before the script was sent and when its first output arrived.
    Raises ValueError if the output is truncated or malformed.
    """
    sections = facts_script.split(output, token)
    if "disks" not in sections:
        raise ValueError("the output of the facts script is truncated")
    proc = _proc(sections["proc"])
    release = _release(proc.get("/etc/os-release", []))
    packages, arch = _packages(_text(sections, "packages"))
    mounts = _mounts(proc.get("/proc/mounts", []))
    clock = _finite(sections["clock"])
    processes = frozenset(_text(sections, "processes").split())
    gateway, nic = _default_route(proc)
    memory = next((line.split()[1] for line in proc.get("/proc/meminfo", []) if line.startswith("MemTotal")), "0")
    sysctls = {name: proc.get(facts_script.sysctl_path(name)) for name in query.sysctls}
    return HostFacts(
        os_id=release.get("ID", ""),
        os_version=release.get("VERSION_ID", ""),
        codename=release.get("VERSION_CODENAME", ""),
        arch=arch,
        kernel=_first(proc, "/proc/sys/kernel/osrelease"),
        hostname=_first(proc, "/proc/sys/kernel/hostname"),
        machine_id=_first(proc, "/etc/machine-id"),
        product_uuid=_first(proc, "/sys/class/dmi/id/product_uuid").lower(),
        boot_id=_first(proc, "/proc/sys/kernel/random/boot_id"),
        cpus=_cpus(_first(proc, "/sys/devices/system/cpu/online")),
        memory_mib=int(memory) // 1024,
        swap=tuple(line.split()[0] for line in proc.get("/proc/swaps", [])[1:]),
        cgroup=2 if "/sys/fs/cgroup" in mounts and mounts["/sys/fs/cgroup"].fstype == "cgroup2" else 1,
        clock=clock,
        clock_skew=clock - (sent + received) / 2,
        nics=_nics(_text(sections, "nics"), proc),
        default_nic=nic,
        default_gateway=gateway,
        listening=frozenset(
            int(line.split()[1].rpartition(":")[2], 16) for line in _text(sections, "listening").splitlines() if line
        ),
        disk_free_mib=_disks(_text(sections, "disks"), (*facts_script.DISKS, *query.disks)),
        # While dpkg is running (unattended-upgrades, say), half-installed packages are not an interruption.
        dpkg_interrupted=bool(_text(sections, "dpkg").strip()) and "dpkg" not in processes,
        files=_files(query, sections, proc),
        packages=packages,
        units=_units(query.units, _text(sections, "units")),
        sysctls={name: "\n".join(lines).strip() for name, lines in sysctls.items() if lines is not None},
        modules=_modules(_text(sections, "modules"), proc),
        mounts=mounts,
        processes=processes,
        routes=_routes(proc.get("/proc/net/route", [])[1:]),
        links=frozenset(filter(None, (each.strip("\n") for each in _text(sections, "links").split("\0")))),
    )


def _finite(number: bytes | str) -> float:
    """Return a number; raise ValueError for NaN and infinity, with which no step could calculate."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a time")
    return value


def _text(sections: Mapping[str, bytes], name: str) -> str:
    return sections.get(name, b"").decode(errors="replace")


def _proc(body: bytes) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for line in body.decode(errors="replace").split("\n"):
        path, nul, text = line.partition("\0")
        if nul:
            files.setdefault(path, []).append(text)
    return files


def _first(proc: Mapping[str, list[str]], path: str) -> str:
    return proc.get(path, [""])[0].strip()


def _release(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {key: "".join(shlex.split(value)) for key, _, value in pairs}


def _cpus(online: str) -> int:
    """Count the CPUs in a kernel CPU list such as "0-3,6"."""
    count = 0
    for part in filter(None, online.split(",")):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


def _modules(text: str, proc: Mapping[str, list[str]]) -> frozenset[str]:
    """Return the kernel's modules, loaded or built in.

    A built-in one without parameters or version is not in /sys/module (kernel/params.c). overlay and br_netfilter are
    therefore also recognized by what they provide.
    """
    found = set(text.split())
    if facts_script.BRIDGE_NETFILTER in proc:
        found.add("br_netfilter")
    if any(line.split()[-1:] == ["overlay"] for line in proc.get("/proc/filesystems", ())):
        found.add("overlay")
    return frozenset(found)


def _mounts(lines: list[str]) -> dict[str, Mount]:
    mounts = {}
    for line in lines:
        source, target, fstype, options = (
            re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), word) for word in line.split()[:4]
        )
        mounts[target] = Mount(source, fstype, tuple(options.split(",")))
    return mounts


def _default_route(proc: Mapping[str, list[str]]) -> tuple[str, str]:
    """Return gateway and interface of the IPv4 default route, else of the IPv6 one (proc(5), net/ipv6/route.c)."""
    routes = []
    for line in proc.get("/proc/net/route", [])[1:]:
        nic, destination, gateway, _, _, _, metric, mask, *_ = line.split()
        if destination == mask == "00000000":
            # The kernel prints network-order bytes as a host-order number: little endian on supported machines.
            address = ipaddress.IPv4Address(bytes.fromhex(gateway)[::-1])
            routes.append((int(metric), str(address) if int(gateway, 16) else "", nic))
    if not routes:
        for line in proc.get("/proc/net/ipv6_route", []):
            fields = line.split()
            if fields[0] == "0" * 32 and fields[1] == "00" and fields[9] != "lo":
                via = ipaddress.IPv6Address(bytes.fromhex(fields[4]))
                routes.append((int(fields[5], 16), str(via) if int(fields[4], 16) else "", fields[9]))
    _, gateway, nic = min(routes, default=(0, "", ""))
    return gateway, nic


def _routes(lines: list[str]) -> tuple[tuple[str, str], ...]:
    """Return network and interface of each line of /proc/net/route but the default ones'."""
    found = []
    for line in lines:
        nic, destination, _, _, _, _, _, mask, *_ = line.split()
        if mask != "00000000":
            address, bits = (ipaddress.IPv4Address(bytes.fromhex(word)[::-1]) for word in (destination, mask))
            found.append((str(ipaddress.ip_network(f"{address}/{bits}", strict=False)), nic))
    return tuple(found)


def _nics(text: str, proc: Mapping[str, list[str]]) -> tuple[HostNic, ...]:
    entries: list[dict[str, Any]] = json.loads(text) if text.strip() else []
    return tuple(
        HostNic(
            name=entry["ifname"],
            mac=entry.get("address", ""),
            up="UP" in entry.get("flags", ()),
            addresses=_addresses(entry),
            master=entry.get("master", ""),
            proxy_arp=_proxy_arp(entry["ifname"], proc),
            dad_failed=_addresses(entry, "dadfailed"),
            mtu=int(entry.get("mtu", 1500)),
            leased=_addresses(entry, "dynamic"),
        )
        for entry in entries
        if entry.get("ifname")
    )


def _addresses(entry: Mapping[str, Any], flag: str = "") -> tuple[str, ...]:
    """Return an interface's addresses with prefix lengths; with `flag`, only those that ip(8) shows with it."""
    own = (each for each in entry.get("addr_info", ()) if "local" in each and (not flag or each.get(flag)))
    return tuple(f"{each['local']}/{each['prefixlen']}" for each in own)


def _proxy_arp(nic: str, proc: Mapping[str, list[str]]) -> bool | None:
    """Return whether proxy ARP is on for an interface: its own sysctl or that of `all` (Linux, IN_DEV_PROXY_ARP)."""
    sysctls = [_first(proc, f"/proc/sys/net/ipv4/conf/{name}/proxy_arp") for name in (nic, "all")]
    return "1" in sysctls if any(sysctls) else None


def _packages(text: str) -> tuple[dict[str, Package], str]:
    """Return the installed packages and the host's architecture, which is that of dpkg itself."""
    packages = {}
    arch = ""
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 4:
            continue
        name, version, status, architecture = fields
        if name == "dpkg":
            arch = architecture
        if status[1:2] == "i":
            packages[name] = Package(version, held=status[0] == "h")
    return packages, arch


def _disks(text: str, paths: tuple[str, ...]) -> dict[str, int]:
    """Return free MiB by path; for a path that does not exist, that of its nearest parent."""
    free_at = {}
    for line in text.splitlines()[1:]:
        free, _, path = line.strip().partition(" ")
        if free.isdigit():
            free_at[path.strip()] = int(free)
    candidates = {path: (path, *map(str, PurePosixPath(path).parents)) for path in paths}
    return {
        path: next((free_at[each] for each in parents if each in free_at), 0) for path, parents in candidates.items()
    }


def _units(names: tuple[str, ...], text: str) -> dict[str, Unit]:
    """Return units by their name in the query; systemctl prints one block each, in order, separated by blank lines."""
    blocks = [block for block in text.strip().split("\n\n") if block]
    units = dict.fromkeys(names, Unit(active=False, enabled=False, loaded=False))
    if len(blocks) != len(names):  # the host has no systemd
        return units
    for name, block in zip(names, blocks, strict=True):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        units[name] = Unit(
            active=values.get("ActiveState") in ("active", "reloading"),
            enabled=values.get("UnitFileState") in ("enabled", "enabled-runtime", "static", "alias", "generated"),
            loaded=values.get("LoadState") == "loaded",
            state=f"{values.get('ActiveState', '')}/{values.get('SubState', '')}",
            file=values.get("UnitFileState", ""),
            since=_timestamp(values.get("ActiveEnterTimestamp", "")),
        )
    return units


def _timestamp(text: str) -> float:
    """Return the Unix time of systemd's "Sun 2026-11-22 15:52:11 UTC"; 0 for an empty string."""
    if not text:
        return 0.0
    return datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC).timestamp()


def _files(query: FactQuery, sections: Mapping[str, bytes], proc: Mapping[str, list[str]]) -> dict[str, File]:
    found: dict[str, File] = {
        path: File(exists=False) for path in (*query.files, *query.exists) if not set("*?[") & set(path)
    }
    contents = _contents(sections.get("contents", b""))
    large = dict(
        (path, digest.lstrip("\\"))
        for digest, _, path in (entry.partition("  ") for entry in _text(sections, "large").split("\0") if entry)
    )
    for entry in sections.get("paths", b"").decode(errors="surrogateescape").split("\0"):
        if not entry.strip("\n"):
            continue
        kind, mode, owner, mtime, path = entry.split(" ", 4)
        body = contents.get(path)
        if facts_script.is_pseudo(path) and path in proc:
            body = "".join(f"{line}\n" for line in proc[path]).encode()
        found[path] = File(
            exists=True,
            mode=int(mode, 8),
            owner=owner,
            content=_decode(body),
            is_dir=kind == "d",
            sha256=hashlib.sha256(body).hexdigest() if body is not None else large.get(path, ""),
            mtime=_finite(mtime),
        )
    return found


def _contents(body: bytes) -> dict[str, bytes]:
    if not body:
        return {}
    contents = {}
    # Never compressed, and no member larger than asked for: a few bytes must not become gigabytes.
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.size <= facts_script.MAX_CONTENT else None
            if stream is not None:
                contents[member.name if member.name.startswith("/") else "/" + member.name] = stream.read()
    return contents


def _decode(body: bytes | None) -> str | None:
    if body is None:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None

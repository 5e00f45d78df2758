"""The shell script that reads a host's facts: POSIX sh and Debian's essential packages, nothing else on the node.

It runs in one SSH round trip. A fork and exec costs some 10 ms on an emulated machine, so each kind of fact takes
one process for all names: `grep -HZ` prints many small files of /proc at once; `tar` carries all file contents,
8-bit clean, and comes last.
"""

from __future__ import annotations

import re
import shlex

from provisioner.ssh.facts import FactQuery

MAX_CONTENT = 256 * 1024  # bytes; only the SHA-256 of larger files is read

BRIDGE_NETFILTER = "/proc/sys/net/bridge/bridge-nf-call-iptables"
PROC = (
    "/etc/os-release",
    "/etc/machine-id",
    "/proc/meminfo",
    "/proc/swaps",
    "/proc/net/route",
    "/proc/net/ipv6_route",
    "/proc/mounts",
    "/proc/sys/kernel/random/boot_id",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/osrelease",
    "/sys/class/dmi/id/product_uuid",
    "/sys/devices/system/cpu/online",
    "/proc/sys/net/ipv4/conf/*/proxy_arp",  # one small file per interface
    "/proc/filesystems",
    BRIDGE_NETFILTER,
)
PROCESSES = ("kubeadm", "kubelet", "apt-get", "dpkg", "containerd", "etcd", "kube-apiserver")
DISKS = ("/", "/var/lib")
UNIT_PROPERTIES = "Id,LoadState,ActiveState,SubState,UnitFileState,ActiveEnterTimestamp"


def script(query: FactQuery, token: str) -> str:
    """Return the script for a query; each section of its output starts with the line `@token name`."""
    pseudo = [path for path in query.files if is_pseudo(path)]
    real = [path for path in query.files if not is_pseudo(path)]
    # Each path once: grep prints a file as often as it is named.
    grep = " ".join(dict.fromkeys([*PROC, *map(sysctl_path, query.sysctls), *map(_glob, pseudo)]))
    comms = " ".join(f"-e {name}" for name in PROCESSES)
    packages = " ".join(map(shlex.quote, ("dpkg", *query.packages)))
    disks = " ".join(map(shlex.quote, dict.fromkeys((*DISKS, *query.disks))))
    sections = [
        ("clock", "date +%s.%N"),
        ("proc", f"grep -asHZ '' {grep}"),
        ("listening", "grep -sh ' 0A ' /proc/net/tcp /proc/net/tcp6"),
        ("processes", f"grep -sxhF {comms} /proc/[0-9]*/comm"),
        # Unlike /proc/modules, /sys/module also lists built-in modules, if they have parameters or a version.
        ("modules", "cd /sys/module && echo *"),
        ("nics", "ip -j address"),
        (
            "packages",
            r"dpkg-query -W -f '${Package}\t${Version}\t${db:Status-Abbrev}\t${Architecture}\n' " + packages,
        ),
        (
            "dpkg",
            'set -- /var/lib/dpkg/updates/*; if [ -e "$1" ]; then echo interrupted; else '
            "grep -m1 -E '^Status: [a-z]+ [a-z-]+ (half-|unpacked|triggers-pending)' /var/lib/dpkg/status; fi",
        ),
        ("disks", f"df -m --output=avail,file -- {disks}"),
    ]
    if query.units:
        units = " ".join(map(shlex.quote, query.units))
        sections.append(("units", f"TZ=UTC systemctl show --property={UNIT_PROPERTIES} -- {units}"))
    patterns = " ".join(map(_glob, dict.fromkeys((*query.files, *query.exists))))
    if patterns:
        sections.append(("paths", rf"find -L {patterns} -maxdepth 0 -printf '%y %m %u:%g %T@ %p\0'"))
    if query.links:
        links = " ".join(map(shlex.quote, query.links))
        sections.append(("links", rf"find -P {links} -maxdepth 0 -type l -printf '%p\0'"))
    if real:
        paths = " ".join(map(_glob, real))
        find = f"find -L {paths} -maxdepth 0 -type f"
        sections.append(("large", f"{find} -size +{MAX_CONTENT}c -exec sha256sum -z {{}} +"))
        # tar refuses an empty list; the section is then empty, as it should be.
        tar = "tar --null -T - --no-recursion -h -P -c -f -"
        sections.append(("contents", f"{find} -size -{MAX_CONTENT + 1}c -print0 | {tar}"))
    lines = [f"printf '\\n@{token} {name}\\n'; {command}" for name, command in sections]
    # Any command may fail (a missing file, an unknown package): absence is a fact too.
    return "set +e\nexec 2>/dev/null\n" + "\n".join(lines) + "\nexit 0\n"


def split(output: bytes, token: str) -> dict[str, bytes]:
    """Split the script's output into its sections, by name."""
    parts = output.split(f"\n@{token} ".encode())[1:]
    sections = {}
    for part in parts:
        name, _, body = part.partition(b"\n")
        sections[name.decode()] = body
    return sections


def is_pseudo(path: str) -> bool:
    """Return whether a path is in /proc or /sys, where files report no true size, so that tar cannot archive them."""
    return path.startswith(("/proc/", "/sys/"))


def sysctl_path(name: str) -> str:
    """Return the path of a sysctl; dots and slashes are swapped, as in sysctl(8)."""
    return "/proc/sys/" + name.translate(str.maketrans("./", "/."))


def _glob(path: str) -> str:
    """Quote a path for the shell, except for the wildcards `*`, `?` and `[...]`."""
    return "".join(
        part if part in ("*", "?", "[", "]") else shlex.quote(part) for part in re.split(r"([*?\[\]])", path) if part
    )

"""Part of the step preflight: single-board computers, guests and containers, their disks, clocks and resolvers."""

from __future__ import annotations

import ipaddress
import secrets
import shlex
from collections.abc import Iterator

from provisioner.site import Site
from provisioner.ssh import FactQuery, Host, HostFacts
from provisioner.text import join_words

CONTROLLERS = "/sys/fs/cgroup/cgroup.controllers"
CONTROLLERS_V1 = "/proc/cgroups"
CONTAINER = "/run/systemd/container"  # which container manager, if any (systemd.io/CONTAINER_INTERFACE)
KMSG = "/dev/kmsg"
RESOLV = "/etc/resolv.conf"
RESOLVED, RESOLVED_CONF = "systemd-resolved.service", "/run/systemd/resolve/resolv.conf"
TIME_UNITS = (
    "systemd-timesyncd.service", "chrony.service", "chronyd.service", "ntp.service", "ntpsec.service", "ntpd.service",
    "openntpd.service",
)  # fmt: skip
# What runs programs from these: dpkg its packages' scripts, containerd the CNI plugins, everything the rest.
EXECUTED = ("/usr", "/opt/cni/bin", "/var/lib/dpkg")
# MiB that a blank machine needs for packages, their download, and images; and a node, enough to avoid eviction.
BLANK_NEEDS = {"/usr": 900, "/var/cache/apt": 300, "/var/lib/containerd": 1500, "/var/lib/kubelet": 372}
NODE_NEEDS = {"/usr": 128, "/var/cache/apt": 128, "/var/lib/containerd": 512, "/var/lib/kubelet": 256}


def query(site: Site) -> FactQuery:
    """Return the facts that this part reads."""
    return FactQuery(
        files=(CONTROLLERS, CONTROLLERS_V1, CONTAINER, RESOLV, RESOLVED_CONF, *filter(None, [_own_resolver(site)])),
        exists=(KMSG,),
        units=(*TIME_UNITS, RESOLVED),
        disks=tuple(BLANK_NEEDS),
    )


def disks(facts: HostFacts, needs: dict[str, int]) -> Iterator[str]:
    """Yield file systems with less free space than what is put on them; paths on the same one share it."""
    by_mount: dict[str, list[str]] = {}
    for path in needs:
        by_mount.setdefault(_mount_of(facts, path), []).append(path)
    for mount, paths in by_mount.items():
        free = min(facts.disk_free_mib[path] for path in paths)
        need = sum(needs[path] for path in paths)
        if free < need:
            yield f"has {free} MiB free on {mount}, needs {need}: free some, or enlarge the disk"


def problems(facts: HostFacts, site: Site) -> Iterator[str]:
    """Yield what keeps a host that is no node yet from becoming one."""
    controllers = (facts.files[CONTROLLERS].content or "").split()
    rows = [line.split() for line in (facts.files[CONTROLLERS_V1].content or "").splitlines()]
    disabled = any(row[0] == "memory" and row[-1] == "0" for row in rows if row)
    if (controllers and "memory" not in controllers) or (facts.cgroup == 1 and disabled):
        yield (
            "has no memory cgroup, which kubelets need: add cgroup_enable=memory cgroup_memory=1 to the kernel's "
            "command line (on a Raspberry Pi in /boot/firmware/cmdline.txt) and reboot"
        )
    manager = (facts.files[CONTAINER].content or "").strip()
    if manager and not facts.files[KMSG].exists:
        yield (
            f"is a container ({manager}) without {KMSG}, which kubelets read: use a virtual machine, or a privileged "
            "container that has it"
        )
    for path in EXECUTED:
        mount = facts.mounts.get(_mount_of(facts, path))
        if mount is not None and "noexec" in mount.options:
            where = _mount_of(facts, path)
            yield (
                f"has {where} mounted noexec, but runs programs from {path}: sudo mount -o remount,exec {where}, and "
                "take noexec out of /etc/fstab"
            )
    resolver = _resolver(facts, site)
    local = [server for server in _words(facts, resolver, "nameserver") if _is_loopback(server)]
    if local:
        yield (
            f"asks {join_words(local)} for names ({resolver}), which inside a pod is the pod itself: write the "
            "servers behind it into a file on every host and name that under [kubeadm] in hosts.toml: "
            "kubelet_configuration = "
            '{ resolvConf = "/etc/resolv.upstream.conf" }'
        )


def notes(host: Host, site: Site) -> Iterator[str]:
    """Yield what does not keep a host from becoming a node, but may break one later."""
    facts = host.facts
    nic = facts.address_nic(host.spec.address)
    if nic is not None and any(str(ipaddress.ip_interface(text).ip) == host.spec.address for text in nic.leased):
        yield (
            f"{host.spec.address} is a lease; a node must keep its address: reserve it on the DHCP server or "
            f"configure it on {nic.name}"
        )
    in_container = bool((facts.files[CONTAINER].content or "").strip())
    if not in_container and not any(facts.units[name].active for name in TIME_UNITS):
        yield "no service keeps its clock right: sudo apt-get install systemd-timesyncd"
    resolver = _resolver(facts, site)
    domains = _words(facts, resolver, "search")
    if domains:
        name = f"no-such-host-{secrets.token_hex(4)}"
        asked = " ".join(shlex.quote(f"{name}.{domain}") for domain in domains)
        script = f'for name in {asked}; do getent ahosts "$name" >/dev/null && echo "$name" || true; done'
        answered = host.run(script, timeout=30, check=False).stdout.split()
        for each in answered:
            domain = each.partition(".")[2]
            yield (
                f"{resolver} searches {domain}, where every name has an address, so pods would find no "
                f"other host: take {domain} out of its search line"
            )


def _resolver(facts: HostFacts, site: Site) -> str:
    """Return the file whose servers and domains the kubelet gives to pods, as kubeadm and the site choose it."""
    if own := _own_resolver(site):
        return own
    return RESOLVED_CONF if facts.units[RESOLVED].active else RESOLV


def _own_resolver(site: Site) -> str:
    own = site.kubeadm.kubelet_configuration.get("resolvConf")
    return own if isinstance(own, str) else ""


def _words(facts: HostFacts, path: str, key: str) -> list[str]:
    """Return the words after a key in a resolv.conf(5); of several search lines, the last counts."""
    lines = [line.split() for line in (facts.files[path].content or "").splitlines()]
    found = [words[1:] for words in lines if words and words[0] == key]
    if key == "search":
        return [domain for domain in (found[-1] if found else []) if domain != "."]
    return [word for words in found for word in words[:1]]


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _mount_of(facts: HostFacts, path: str) -> str:
    """Return where the file system that holds a path is mounted."""
    candidates = [target for target in facts.mounts if path == target or path.startswith(f"{target.rstrip('/')}/")]
    return max(candidates, key=len, default="/")

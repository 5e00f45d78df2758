"""From a new process in new namespaces to systemd: mount the node's disk and file systems, become PID 1.

Every mount is made in the node's own mount namespace and ends with it, so the host never has one to clean.
"""

import os
import shutil
import socket
import subprocess
import uuid
from pathlib import Path

from provisioner.lab.containers import cgroups, devices, kernel, nfs, syscalls
from provisioner.lab.containers.cgroups import Hierarchy
from provisioner.lab.containers.launch import Launch

SYSTEMD = "/lib/systemd/systemd"
# The node may not load modules, set the host's clock or reach its memory and ports, include/uapi/linux/capability.h.
_DROPPED = {"CAP_SYS_MODULE": 16, "CAP_SYS_RAWIO": 17, "CAP_SYS_TIME": 25}
_CAP_SYS_RESOURCE = 24
_SAFE = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
# Without CAP_SYS_RESOURCE nobody may ask to be spared by the OOM killer, and runc fails on a pod that does.
RUNC = """\
#!/bin/sh
# Drops negative oomScoreAdj: root on this lab's host lacks CAP_SYS_RESOURCE.
bundle= previous=
for word; do
  case $previous in --bundle|-b) bundle=$word ;; esac
  previous=$word
done
[ ! -f "$bundle/config.json" ] || sed -i 's/"oomScoreAdj": *-[0-9]*/"oomScoreAdj":0/' "$bundle/config.json"
for runc in /usr/sbin/runc /usr/bin/runc; do [ ! -x $runc ] || exec $runc "$@"; done
"""


def boot(launch: Launch, console: str, found: tuple[Hierarchy, ...]) -> None:
    """Become the node's PID 1; this process is alone in its namespaces. console: a tty of the host's, by path."""
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    root = launch.root
    root.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "ext4", "-o", "loop", str(launch.disk), str(root)], check=True)
    cgroups.join(launch.lab, launch.node, found)  # not earlier: the loop device is none of the node's own
    syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    _api_file_systems(root, found)
    syscalls.bind(console, _touched(root / "dev/console"))
    _own_settings(root, launch)
    _give_identity(root, launch)
    os.chdir(root)
    syscalls.pivot_root(".", ".")
    syscalls.detach(".")
    os.chdir("/")
    subprocess.run(["/sbin/depmod"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    for number in _DROPPED.values():
        syscalls.drop_from_bounding_set(number)
    os.execve(SYSTEMD, command(launch, v1=cgroups.is_v1(found)), _environment())


def command(launch: Launch, *, v1: bool) -> list[str]:
    """Return systemd's command line, which stands for the kernel's in a container (kernel-command-line(7))."""
    hierarchy = (
        ["systemd.unified_cgroup_hierarchy=0", "systemd.legacy_systemd_cgroup_controller=1"]
        if v1
        else ["systemd.unified_cgroup_hierarchy=1"]
    )
    return [
        SYSTEMD, f"systemd.machine_id={launch.machine_id.replace('-', '')}", "systemd.show_status=auto",
        "systemd.mask=console-getty.service", "systemd.mask=systemd-remount-fs.service",
        "systemd.mask=systemd-modules-load.service", *hierarchy,
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    return {"container": "lab", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TERM": "dumb"}


def _api_file_systems(root: Path, found: tuple[Hierarchy, ...]) -> None:
    syscalls.mount("proc", f"{root}/proc", "proc", _SAFE)
    syscalls.mount("sysfs", f"{root}/sys", "sysfs", _SAFE | syscalls.MS_RDONLY)
    if any(one.name for one in found):
        syscalls.mount("tmpfs", f"{root}/sys/fs/cgroup", "tmpfs", _SAFE, "mode=755")
    v1 = cgroups.is_v1(found)
    for one in found:
        if v1 and one.version == 2:
            continue  # the node's systemd and container runtime use v1 alone then
        target = Path(f"{root}/sys/fs/cgroup", one.name)
        target.mkdir(exist_ok=True)
        syscalls.mount("cgroup", str(target), "cgroup2" if one.version == 2 else "cgroup", _SAFE, one.options)
    syscalls.mount("tmpfs", f"{root}/dev", "tmpfs", syscalls.MS_NOSUID, "mode=755")
    devices.make(root / "dev")
    syscalls.mount("devpts", f"{root}/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620,gid=5")
    syscalls.mount("tmpfs", f"{root}/dev/shm", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV)
    syscalls.mount("mqueue", f"{root}/dev/mqueue", "mqueue", _SAFE)
    syscalls.mount("tmpfs", f"{root}/run", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755")
    (root / "run/host").mkdir()


def _own_settings(root: Path, launch: Launch) -> None:
    """Leave the host's sysctls readable and the network's writable; give the node its own of some."""
    proc = f"{root}/proc"
    own = root / "run/host/sysctl"
    own.mkdir()
    settings = {name: Path(proc, "sys", name) for name in kernel.OWN_SYSCTLS}
    contents = {name: path.read_text() for name, path in settings.items() if path.exists()}
    contents["kernel/random/boot_id"] = f"{uuid.uuid4()}\n"
    syscalls.bind(f"{proc}/sys", f"{proc}/sys", read_only=True)
    syscalls.bind(f"{proc}/sys/net", f"{proc}/sys/net")
    syscalls.mount("none", f"{proc}/sys/net", flags=syscalls.MS_BIND | syscalls.MS_REMOUNT | _SAFE)
    for name, content in contents.items():
        file = own / name.replace("/", ".")
        file.write_text(content)
        syscalls.bind(str(file), f"{proc}/sys/{name}")
    for name in ("sysrq-trigger", "kcore"):
        if Path(proc, name).exists():
            syscalls.bind("/dev/null", f"{proc}/{name}")
    product = Path("/sys/class/dmi/id/product_uuid")
    if product.exists():
        file = own / "product_uuid"
        file.write_text(f"{launch.machine_id}\n")
        syscalls.bind(str(file), f"{root}{product.resolve()}")


def _give_identity(root: Path, launch: Launch) -> None:
    """Lay the identity down, only when it is new: later edits on the node stay."""
    seen = root / "var/lib/lab/identity.tar"
    if not seen.exists() or seen.read_bytes() != launch.identity.read_bytes():
        subprocess.run(["tar", "-xpf", str(launch.identity), "--numeric-owner", "-C", str(root)], check=True)
        (root / "etc/fstab").write_text("")
        seen.parent.mkdir(exist_ok=True)
        shutil.copyfile(launch.identity, seen)
    if launch.nfs:
        nfs.lay_down(Path(launch.nfs), root)
    socket.sethostname((root / "etc/hostname").read_text().strip())
    kernel.list_modules(root)
    wrapper = root / "usr/local/sbin/runc"
    if not _may_spare_from_oom():
        wrapper.write_text(RUNC)
        wrapper.chmod(0o755)


def _may_spare_from_oom() -> bool:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return bool(int(fields["CapBnd"], 16) >> _CAP_SYS_RESOURCE & 1)


def _touched(path: Path) -> str:
    path.touch()
    return str(path)

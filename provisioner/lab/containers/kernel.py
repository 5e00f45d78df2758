"""The host's kernel as nodes see it: settings that stay the host's, modules that are there already.

Nodes share one kernel. What a kubelet sets on the whole machine is given to it as files of the node's own; what it
loads with modprobe is answered from a list of what the kernel has.
"""

import gzip
import json
import os
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from provisioner.lab.image import Progress
from provisioner.lab.recipe import KERNEL_MODULES
from provisioner.lab.settings import write_text
from provisioner.lab.spec import LabSpec

# Set by the kubelet at its start (setupKernelTunables in pkg/kubelet/cm/container_manager_linux.go).
OWN_SYSCTLS = (
    "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)  # fmt: skip
# Of the VM image's list, what only a virtual machine has or needs.
_OF_VMS = frozenset({"qemu_fw_cfg", "bonding", "dummy", "sch_netem"})
MODULES = tuple(name for name in KERNEL_MODULES if name not in _OF_VMS)
_OPTIONS = {  # module: kernel configuration option, where that is not its name in capitals
    "nfs": "NFS_FS", "nfsv4": "NFS_V4", "br_netfilter": "BRIDGE_NETFILTER", "overlay": "OVERLAY_FS",
    "ip_vs": "IP_VS", "ip_vs_rr": "IP_VS_RR", "xt_comment": "NETFILTER_XT_MATCH_COMMENT", "fuse": "FUSE_FS",
}  # fmt: skip
_RECORD = "modules.json"
_MODULES = Path("/proc/modules")


def built_in(config: str, names: Iterable[str] = MODULES) -> frozenset[str]:
    """Return those of the modules that a kernel of this configuration (text of its .config) has built in."""
    lines = set(config.splitlines())
    return frozenset(name for name in names if f"CONFIG_{_OPTIONS.get(name, name.upper())}=y" in lines)


def configuration() -> str:
    """Read the running kernel's configuration, "" where it is not to be had."""
    try:
        return gzip.decompress(Path("/proc/config.gz").read_bytes()).decode()
    except OSError:
        file = Path(f"/boot/config-{os.uname().release}")
        return file.read_text() if file.exists() else ""


def loaded() -> frozenset[str]:
    """Return the modules that are loaded now."""
    try:
        return frozenset(line.split()[0] for line in _MODULES.read_text().splitlines())
    except FileNotFoundError:  # a kernel without modules
        return frozenset()


def present(names: Iterable[str] = MODULES) -> frozenset[str]:
    """Return those of the modules that the kernel has now, loaded or built in."""
    wanted = tuple(names)
    listed = Path(f"/lib/modules/{os.uname().release}/modules.builtin")
    shipped = {Path(line).stem for line in listed.read_text().split()} if listed.exists() else frozenset()
    return (loaded() | shipped | built_in(configuration(), wanted)) & frozenset(wanted)


def has_nfs() -> bool:
    """Return whether the kernel has an NFS client and an NFS server now, both usable in a network namespace."""
    kinds = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}
    return {"nfs", "nfsd"} <= kinds and _serves_nfs_in_a_namespace()


@cache
def _serves_nfs_in_a_namespace() -> bool:
    mount = ["unshare", "--mount", "--net", "--", "mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd"]
    return subprocess.run(mount, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def load_modules(spec: LabSpec, progress: Progress) -> None:
    """Load what nodes need of the host's modules and record it, so that `unload_modules` restores the host."""
    missing = [name for name in MODULES if name not in present()] if _MODULES.exists() else []
    record = spec.directory / _RECORD
    mine = set(json.loads(record.read_text())) if record.exists() else set()
    for name in missing:
        # Recorded first: killed in between, the lab still unloads it.
        write_text(record, json.dumps(sorted(mine | {name})))
        before = loaded()
        subprocess.run(["modprobe", "-q", name], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if loaded() == before:
            write_text(record, json.dumps(sorted(mine)))
        else:
            mine.add(name)
    if mine:
        progress(f"modules: loaded for the nodes: {', '.join(sorted(mine))}")


def unload_modules(spec: LabSpec) -> None:
    """Unload the modules that `load_modules` loaded, where nothing else uses them."""
    record = spec.directory / _RECORD
    if record.exists():
        for name in json.loads(record.read_text()):
            subprocess.run(["modprobe", "-q", "-r", name], capture_output=True, check=False)
        record.unlink()


def list_modules(root: Path) -> None:
    """Write into the tree at `root` a modules.builtin that names what the kernel has; depmod indexes it."""
    directory = root / "lib/modules" / os.uname().release
    directory.mkdir(parents=True, exist_ok=True)
    names = sorted(present() | loaded())
    (directory / "modules.builtin").write_text("".join(f"kernel/host/{name}.ko\n" for name in names))
    (directory / "modules.order").write_text("")

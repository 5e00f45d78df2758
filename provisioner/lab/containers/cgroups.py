"""A node's cgroups: one of the same name in every hierarchy of the host, v1, v2 or both.

Missing in one hierarchy, nodes share the host's root there, and their kubelets fail on each other's groups. A node
sees, as its root, a cgroup below the one with its limits, so that it cannot lift them.
"""

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab import background
from provisioner.lab.containers import devices

PREFIX = "provisioner-"
_INSIDE = "inside"
END_SECONDS = 20.0
FREEZE_SECONDS = 20.0
_FREEZES = 4  # a process that waits for a FUSE daemon which is frozen already cannot be frozen
# What a kubelet and systemd in a node want of the v2 hierarchy, where it has them.
_V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")


@dataclass(frozen=True)
class Hierarchy:
    """A mounted cgroup hierarchy; `name` is the last part of `path`, `options` as mount(8) takes them for v1."""

    path: Path
    version: int
    options: str = ""

    @property
    def name(self) -> str:
        """The directory below /sys/fs/cgroup; empty where v2 is mounted there itself."""
        return "" if str(self.path) == "/sys/fs/cgroup" else self.path.name

    @property
    def controllers(self) -> frozenset[str]:
        """The controllers of this hierarchy, such as memory."""
        if self.version == 2:
            return frozenset((self.path / "cgroup.controllers").read_text().split())
        return frozenset(self.options.split(",")) - {"none"}


@dataclass(frozen=True)
class Size:
    """What a node gets of its host. memory: the limit in MiB; cpus: its share, beside the `lab_cpus` of all nodes."""

    memory: int
    cpus: int
    lab_cpus: int


def hierarchies(mountinfo: str | None = None) -> tuple[Hierarchy, ...]:
    """List the host's hierarchies, from the text of /proc/self/mountinfo (proc(5))."""
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    found: dict[str, Hierarchy] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        root, path = before.split()[3:5]
        filesystem, _, options = (after.split() + [""] * 3)[:3]
        if root != "/" or not path.startswith("/sys/fs/cgroup"):
            continue
        if filesystem == "cgroup2":
            found[path] = Hierarchy(Path(path), 2)
        elif filesystem == "cgroup":
            found[path] = Hierarchy(Path(path), 1, _v1_options(options))
    return tuple(found.values())


def is_v1(found: Iterable[Hierarchy]) -> bool:
    """Tell whether memory, and so a kubelet, is under cgroup v1 here."""
    return any(one.version == 1 and "memory" in one.controllers for one in found)


def make(lab: str, node: str, size: Size, found: Iterable[Hierarchy]) -> None:
    """Make a node's cgroups."""
    for one in found:
        group = _group(one, lab, node)
        try:
            if one.version == 2:
                _delegate(one, group)
            group.mkdir(parents=True, exist_ok=True)
            if "cpuset" in one.controllers and one.version == 1:
                for directory in (group.parent, group):
                    _inherit_cpuset(directory)
            if "devices" in one.controllers:
                devices.limit(group)
            (group / _INSIDE).mkdir(exist_ok=True)
            if "memory" in one.controllers:
                limit = "memory.limit_in_bytes" if one.version == 1 else "memory.max"
                (group / limit).write_text(f"{size.memory << 20}")
            if "cpu" in one.controllers:
                _weigh(one, group.parent, size.lab_cpus)
                _weigh(one, group, size.cpus)
        except OSError as error:
            raise ProvisionerError(
                f"{node}: cannot make its cgroup {group}: {error.strerror}",
                "the lab needs cgroups that it may write: provisioner lab up --nodes vms",
            ) from error


def join(lab: str, node: str, found: Iterable[Hierarchy]) -> None:
    """Move this process into a node's cgroups."""
    for one in found:
        (_group(one, lab, node) / _INSIDE / "cgroup.procs").write_text("0")


def processes(lab: str, node: str = "") -> tuple[int, ...]:
    """List the process ids in the cgroups of a node, or with node "" of all nodes of the lab."""
    numbers: set[int] = set()
    for one in hierarchies():
        for directory in _below(_group(one, lab, node)):
            with suppress(OSError):
                numbers.update(map(int, (directory / "cgroup.procs").read_text().split()))
    return tuple(sorted(numbers - {0}))


def remove(lab: str, node: str = "") -> None:
    """Kill what runs in a node's cgroups, or with node "" in the lab's, then remove them."""
    thaw(lab, node)
    deadline = time.monotonic() + END_SECONDS
    while numbers := processes(lab, node):
        for number in numbers:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise ProvisionerError(
                f"processes of the lab {lab} do not end: {', '.join(map(str, numbers))}", "provisioner lab destroy"
            )
        time.sleep(0.05)
    for one in hierarchies():
        # A group is busy for a moment after its last process has gone.
        group = _group(one, lab, node)
        if not background.wait_until(lambda group=group: _removed(group), END_SECONDS, pause=0.05):  # type: ignore[misc]
            raise ProvisionerError(f"the cgroup {group} cannot be removed", "provisioner lab destroy")
        if node:
            with suppress(OSError):  # other nodes may be in there
                group.parent.rmdir()


def freeze(lab: str, node: str) -> None:
    """Stop all processes of a node without their noticing; ProvisionerError where the kernel does not manage."""
    file, word = _freezer(lab, node)
    for _ in range(_FREEZES):
        file.write_text(word)
        if background.wait_until(lambda: is_frozen(lab, node), FREEZE_SECONDS / _FREEZES, pause=0.02):
            return
        thaw(lab, node)
    raise ProvisionerError(f"{node}: its processes cannot be frozen", "provisioner lab down, then snapshot it")


def thaw(lab: str, node: str = "") -> None:
    """Let frozen processes go on."""
    for one in hierarchies():
        name, word = ("cgroup.freeze", "0") if one.version == 2 else ("freezer.state", "THAWED")
        if one.version == 2 or "freezer" in one.controllers:
            for directory in _below(_group(one, lab, node)):
                with suppress(OSError):
                    (directory / name).write_text(word)


def is_frozen(lab: str, node: str) -> bool:
    """Tell whether a node's processes are frozen."""
    file, _ = _freezer(lab, node)
    try:
        if file.name == "freezer.state":
            return file.read_text().strip() == "FROZEN"
        return "frozen 1" in (file.parent / "cgroup.events").read_text()
    except FileNotFoundError:
        return False


def _weigh(one: Hierarchy, group: Path, cpus: int) -> None:
    """Give a group the share of the host's processors that so many busy threads outside of it have.

    A group weighs as much as one thread by default, however many threads are in it: on a busy host all nodes together
    would get what one other process gets. VMs have a thread for each processor.
    """
    if one.version == 1:
        (group / "cpu.shares").write_text(f"{1024 * cpus}")
    else:
        (group / "cpu.weight").write_text(f"{min(100 * cpus, 10_000)}")


def _freezer(lab: str, node: str) -> tuple[Path, str]:
    for one in hierarchies():
        if one.version == 1 and "freezer" in one.controllers:
            return _group(one, lab, node) / "freezer.state", "FROZEN"
    for one in hierarchies():
        if one.version == 2:
            return _group(one, lab, node) / "cgroup.freeze", "1"
    raise ProvisionerError("this machine has no cgroup freezer", "provisioner lab up --nodes vms")


def _group(one: Hierarchy, lab: str, node: str) -> Path:
    return one.path / f"{PREFIX}{lab}" / node


def _below(group: Path) -> Iterator[Path]:
    """Yield a cgroup and all below it, the deepest first."""
    for directory, _, _ in os.walk(group, topdown=False):
        yield Path(directory)


def _removed(group: Path) -> bool:
    for directory in _below(group):
        with suppress(OSError):
            directory.rmdir()
    return not group.exists()


def _inherit_cpuset(group: Path) -> None:
    # An empty cpuset takes no processes; children made later inherit by themselves.
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (group / name).read_text().strip():
            (group / name).write_text((group.parent / name).read_text())
    (group / "cgroup.clone_children").write_text("1")


def _delegate(one: Hierarchy, group: Path) -> None:
    for directory in (one.path, group.parent, group):
        directory.mkdir(exist_ok=True)
        for controller in _V2_CONTROLLERS:
            if controller in (directory / "cgroup.controllers").read_text().split():
                (directory / "cgroup.subtree_control").write_text(f"+{controller}")


def _v1_options(options: str) -> str:
    """Keep of a v1 mount's super options what names the hierarchy: controllers and name=."""
    kept = [word for word in options.split(",") if word not in ("rw", "ro", "xattr", "clone_children", "noprefix")]
    kept = [word for word in kept if not word.startswith("release_agent=")]
    return ",".join(["none", *kept] if any(word.startswith("name=") for word in kept) else kept)

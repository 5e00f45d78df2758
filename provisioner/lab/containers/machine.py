"""Machines as system containers."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import provisioner
from provisioner.errors import ProvisionerError
from provisioner.lab import background, network
from provisioner.lab.containers import cgroups, disk, kernel, nfs, syscalls
from provisioner.lab.containers.launch import Launch, write
from provisioner.lab.image import Image, Progress
from provisioner.lab.machine import Machine, State
from provisioner.lab.qemu import machine_uuid
from provisioner.lab.settings import Settings, write_bytes
from provisioner.lab.spec import LabSpec, VmSpec

SUPERVISOR = "provisioner.lab.containers.supervisor"
START_SECONDS = 60.0
_POWER_OFF = signal.SIGRTMIN + 4  # to systemd as PID 1: start poweroff.target (systemd(1), SIGNALS)
_CHECKOUT = Path(provisioner.__file__).resolve().parents[1]


@dataclass(frozen=True)
class Container:
    """A node of a lab."""

    spec: LabSpec
    vm: VmSpec
    image: Image
    uplink: bool

    @property
    def files(self) -> Path:
        """The folder of its disk, snapshots and logs."""
        return self.spec.files(self.vm)

    @property
    def disk(self) -> Path:
        """Its ext4 disk."""
        return self._launch("").disk

    @property
    def log(self) -> Path:
        return self.files / "node.log"

    @property
    def made_of(self) -> str:
        return "container"

    def pid(self) -> int | None:
        return background.pid(self.files, "node", self._marks()) if self.files.is_dir() else None

    def state(self) -> State:
        if self.pid() is None:
            return "lost" if cgroups.processes(self.spec.name, self.vm.name) else "off"
        return "paused" if cgroups.is_frozen(self.spec.name, self.vm.name) else "running"

    def is_stale(self, identity: bytes) -> bool:
        number = self.pid()
        if number is None:
            return False
        uplink = "--uplink" in background.arguments(number)
        return uplink != self.uplink or self._launch("").identity.read_bytes() != identity

    def prepare(self, identity: bytes) -> None:
        disk.make(self.image, self.disk, self.vm.disk)
        write_bytes(self._launch("").identity, identity)

    def start(self) -> None:
        if self.pid() is not None:
            cgroups.thaw(self.spec.name, self.vm.name)
            return
        launch = self._launch(machine_uuid(self.files))
        self._booted.unlink(missing_ok=True)
        argv = [sys.executable, "-m", SUPERVISOR, str(write(launch)), *self._marks()]
        background.start(self.files, "node", [*argv, *(["--uplink"] if self.uplink else [])], _CHECKOUT)
        background.wait_until(lambda: self._booted.exists() or self.pid() is None, START_SECONDS, pause=0.05)
        if not self._booted.exists():
            lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
            last = next((line for line in reversed(lines) if line.strip()), "nothing")
            raise ProvisionerError(
                f"{self.vm.name}: the node did not start; the last line of its log: {last[-300:]}", f"see {self.log}"
            )

    def request_shutdown(self) -> None:
        cgroups.thaw(self.spec.name, self.vm.name)
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(self._booted.read_text()), _POWER_OFF)

    def power_off(self) -> None:
        network.unplug(self.spec.namespace, self.vm.ports)  # nothing that still runs has a wire any more
        number = self.pid()
        if number is not None and not background.kill(number):
            raise ProvisionerError(f"{self.vm.name}: its supervisor {number} does not end", "provisioner lab status")
        cgroups.remove(self.spec.name, self.vm.name)
        (self.files / "node.pid").unlink(missing_ok=True)
        self._booted.unlink(missing_ok=True)

    @property
    def _booted(self) -> Path:
        """Written by the supervisor once systemd runs: the host's number of the node's PID 1."""
        return self.files / "booted"

    def _launch(self, machine_id: str) -> Launch:
        spec, vm = self.spec, self.vm
        return Launch(
            lab=spec.name, node=vm.name, files=str(self.files), machine_id=machine_id, namespace=spec.namespace,
            ports=vm.ports, memory=vm.memory, cpus=vm.cpus, lab_cpus=sum(each.cpus for each in spec.vms),
            uplink=self.uplink, nfs=nfs.made(),
        )  # fmt: skip

    def _marks(self) -> list[str]:
        return [machine_uuid(self.files), "--lab", str(self.spec.run)]


class _Containers:
    own_clocks = False  # Linux has no namespace for the time of day

    def machines(self, spec: LabSpec, settings: Settings) -> tuple[Machine, ...]:
        return tuple(Container(spec, vm, settings.image(vm), settings.uplink) for vm in spec.vms)

    def prepare_host(self, spec: LabSpec, progress: Progress) -> None:
        kernel.load_modules(spec, progress)
        if not kernel.has_nfs():
            nfs.ensure(progress)

    def orphans(self, spec: LabSpec) -> tuple[int, ...]:
        supervisors = (
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _is_supervisor(background.arguments(int(entry.name)), spec)
        )
        return tuple(supervisors)

    def remove(self, spec: LabSpec) -> None:
        cgroups.remove(spec.name)
        kernel.unload_modules(spec)

    def save(self, machines: Sequence[Machine], name: str) -> None:
        """Copy the disks of nodes that stand still; what is only in memory, such as running processes, is not kept."""
        nodes = [_container(machine) for machine in machines]
        try:
            _each(nodes, _sync)
            _each(nodes, lambda node: cgroups.freeze(node.spec.name, node.vm.name))
            _each(nodes, _sync)
            _each(nodes, lambda node: disk.save(node.disk, name))
        except ProvisionerError:
            _each(nodes, lambda node: disk.forget(node.disk, name))
            raise
        finally:
            _each(nodes, lambda node: cgroups.thaw(node.spec.name, node.vm.name))

    def load(self, machines: Sequence[Machine], name: str) -> None:
        """Cut the power of all, put the copies in place and boot: to the nodes, the snapshot was a power cut."""
        nodes = [_container(machine) for machine in machines]
        for step in (
            lambda node: node.power_off(),
            lambda node: disk.load(node.disk, name),
            lambda node: node.start(),
        ):  # type: Callable[[Container], object]
            _each(nodes, step)

    def snapshots(self, machine: Machine) -> tuple[str, ...]:
        return disk.names(_container(machine).disk)


CONTAINERS = _Containers()


def _container(machine: Machine) -> Container:
    assert isinstance(machine, Container)
    return machine


def _is_supervisor(arguments: tuple[str, ...], spec: LabSpec) -> bool:
    return SUPERVISOR in arguments and str(spec.run) in arguments


def _each(nodes: Sequence[Container], call: Callable[[Container], object]) -> None:
    with ThreadPoolExecutor(max_workers=16) as pool:
        for _ in pool.map(call, nodes):
            pass


def _sync(node: Container) -> None:
    """Write the node's file system through to its disk file."""
    number = int((node.files / "booted").read_text())
    syscalls.sync_file_system(f"/proc/{number}/root")

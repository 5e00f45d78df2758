"""Machines as QEMU virtual machines."""

import json
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError
from provisioner.lab import monitor, qemu
from provisioner.lab.image import Progress
from provisioner.lab.machine import Machine, State
from provisioner.lab.monitor import Monitor
from provisioner.lab.settings import Settings
from provisioner.lab.spec import LabSpec, VmSpec

SAVE_SECONDS = 120.0


@dataclass(frozen=True)
class Vm:
    """A virtual machine of a lab."""

    qemu: qemu.Machine

    @property
    def vm(self) -> VmSpec:
        return self.qemu.vm

    @property
    def log(self) -> Path:
        return self.qemu.files / "serial.log"

    @property
    def made_of(self) -> str:
        return self.qemu.accelerator

    def pid(self) -> int | None:
        return qemu.pid(self.qemu.spec, self.vm)

    def state(self) -> State:
        if self.pid() is None:
            return "off"
        if qemu.is_lost(self.qemu.spec, self.vm):
            return "lost"
        return "paused" if qemu.paused(self.qemu.spec, self.vm) else "running"

    def is_stale(self, identity: bytes) -> bool:
        return qemu.is_stale(self.qemu, identity)

    def prepare(self, identity: bytes) -> None:
        qemu.make_disk(self.qemu)
        qemu.write_identity(self.qemu, identity)

    def start(self) -> None:
        if self.pid() is None:
            qemu.start(self.qemu)
        else:
            _monitor(self, lambda qmp: qmp.command("cont"))

    def request_shutdown(self) -> None:
        def press(qmp: Monitor) -> None:
            qmp.command("cont")  # one that an interrupted snapshot has stopped would never hear the button
            qmp.command("system_powerdown")

        _monitor(self, press)

    def power_off(self) -> None:
        qemu.power_off(self.qemu.spec, self.vm)


class _Vms:
    own_clocks = True

    def machines(self, spec: LabSpec, settings: Settings) -> tuple[Machine, ...]:
        assert settings.accelerator is not None
        accelerator = settings.accelerator
        return tuple(
            Vm(qemu.Machine(spec, vm, settings.image(vm), accelerator, settings.uplink, settings.cgroup_v1))
            for vm in spec.vms
        )

    def prepare_host(self, spec: LabSpec, progress: Progress) -> None:
        pass

    def orphans(self, spec: LabSpec) -> tuple[int, ...]:
        return qemu.orphans(spec)

    def remove(self, spec: LabSpec) -> None:
        pass

    def save(self, machines: Sequence[Machine], name: str) -> None:
        """Save memory and disks. All stand still meanwhile: no message is between a saved one and an unsaved one."""
        try:
            _each(machines, lambda qmp: qmp.command("stop"))
            _each(machines, lambda qmp: _human(qmp, f"savevm {name}"))
        except ProvisionerError:
            _each(machines, lambda qmp: qmp.human(f"delvm {name}"))
            raise
        finally:
            _each(machines, lambda qmp: qmp.command("cont"))

    def load(self, machines: Sequence[Machine], name: str) -> None:
        """Start those that are off standing still, straight into their saved state."""
        for machine in machines:
            if machine.state() == "lost":
                machine.power_off()
            if machine.pid() is None:
                qemu.start(_vm(machine).qemu, paused=True)
        _each(machines, lambda qmp: qmp.command("stop"))
        _each(machines, lambda qmp: _human(qmp, f"loadvm {name}"))
        _each(machines, lambda qmp: qmp.command("cont"))

    def snapshots(self, machine: Machine) -> tuple[str, ...]:
        disk = _vm(machine).qemu.disk
        if not disk.exists():
            return ()
        listing = subprocess.run(
            ["qemu-img", "info", "--force-share", "--output=json", str(disk)],
            capture_output=True,
            text=True,
            check=False,
        )
        if listing.returncode != 0:
            raise ProvisionerError(
                f"{machine.vm.name}: its disk cannot be read: {listing.stderr.strip()}", "provisioner lab destroy"
            )
        info: dict[str, Any] = json.loads(listing.stdout)
        return tuple(str(entry["name"]) for entry in info.get("snapshots", []))


VMS = _Vms()


def _vm(machine: Machine) -> Vm:
    assert isinstance(machine, Vm)
    return machine


def _monitor(vm: Vm, call: Callable[[Monitor], object], timeout: float = 60.0) -> None:
    with monitor.connect(qemu.monitor_socket(vm.qemu.spec, vm.vm), vm.vm.name, timeout) as qmp:
        call(qmp)


def _each(machines: Sequence[Machine], call: Callable[[Monitor], object]) -> None:
    with ThreadPoolExecutor(max_workers=16) as pool:
        for _ in pool.map(lambda machine: _monitor(_vm(machine), call, SAVE_SECONDS), machines):
            pass


def _human(qmp: Monitor, line: str) -> None:
    # savevm and loadvm are silent when they succeed.
    complaint = qmp.human(line)
    if complaint:
        raise ProvisionerError(f"QEMU refused `{line}`: {complaint}", "see that the disk has space")

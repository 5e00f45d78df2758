"""Snapshots of the running lab: one consistent set of QEMU snapshots, memory and disks.

All machines are paused while the set is taken: no message is in flight between a saved and an unsaved one.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from provisioner.errors import ProvisionerError
from provisioner.lab import guest, monitor, network, qemu
from provisioner.lab import upstream as mirrors
from provisioner.lab.image import Progress
from provisioner.lab.lifecycle import machines, power_off_lost
from provisioner.lab.monitor import Monitor
from provisioner.lab.ownership import locked
from provisioner.lab.requirements import require_root
from provisioner.lab.settings import settings_of
from provisioner.lab.spec import LabSpec, VmSpec

SAVE_SECONDS = 120.0


def snapshot(spec: LabSpec, name: str, progress: Progress) -> None:
    """Save the memory and disk of every VM as `name`, replacing a snapshot of that name."""
    require_root()
    _check_name(name)
    with locked(spec):
        off = [vm.name for vm in spec.vms if qemu.pid(spec, vm) is None]
        if off:
            raise ProvisionerError(f"{', '.join(off)} is off; a snapshot needs running machines", "provisioner lab up")
        progress(f"snapshot {name}: saving {len(spec.vms)} machines")
        try:
            _each(spec, spec.vms, lambda qmp: qmp.command("stop"))
            _each(spec, spec.vms, lambda qmp: _human(qmp, f"savevm {name}"))
        except ProvisionerError:
            _each(spec, spec.vms, lambda qmp: qmp.human(f"delvm {name}"))
            raise
        finally:
            _each(spec, spec.vms, lambda qmp: qmp.command("cont"))
        guest.set_clocks(spec, spec.vms)  # they stopped during the pause


def restore(spec: LabSpec, name: str, progress: Progress) -> None:
    """Restore every VM from the snapshot `name`, wait until it accepts logins, and set its clock.

    Machines that are off are started paused, to load their saved state.
    """
    require_root()
    with locked(spec):
        if name not in list_snapshots(spec):
            known = ", ".join(list_snapshots(spec)) or "none yet"
            raise ProvisionerError(f"the lab has no snapshot {name!r}", f"snapshots: {known}")
        settings = settings_of(spec)
        scale = spec.timeout_scale or settings.timeout_scale
        network.ensure(spec)
        if settings.mirror:
            mirrors.serve(spec, settings.mirror)
        progress(f"restore {name}: loading {len(spec.vms)} machines")
        power_off_lost(spec, spec.vms, progress)
        for machine in machines(spec):
            if qemu.pid(spec, machine.vm) is None:
                qemu.start(machine, paused=True)
        _each(spec, spec.vms, lambda qmp: qmp.command("stop"))
        _each(spec, spec.vms, lambda qmp: _human(qmp, f"loadvm {name}"))
        _each(spec, spec.vms, lambda qmp: qmp.command("cont"))
        guest.wait_for_ssh(spec, spec.vms, guest.BOOT_SECONDS * scale)
        guest.set_clocks(spec, spec.vms)


def list_snapshots(spec: LabSpec) -> tuple[str, ...]:
    """List the snapshots that every VM has, oldest first; one that only some have is incomplete."""
    sets = [_snapshots(machine) for machine in machines(spec)]
    return tuple(name for name in sets[0] if all(name in names for names in sets))


def _snapshots(machine: qemu.Machine) -> tuple[str, ...]:
    if not machine.disk.exists():
        return ()
    listing = subprocess.run(
        ["qemu-img", "info", "--force-share", "--output=json", str(machine.disk)],
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


def _each(spec: LabSpec, vms: Iterable[VmSpec], call: Callable[[Monitor], object]) -> None:
    def one(vm: VmSpec) -> None:
        with monitor.connect(qemu.monitor_socket(spec, vm), vm.name, SAVE_SECONDS) as qmp:
            call(qmp)

    with ThreadPoolExecutor(max_workers=16) as pool:
        for _ in pool.map(one, vms):
            pass


def _human(qmp: Monitor, line: str) -> None:
    # savevm and loadvm print nothing when they succeed.
    error = qmp.human(line)
    if error:
        raise ProvisionerError(f"QEMU refused `{line}`: {error}", "free disk space")


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,62}", name):
        raise ProvisionerError(
            f"{name!r} is not a valid snapshot name", "start with a letter; use letters, digits, '.', '_' and '-'"
        )

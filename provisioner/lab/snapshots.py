"""Freeze the running lab and come back to it: one consistent set of snapshots of all machines.

Of VMs that is memory and disks; of containers the disks, to which coming back is like coming back from a power cut.
"""

import re

from provisioner.errors import ProvisionerError
from provisioner.lab import balancer, guest, network
from provisioner.lab import upstream as mirrors
from provisioner.lab.image import Progress
from provisioner.lab.kinds import kind_of
from provisioner.lab.lifecycle import machines
from provisioner.lab.ownership import locked
from provisioner.lab.requirements import require_root
from provisioner.lab.settings import settings_of
from provisioner.lab.spec import LabSpec


def snapshot(spec: LabSpec, name: str, progress: Progress) -> None:
    """Save every machine under `name`, replacing a snapshot of that name."""
    require_root()
    _check_name(name)
    kind, all_machines = kind_of(spec), machines(spec)
    with locked(spec):
        off = [machine.vm.name for machine in all_machines if machine.pid() is None]
        if off:
            raise ProvisionerError(f"{', '.join(off)} is off; a snapshot holds running machines", "provisioner lab up")
        progress(f"snapshot {name}: saving {len(all_machines)} machines")
        kind.save(all_machines, name)
        if kind.own_clocks:
            guest.set_clocks(spec, spec.vms)  # which stood still meanwhile


def restore(spec: LabSpec, name: str, progress: Progress) -> None:
    """Put every machine back to the snapshot `name`, with the right time, and wait until it takes logins."""
    require_root()
    kind, all_machines = kind_of(spec), machines(spec)
    with locked(spec):
        known = list_snapshots(spec)
        if name not in known:
            raise ProvisionerError(f"the lab has no snapshot {name!r}", f"snapshots: {', '.join(known) or 'none yet'}")
        settings = settings_of(spec)
        scale = spec.timeout_scale or settings.timeout_scale
        network.ensure(spec)
        if settings.mirror:
            mirrors.serve(spec, settings.mirror)
        balancer.ensure(spec)
        progress(f"restore {name}: loading {len(all_machines)} machines")
        kind.load(all_machines, name)
        guest.wait_for_ssh(spec, all_machines, guest.BOOT_SECONDS * scale)
        if kind.own_clocks:
            guest.set_clocks(spec, spec.vms)


def list_snapshots(spec: LabSpec) -> tuple[str, ...]:
    """List the snapshots that every machine has, oldest first; one that only some have is not whole."""
    sets = [kind_of(spec).snapshots(machine) for machine in machines(spec)]
    return tuple(name for name in sets[0] if all(name in names for names in sets))


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,62}", name):
        raise ProvisionerError(f"snapshot name {name!r} is not possible", "use letters, digits, '.', '_' and '-'")

"""Bring a lab up, show its status, stop and destroy it. Each can be interrupted and run again."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab import (
    apt,
    guest,
    identity,
    image,
    inventory,
    monitor,
    network,
    qemu,
    recipe,
    requirements,
)
from provisioner.lab import spec as specs
from provisioner.lab import upstream as mirrors
from provisioner.lab.image import Image, Progress
from provisioner.lab.ownership import claim, end_orphans, locked, owner, release
from provisioner.lab.settings import Settings, decide, settings_of, write_text
from provisioner.lab.spec import LabSpec, MirrorInfo, VmSpec

DEFAULT_DIRECTORY = Path(".provisioner/lab")
SHUTDOWN_SECONDS = 30.0


@dataclass(frozen=True)
class VmStatus:
    """The state of one machine: running, paused, lost or off; `pid` is QEMU's or None."""

    vm: VmSpec
    state: str
    pid: int | None


@dataclass(frozen=True)
class LabStatus:
    """The state of the lab; `mirror` is the mirror's PID or None."""

    spec: LabSpec
    accelerator: str
    uplink: bool
    mirror: int | None
    vms: tuple[VmStatus, ...]


def find(directory: Path = DEFAULT_DIRECTORY) -> LabSpec:
    """Return the lab in `directory`; raises ProvisionerError if there is none."""
    spec = specs.load(directory)
    if spec is None:
        raise ProvisionerError(f"there is no lab in {directory}", "create one: provisioner lab up")
    return spec


def find_up(directory: Path = DEFAULT_DIRECTORY) -> LabSpec:
    """Return the lab in `directory`; raises ProvisionerError if its network does not exist."""
    spec = find(directory)
    if not network.exists(spec.operator):
        raise ProvisionerError(f"the lab {spec.name} is not up", "provisioner lab up")
    return spec


def find_remains(directory: Path = DEFAULT_DIRECTORY) -> LabSpec | None:
    """Return the lab to destroy, including one whose state directory was deleted while its machines run."""
    spec = specs.load(directory)
    if spec is not None:
        return spec
    for claim_file in Path("/run/provisioner").glob("*/directory"):
        if Path(claim_file.read_text().strip()) == directory.resolve():
            return LabSpec(directory.resolve(), claim_file.parent.name)
    return None


def up(
    wanted: LabSpec,
    mirror: MirrorInfo | None,
    *,
    uplink: bool = False,
    progress: Progress,
) -> LabSpec:
    """Bring the lab up and return it when every VM accepts a login; running VMs are kept.

    With a `mirror`, VMs can reach nothing else; with an `uplink` they reach other networks through QEMU's NAT.
    """
    requirements.check()
    spec = specs.merged(wanted, specs.load(wanted.directory))
    pod_network = inventory.choose_network(spec.network, mirror)
    with locked(spec):
        claim(spec)
        specs.save(spec)
        end_orphans(spec, progress)
        built = image.ensure(progress)
        settings = decide(spec, built, mirror, uplink, progress)
        network.ensure(spec)
        if mirror:
            mirrors.serve(spec, mirror)
        _login_key(spec)
        scale = spec.timeout_scale or settings.timeout_scale
        machines = [_machine(spec, vm, settings) for vm in spec.vms]
        identities = [_identity(machine, mirror) for machine in machines]
        # Reboot machines whose boot-time data changed.
        stale = [m.vm for m, content in zip(machines, identities, strict=True) if qemu.is_stale(m, content)]
        _shut_down(spec, stale, scale, progress)
        _warn_of_memory(spec, progress)
        for machine, content in zip(machines, identities, strict=True):
            qemu.make_disk(machine)
            qemu.write_identity(machine, content)
            _run(machine, progress)
        progress(f"vms: waiting for {len(machines)} logins")
        times = guest.wait_for_ssh(spec, spec.vms, guest.BOOT_SECONDS * scale)
        progress("vms: ready " + ", ".join(f"{name} ({taken:.0f} s)" for name, taken in times.items()))
        write_text(spec.site, inventory.render_site(spec, mirror, pod_network, scale))
    return spec


def start(spec: LabSpec, name: str, progress: Progress) -> None:
    """Start one VM and wait until it accepts a login."""
    settings = settings_of(spec)
    machine = _machine(spec, spec.vm(name), settings)
    with locked(spec):
        _run(machine, progress)
        scale = spec.timeout_scale or settings.timeout_scale
        guest.wait_for_ssh(spec, [machine.vm], guest.BOOT_SECONDS * scale)


def power_off(spec: LabSpec, name: str) -> None:
    """Power a VM off without a shutdown, as unplugging it would."""
    qemu.power_off(spec, spec.vm(name))


def down(spec: LabSpec, progress: Progress) -> None:
    """Shut all VMs down, powering off those that do not respond, and stop the mirror; keep disks and snapshots."""
    requirements.require_root()
    with locked(spec):
        settings = settings_of(spec)
        scale = spec.timeout_scale or settings.timeout_scale
        _shut_down(spec, spec.vms, scale, progress)
        mirrors.stop(spec)


def destroy(spec: LabSpec) -> None:
    """Remove the lab: VMs, mirror, namespaces, sockets and its state directory."""
    requirements.require_root()
    with locked(spec):
        for vm in spec.vms:
            qemu.power_off(spec, vm)
        mirrors.stop(spec)
        if owner(spec) in (None, spec.directory):
            release(spec)
        # Remove lab.json last, so that an interrupted destroy can be run again.
        for entry in spec.directory.iterdir():
            if entry.name != "lab.json":
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        shutil.rmtree(spec.directory)


def status(spec: LabSpec) -> LabStatus:
    """Return the state of each machine and of the mirror."""
    requirements.require_root()
    settings = settings_of(spec)
    rows = []
    for vm in spec.vms:
        rows.append(VmStatus(vm, _state(spec, vm), qemu.pid(spec, vm)))
    return LabStatus(spec, settings.accelerator, settings.uplink, mirrors.pid(spec), tuple(rows))


def _state(spec: LabSpec, vm: VmSpec) -> str:
    if qemu.pid(spec, vm) is None:
        return "off"
    if qemu.is_lost(spec, vm):
        return "lost"
    return "paused" if qemu.paused(spec, vm) else "running"


def exec_command(spec: LabSpec, argv: list[str]) -> list[str]:
    """Return `argv` as a command that runs on the lab's operator machine."""
    return network.inside(spec.operator, argv)


def machines(spec: LabSpec) -> tuple[qemu.Machine, ...]:
    """Return all machines of a lab that has been up before."""
    settings = settings_of(spec)
    return tuple(_machine(spec, vm, settings) for vm in spec.vms)


def _login_key(spec: LabSpec) -> None:
    if spec.key.exists() and spec.key.with_suffix(".pub").exists():
        return
    spec.key.unlink(missing_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {spec.name}", "-f", str(spec.key)],
        check=True,
        stdin=subprocess.DEVNULL,
    )


def _machine(spec: LabSpec, vm: VmSpec, settings: Settings) -> qemu.Machine:
    return qemu.Machine(spec, vm, Image(settings.image), settings.accelerator, settings.uplink, settings.cgroup_v1)


def _identity(machine: qemu.Machine, mirror: MirrorInfo | None) -> bytes:
    if mirror:
        sources = identity.mirror_sources(mirror.apt, mirror.key)
    else:
        sources = identity.Sources(apt.debian_sources(recipe.SUITE))
    public_key = machine.spec.key.with_suffix(".pub").read_text()
    return identity.archive(machine.vm, public_key, sources)


def _shut_down(spec: LabSpec, vms: Sequence[VmSpec], scale: float, progress: Progress) -> None:
    power_off_lost(spec, vms, progress)
    on = [vm for vm in vms if qemu.pid(spec, vm) is not None]
    if not on:
        return
    progress(f"vms: shutting down {', '.join(vm.name for vm in on)}")
    for name in guest.shut_down(spec, on, SHUTDOWN_SECONDS * scale):
        progress(f"{name}: did not shut down in time; powering it off")
        qemu.power_off(spec, spec.vm(name))


def power_off_lost(spec: LabSpec, vms: Sequence[VmSpec], progress: Progress) -> None:
    """Power off machines whose monitor socket is gone."""
    for vm in vms:
        if qemu.is_lost(spec, vm):
            progress(f"{vm.name}: its monitor socket is gone; powering it off")
            qemu.power_off(spec, vm)


def _warn_of_memory(spec: LabSpec, progress: Progress) -> None:
    wanted = sum(vm.memory for vm in spec.vms if qemu.pid(spec, vm) is None)
    fields = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    free = next(int(words[1]) for words in fields if words[0] == "MemAvailable:") // 1024
    if wanted > free:
        progress(f"memory: the machines can use {wanted} MiB, and only {free} MiB are free; use fewer workers")


def _run(machine: qemu.Machine, progress: Progress) -> None:
    spec, vm = machine.spec, machine.vm
    power_off_lost(spec, [vm], progress)
    if qemu.pid(spec, vm) is None:
        progress(f"{vm.name}: starting at {vm.address} ({machine.accelerator}, {vm.cpus} CPU, {vm.memory} MiB)")
        qemu.start(machine)
    elif qemu.paused(spec, vm):
        with monitor.connect(qemu.monitor_socket(spec, vm), vm.name) as qmp:
            qmp.command("cont")

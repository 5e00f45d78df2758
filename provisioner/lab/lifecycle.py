"""Bring a lab up, show its status, stop and destroy it. Each can be interrupted and run again."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab import apt, balancer, guest, identity, image, inventory, kinds, network, recipe, requirements
from provisioner.lab import spec as specs
from provisioner.lab import upstream as mirrors
from provisioner.lab.image import Progress
from provisioner.lab.kinds import kind_of, machines_of
from provisioner.lab.machine import Machine, State
from provisioner.lab.ownership import claim, end_orphans, locked, owner, release
from provisioner.lab.settings import decide, settings_of, write_text
from provisioner.lab.spec import LabSpec, MirrorInfo, VmSpec

DEFAULT_DIRECTORY = Path(".provisioner/lab")
SHUTDOWN_SECONDS = 30.0


@dataclass(frozen=True)
class VmStatus:
    """The state of one machine; `pid` is that of the process that runs it, or None."""

    vm: VmSpec
    state: State
    pid: int | None


@dataclass(frozen=True)
class LabStatus:
    """The state of the lab; `mirror` and `balancer` are their PIDs or None."""

    spec: LabSpec
    accelerator: str | None
    uplink: bool
    mirror: int | None
    balancer: int | None
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
    """Bring the lab up and return it when every machine accepts a login; running machines are kept.

    With a `mirror`, machines can reach nothing else; with an `uplink` they reach other networks through a NAT.
    """
    spec = specs.merged(wanted, specs.load(wanted.directory))
    kinds.require(spec)
    spec = replace(spec, nodes=spec.nodes or kinds.default(progress))
    pod_network = inventory.choose_network(spec.network, mirror)
    with locked(spec):
        claim(spec)
        specs.save(spec)
        built = {system: image.ensure(progress, system) for system in spec.systems}
        settings = decide(spec, built, mirror, uplink, progress)
        all_machines = machines_of(spec, settings)
        end_orphans(spec, all_machines, progress)
        network.ensure(spec)
        if mirror:
            mirrors.serve(spec, mirror)
        balancer.ensure(spec)
        _login_key(spec)
        scale = spec.timeout_scale or settings.timeout_scale
        identities = [_identity(spec, vm, mirror) for vm in spec.vms]
        # Reboot machines whose boot-time data changed.
        pairs = list(zip(all_machines, identities, strict=True))
        _shut_down([machine for machine, content in pairs if machine.is_stale(content)], scale, progress)
        _warn_of_memory(all_machines, progress)
        kind_of(spec).prepare_host(spec, progress)
        if stand_in := inventory.storage_stand_in(spec):
            progress(stand_in)
        for machine, content in pairs:
            machine.prepare(content)
            _start(machine, progress)
        progress(f"{spec.nodes}: waiting for {len(all_machines)} logins")
        times = guest.wait_for_ssh(spec, all_machines, guest.BOOT_SECONDS * scale)
        progress(f"{spec.nodes}: ready " + ", ".join(f"{name} ({taken:.0f} s)" for name, taken in times.items()))
        write_text(spec.site, inventory.render_site(spec, mirror, pod_network, scale))
    return spec


def start(spec: LabSpec, name: str, progress: Progress) -> None:
    """Start one machine and wait until it accepts a login."""
    settings = settings_of(spec)
    machine = _machine(spec, name)
    with locked(spec):
        _start(machine, progress)
        scale = spec.timeout_scale or settings.timeout_scale
        guest.wait_for_ssh(spec, [machine], guest.BOOT_SECONDS * scale)


def shut_down(spec: LabSpec, name: str, progress: Progress) -> None:
    """Shut one machine down as its power button does, and power it off if it does not respond."""
    settings = settings_of(spec)
    machine = _machine(spec, name)
    with locked(spec):
        _shut_down([machine], spec.timeout_scale or settings.timeout_scale, progress)


def power_off(spec: LabSpec, name: str) -> None:
    """Power a machine off without a shutdown, as unplugging it would."""
    _machine(spec, name).power_off()


def down(spec: LabSpec, progress: Progress) -> None:
    """Shut all machines down, powering off those that do not respond, and stop the mirror; keep disks."""
    requirements.require_root()
    with locked(spec):
        settings = settings_of(spec)
        scale = spec.timeout_scale or settings.timeout_scale
        _shut_down(machines_of(spec, settings), scale, progress)
        mirrors.stop(spec)
        balancer.stop(spec)


def destroy(spec: LabSpec) -> None:
    """Remove the lab: machines, mirror, namespaces, cgroups, sockets and its state directory."""
    requirements.require_root()
    with locked(spec):
        mirrors.stop(spec)
        balancer.stop(spec)
        if owner(spec) in (None, spec.directory):  # else everything that runs under this name is another lab's
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
    rows = tuple(VmStatus(machine.vm, machine.state(), machine.pid()) for machine in machines_of(spec, settings))
    return LabStatus(spec, settings.accelerator, settings.uplink, mirrors.pid(spec), balancer.pid(spec), rows)


def exec_command(spec: LabSpec, argv: list[str]) -> list[str]:
    """Return `argv` as a command that runs on the lab's operator machine."""
    return network.inside(spec.operator, argv)


def machines(spec: LabSpec) -> tuple[Machine, ...]:
    """Return all machines of a lab that has been up before."""
    return machines_of(spec, settings_of(spec))


def _machine(spec: LabSpec, name: str) -> Machine:
    vm = spec.vm(name)
    return next(machine for machine in machines(spec) if machine.vm == vm)


def _login_key(spec: LabSpec) -> None:
    if spec.key.exists() and spec.key.with_suffix(".pub").exists():
        return
    spec.key.unlink(missing_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {spec.name}", "-f", str(spec.key)],
        check=True,
        stdin=subprocess.DEVNULL,
    )


def _identity(spec: LabSpec, vm: VmSpec, mirror: MirrorInfo | None) -> bytes:
    suite = recipe.SYSTEMS[vm.os]
    if mirror:
        sources = identity.mirror_sources(mirror.repository(suite), mirror.key, suite)
    else:
        sources = identity.Sources(apt.debian_sources(suite))
    return identity.archive(vm, spec.key.with_suffix(".pub").read_text(), sources)


def _shut_down(all_machines: Sequence[Machine], scale: float, progress: Progress) -> None:
    for machine in all_machines:
        _power_off_if_lost(machine, progress)
    on = [machine for machine in all_machines if machine.pid() is not None]
    if not on:
        return
    progress(f"shutting down {', '.join(machine.vm.name for machine in on)}")
    for machine in guest.shut_down(on, SHUTDOWN_SECONDS * scale):
        progress(f"{machine.vm.name}: did not shut down in time; powering it off")
        machine.power_off()


def _power_off_if_lost(machine: Machine, progress: Progress) -> None:
    if machine.state() == "lost":
        progress(f"{machine.vm.name}: cannot be controlled any more; powering it off")
        machine.power_off()


def _warn_of_memory(all_machines: Sequence[Machine], progress: Progress) -> None:
    wanted = sum(machine.vm.memory for machine in all_machines if machine.pid() is None)
    fields = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    free = next(int(words[1]) for words in fields if words[0] == "MemAvailable:") // 1024
    if wanted > free:
        progress(f"memory: the machines can use {wanted} MiB, and only {free} MiB are free; use fewer workers")


def _start(machine: Machine, progress: Progress) -> None:
    _power_off_if_lost(machine, progress)
    vm = machine.vm
    if machine.pid() is None:
        progress(f"{vm.name}: starting at {vm.address} ({machine.made_of}, {vm.cpus} CPU, {vm.memory} MiB)")
    if machine.state() != "running":
        machine.start()

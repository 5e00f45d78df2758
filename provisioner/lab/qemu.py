"""One VM as one QEMU process: its command line, start and end."""

import os
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab import accel, background, monitor, network
from provisioner.lab.image import Image, copy_of
from provisioner.lab.spec import NAT_MAC, LabSpec, VmSpec


@dataclass(frozen=True)
class Machine:
    """A VM with everything needed to start it."""

    spec: LabSpec
    vm: VmSpec
    image: Image
    accelerator: accel.Accelerator
    uplink: bool
    cgroup_v1: bool = False

    @property
    def files(self) -> Path:
        """The directory of its disk, serial log and PID file."""
        return self.spec.files(self.vm)

    @property
    def disk(self) -> Path:
        """Its qcow2 disk, backed by the image; it also holds snapshots."""
        return self.files / "disk.qcow2"

    @property
    def identity(self) -> Path:
        """The archive that gives the blank image its identity."""
        return self.files / "identity.tar"


def monitor_socket(spec: LabSpec, vm: VmSpec) -> Path:
    """Return the path of the VM's monitor socket."""
    return spec.run / f"{vm.name}.qmp"


def machine_uuid(files: Path) -> str:
    """Return the machine's random UUID, kept in `files` so that it is the same at every start."""
    path = files / "uuid"
    if not path.exists():
        scratch = files / "uuid.new"
        scratch.write_text(f"{uuid.uuid4()}\n")
        scratch.rename(path)
    return path.read_text().strip()


def command(machine: Machine, machine_id: str, tap_fds: Sequence[int], paused: bool) -> list[str]:
    """Return QEMU's command line; `tap_fds` are the open tap devices of its ports on the lab's bridge."""
    vm = machine.vm
    # The machine ID is derived from the UUID: unique, stable, and known before the disk is mounted.
    kernel_line = [
        "console=ttyS0 loglevel=4 root=/dev/vda rw net.ifnames=0 mitigations=off fsck.mode=skip",
        f"systemd.show_status=auto systemd.machine_id={machine_id.replace('-', '')}",
        *accel.kernel_arguments(machine.accelerator),
        *(["systemd.unified_cgroup_hierarchy=0"] if machine.cgroup_v1 else []),
    ]
    return [
        accel.QEMU, *accel.arguments(machine.accelerator),
        "-name", f"{machine.spec.name}-{vm.name}", "-uuid", machine_id,
        "-smp", str(vm.cpus), "-m", str(vm.memory),
        "-nodefaults", "-display", "none", "-vga", "none",
        "-serial", f"file:{machine.files / 'serial.log'}",
        "-qmp", f"unix:{monitor_socket(machine.spec, vm)},server=on,wait=off",
        "-kernel", str(machine.image.kernel), "-initrd", str(machine.image.initrd), "-append", " ".join(kernel_line),
        "-fw_cfg", f"name=opt/provisioner/identity,file={machine.identity}",
        "-drive", f"file={machine.disk},if=virtio,format=qcow2,cache=unsafe",
        "-device", "virtio-rng-pci",
        # eth0, then eth1: the guest numbers them by bus address.
        "-netdev", "user,id=nat,ipv6=off",
        "-device", f"virtio-net-pci,netdev=nat,mac={NAT_MAC},romfile=,addr=0x10",
        *(
            word
            for number, (fd, (_, mac)) in enumerate(zip(tap_fds, vm.ports.values(), strict=True))
            for word in (
                "-netdev", f"tap,id=segment{number},fd={fd}",
                "-device", f"virtio-net-pci,netdev=segment{number},mac={mac},romfile=,addr={0x11 + number:#x}",
            )
        ),
        "-rtc", "base=utc", "-daemonize", "-pidfile", str(machine.files / "vm.pid"),
        *(["-S"] if paused else []),
    ]  # fmt: skip


def make_disk(machine: Machine) -> None:
    """Create the VM's disk, backed by the read-only image or a copy of another size, unless it exists."""
    if machine.disk.exists():
        return
    machine.files.mkdir(parents=True, exist_ok=True)
    backing = machine.image.disk
    if backing.stat().st_size != machine.vm.disk << 20:
        backing = machine.files / "base.ext4"
        copy_of(machine.image, backing, machine.vm.disk)
    scratch = machine.disk.with_suffix(".new")
    made = subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(backing), "-F", "raw", str(scratch)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise ProvisionerError(
            f"{machine.vm.name}: creating its disk failed: {made.stderr.strip()}", "free disk space"
        )
    scratch.rename(machine.disk)


def is_stale(machine: Machine, identity: bytes) -> bool:
    """Return whether the running VM has booted with another identity or uplink than it should have."""
    number = pid(machine.spec, machine.vm)
    if number is None:
        return False
    uplink = number not in network.processes(machine.spec.namespace)
    return uplink != machine.uplink or machine.identity.read_bytes() != identity


def write_identity(machine: Machine, identity: bytes) -> None:
    """Write the archive that the VM reads at its next boot."""
    scratch = machine.identity.with_suffix(".new")
    scratch.write_bytes(identity)
    scratch.rename(machine.identity)


def start(machine: Machine, paused: bool = False) -> None:
    """Start the VM's QEMU process; return when its devices exist and the guest is booting.

    Without an uplink QEMU runs in the lab's namespace, so that its NAT leads nowhere. With one it runs outside and has
    only the tap device on the lab's bridge.
    """
    machine.spec.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    tap_fds: list[int] = []
    try:
        for port, _ in machine.vm.ports.values():
            tap_fds.append(network.open_tap(machine.spec, port))
        argv = command(machine, machine_uuid(machine.files), tap_fds, paused)
        if not machine.uplink:
            argv = network.inside(machine.spec.namespace, argv)
        started = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, pass_fds=tap_fds
        )
    finally:
        for fd in tap_fds:
            os.close(fd)
    if started.returncode != 0:
        raise ProvisionerError(
            f"{machine.vm.name}: QEMU did not start: {started.stderr.strip()}",
            "free memory or disk space, then: provisioner lab up",
        )


def pid(spec: LabSpec, vm: VmSpec) -> int | None:
    """Return the PID of the VM's QEMU process, or None if it is not running."""
    files = spec.files(vm)
    return background.pid(files, "vm", [machine_uuid(files)]) if files.is_dir() else None


def is_lost(spec: LabSpec, vm: VmSpec) -> bool:
    """Return whether the VM runs without its monitor socket (/run was emptied): it can only be powered off."""
    return pid(spec, vm) is not None and not monitor_socket(spec, vm).exists()


def orphans(spec: LabSpec) -> tuple[int, ...]:
    """List the PIDs of QEMU processes of a lab of this name, including one whose state directory was deleted."""
    mark = f"unix:{spec.run}/"
    numbers = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return tuple(number for number in numbers if any(word.startswith(mark) for word in background.arguments(number)))


def paused(spec: LabSpec, vm: VmSpec) -> bool:
    """Return whether the running VM is paused, as an interrupted snapshot leaves it."""
    with monitor.connect(monitor_socket(spec, vm), vm.name) as qmp:
        return not qmp.command("query-status")["running"]


def power_off(spec: LabSpec, vm: VmSpec) -> None:
    """Kill the VM, as unplugging it would, and wait until its process is gone."""
    number = pid(spec, vm)
    if number is None:
        return
    if not background.kill(number):
        raise ProvisionerError(f"{vm.name}: its QEMU process {number} does not exit", "see: provisioner lab status")
    (spec.files(vm) / "vm.pid").unlink(missing_ok=True)


def wait_until_off(spec: LabSpec, vm: VmSpec, seconds: float) -> bool:
    """Wait up to `seconds` for the VM's process to exit; return whether it did."""
    return background.wait_until(lambda: pid(spec, vm) is None, seconds)

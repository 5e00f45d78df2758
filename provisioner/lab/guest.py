"""Reach into a running VM over SSH, as a person at the operator's machine would."""

import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from provisioner.errors import Unreachable
from provisioner.lab import background, monitor, network, qemu
from provisioner.lab.spec import LabSpec, VmSpec

USER = "vagrant"
BOOT_SECONDS = 60.0


def ssh_command(spec: LabSpec, vm: VmSpec, remote: Sequence[str] = (), *, terminal: bool = False) -> list[str]:
    """Return the command that logs in to a VM from the operator's machine, and runs `remote` if given."""
    argv = [
        "ssh", "-i", str(spec.key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
        "-o", f"UserKnownHostsFile={spec.known_hosts}", "-o", "StrictHostKeyChecking=accept-new",
        "-o", "HashKnownHosts=no", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=30",
        "-o", "ServerAliveInterval=30",
        *(["-t"] if terminal else []),
        f"{USER}@{vm.address}",
        *(["--", *remote] if remote else []),
    ]  # fmt: skip
    return network.inside(spec.operator, argv)


def wait_for_ssh(spec: LabSpec, vms: Sequence[VmSpec], seconds: float) -> dict[str, float]:
    """Wait until each VM takes a login; return the seconds each took. Unreachable after `seconds`."""
    given_up = threading.Event()
    with ThreadPoolExecutor(max_workers=max(1, len(vms))) as pool:
        waits = [pool.submit(_wait_one, spec, vm, seconds, given_up) for vm in vms]
        try:
            done, _ = wait(waits, return_when=FIRST_EXCEPTION)
        finally:
            given_up.set()  # one that never comes, or Ctrl-C: no reason to go on waiting for the others
    for failure in (found.exception() for found in done):
        if failure:
            raise failure
    times = [found.result() for found in waits]
    return {vm.name: taken for vm, taken in zip(vms, times, strict=True)}


def _wait_one(spec: LabSpec, vm: VmSpec, seconds: float, given_up: threading.Event) -> float:
    begun = time.monotonic()
    last = ""

    def answers() -> bool:
        nonlocal last
        if given_up.is_set():
            raise Unreachable(vm.name, f"not waited for any longer ({last})", "provisioner lab up")
        if qemu.pid(spec, vm) is None:
            raise Unreachable(
                vm.name, "its QEMU process ended", f"see {spec.files(vm) / 'serial.log'}; provisioner lab up"
            )
        login = subprocess.run(
            ssh_command(spec, vm, ["true"]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        last = login.stderr.strip()
        return login.returncode == 0

    # Each try costs an emulated machine a key exchange, so do not ask at every blink.
    if not background.wait_until(answers, seconds, pause=1.0):
        raise Unreachable(
            vm.name,
            f"no login within {seconds:.0f} s ({last})",
            f"see {spec.files(vm) / 'serial.log'}; provisioner lab up tries again",
        )
    return time.monotonic() - begun


def set_clocks(spec: LabSpec, vms: Sequence[VmSpec]) -> None:
    """Set every VM's clock from this machine's: a restored one is still at the moment of its snapshot."""
    with ThreadPoolExecutor(max_workers=max(1, len(vms))) as pool:
        for _ in pool.map(lambda vm: _set_clock(spec, vm), vms):
            pass


def _set_clock(spec: LabSpec, vm: VmSpec) -> None:
    # The time is sent once the far shell is ready to use it: the login may have taken seconds.
    script = "sudo -n sh -c 'echo ready; read now; date -s \"@$now\" >/dev/null'"
    process = subprocess.Popen(
        ssh_command(spec, vm, [script]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    if process.stdout.readline().strip() == "ready":
        process.stdin.write(f"{time.time():.3f}\n")
        process.stdin.flush()
    _, errors = process.communicate()
    if process.returncode != 0:
        raise Unreachable(vm.name, f"its clock cannot be set: {errors.strip()}", "provisioner lab status")


def shut_down(spec: LabSpec, vms: Sequence[VmSpec], seconds: float) -> tuple[str, ...]:
    """Press the VMs' power buttons; return the names of those still on after `seconds`."""
    running = [vm for vm in vms if qemu.pid(spec, vm) is not None]
    for vm in running:
        with monitor.connect(qemu.monitor_socket(spec, vm), vm.name) as qmp:
            qmp.command("cont")  # one that an interrupted snapshot has stopped would never hear the button
            qmp.command("system_powerdown")
    deadline = time.monotonic() + seconds
    return tuple(vm.name for vm in running if not qemu.wait_gone(spec, vm, max(0.0, deadline - time.monotonic())))

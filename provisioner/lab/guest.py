"""Reach a running machine over SSH from the operator's machine."""

import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from provisioner.errors import Unreachable
from provisioner.lab import background, network
from provisioner.lab.machine import Machine
from provisioner.lab.spec import LabSpec, VmSpec

USER = "vagrant"
BOOT_SECONDS = 60.0


def ssh_command(spec: LabSpec, vm: VmSpec, remote: Sequence[str] = (), *, terminal: bool = False) -> list[str]:
    """Return the command that logs in to a VM from the operator's machine and runs `remote`, if given."""
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


def wait_for_ssh(spec: LabSpec, machines: Sequence[Machine], seconds: float) -> dict[str, float]:
    """Wait until each machine accepts a login; return the seconds each took. Raises Unreachable after `seconds`."""
    stopped = threading.Event()
    with ThreadPoolExecutor(max_workers=max(1, len(machines))) as pool:
        waits = [pool.submit(_wait_one, spec, machine, seconds, stopped) for machine in machines]
        try:
            done, _ = wait(waits, return_when=FIRST_EXCEPTION)
        finally:
            stopped.set()  # one failed, or Ctrl-C: stop waiting for the others
    for failure in (found.exception() for found in done):
        if failure:
            raise failure
    times = [found.result() for found in waits]
    return {machine.vm.name: taken for machine, taken in zip(machines, times, strict=True)}


def _wait_one(spec: LabSpec, machine: Machine, seconds: float, stopped: threading.Event) -> float:
    vm = machine.vm
    begun = time.monotonic()
    last = ""

    def answers() -> bool:
        nonlocal last
        if stopped.is_set():
            raise Unreachable(vm.name, f"no login before another machine failed ({last})", "provisioner lab up")
        if machine.pid() is None:
            raise Unreachable(vm.name, "it is off again", f"see {machine.log}; provisioner lab up")
        login = subprocess.run(
            ssh_command(spec, vm, ["true"]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        last = login.stderr.strip()
        return login.returncode == 0

    # Each attempt costs an emulated machine a key exchange, so do not poll faster.
    pause = 1.0 if machine.made_of == "tcg" else 0.2
    if not background.wait_until(answers, seconds, pause=pause):
        raise Unreachable(
            vm.name,
            f"no login within {seconds:.0f} s ({last})",
            f"see {machine.log}; to retry: provisioner lab up",
        )
    return time.monotonic() - begun


def set_clocks(spec: LabSpec, vms: Sequence[VmSpec]) -> None:
    """Set every VM's clock to this machine's: after a restore it has the time of the snapshot."""
    with ThreadPoolExecutor(max_workers=max(1, len(vms))) as pool:
        for _ in pool.map(lambda vm: _set_clock(spec, vm), vms):
            pass


def _set_clock(spec: LabSpec, vm: VmSpec) -> None:
    # Send the time when the remote shell is ready for it: the login may take seconds.
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
        raise Unreachable(vm.name, f"setting its clock failed: {errors.strip()}", "provisioner lab status")


def shut_down(machines: Sequence[Machine], seconds: float) -> tuple[Machine, ...]:
    """Press the machines' power buttons; return those still running after `seconds`."""
    running = [machine for machine in machines if machine.pid() is not None]
    for machine in running:
        machine.request_shutdown()
    deadline = time.monotonic() + seconds

    def is_off(machine: Machine) -> bool:
        return background.wait_until(lambda: machine.pid() is None, max(0.0, deadline - time.monotonic()))

    return tuple(machine for machine in running if not is_off(machine))

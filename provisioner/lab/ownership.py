"""Who holds a lab: one command at a time, one state folder a name, and nothing left of an earlier one."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab import background, network, qemu
from provisioner.lab import upstream as mirrors
from provisioner.lab.image import Say
from provisioner.lab.settings import write_text
from provisioner.lab.spec import LabSpec


@contextmanager
def locked(spec: LabSpec) -> Iterator[None]:
    """Hold the lab for one command; a second one is told so at once instead of interfering."""
    spec.directory.mkdir(parents=True, exist_ok=True)
    fd = os.open(spec.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ProvisionerError(
                f"another command is at work on the lab in {spec.directory}", "wait for it, then try again"
            ) from error
        yield
    finally:
        os.close(fd)


def owner(spec: LabSpec) -> Path | None:
    """Return the state folder of the lab that has this name now."""
    try:
        return Path((spec.run / "directory").read_text().strip())
    except FileNotFoundError:
        return None


def claim(spec: LabSpec) -> None:
    """Take the name for this state folder; ProvisionerError where another lab has it."""
    other = owner(spec)
    if other not in (None, spec.directory) and (other / "lab.json").exists():
        raise ProvisionerError(
            f"a lab named {spec.name!r} already belongs to {other}",
            "destroy it there, or take another name: provisioner lab up --name NAME",
        )
    spec.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_text(spec.run / "directory", f"{spec.directory}\n")


def release(spec: LabSpec) -> None:
    """End whatever still uses the lab's network, then remove it; only who called us is spared."""
    users = {*qemu.orphans(spec), *network.processes(spec.namespace), *network.processes(spec.operator)}
    for number in users - background.ancestry():
        background.kill(number)
    network.remove(spec)
    shutil.rmtree(spec.run, ignore_errors=True)
    with suppress(OSError):  # other labs may be there
        spec.run.parent.rmdir()


def end_orphans(spec: LabSpec, say: Say) -> None:
    """End what an earlier lab of this name left running when its state folder was deleted under it."""
    found = set(qemu.orphans(spec))
    if mirrors.pid(spec) is None:
        found.update(network.processes(spec.namespace))
    for number in found - {qemu.pid(spec, vm) for vm in spec.vms}:
        say(f"vms: ending process {number}, left by a lab whose files are gone")
        background.kill(number)

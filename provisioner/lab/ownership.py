"""Who owns a lab: one command at a time, one state directory a name, and no processes of an earlier lab."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab import background, balancer, network
from provisioner.lab import upstream as mirrors
from provisioner.lab.image import Progress
from provisioner.lab.kinds import KINDS
from provisioner.lab.machine import Machine
from provisioner.lab.settings import write_text
from provisioner.lab.spec import LabSpec


@contextmanager
def locked(spec: LabSpec) -> Iterator[None]:
    """Lock the lab for one command; a second one fails at once instead of interfering."""
    spec.directory.mkdir(parents=True, exist_ok=True)
    fd = os.open(spec.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ProvisionerError(
                f"another command is using the lab in {spec.directory}", "wait for it to finish, then try again"
            ) from error
        yield
    finally:
        os.close(fd)


def owner(spec: LabSpec) -> Path | None:
    """Return the state directory of the lab that has this name, or None."""
    try:
        return Path((spec.run / "directory").read_text().strip())
    except FileNotFoundError:
        return None


def claim(spec: LabSpec) -> None:
    """Claim the name for this state directory; raises ProvisionerError if another lab has it."""
    other = owner(spec)
    if other not in (None, spec.directory) and (other / "lab.json").exists():
        raise ProvisionerError(
            f"a lab named {spec.name!r} already belongs to {other}",
            "destroy it there, or use another name: provisioner lab up --name NAME",
        )
    spec.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_text(spec.run / "directory", f"{spec.directory}\n")


def release(spec: LabSpec) -> None:
    """Kill every process of the lab but this one and its ancestors, then remove its network and cgroups."""
    users = {*network.processes(spec.namespace), *network.processes(spec.operator)}
    # Of all kinds: a lab whose directory was deleted no longer says what its machines are.
    users.update(number for kind in KINDS.values() for number in kind.orphans(spec))
    for number in users - background.ancestry():
        background.kill(number)
    for kind in KINDS.values():
        kind.remove(spec)
    network.remove(spec)
    shutil.rmtree(spec.run, ignore_errors=True)
    with suppress(OSError):  # other labs may exist
        spec.run.parent.rmdir()


def end_orphans(spec: LabSpec, machines: Sequence[Machine], progress: Progress) -> None:
    """Kill the processes of an earlier lab of this name whose state directory was deleted."""
    found = {number for kind in KINDS.values() for number in kind.orphans(spec)}
    if mirrors.pid(spec) is None:
        found.update(network.processes(spec.namespace))
    known = {machine.pid() for machine in machines} | {balancer.pid(spec)}
    for number in found - known:
        if background.parent(number) in known:  # the NAT of a container
            continue
        progress(f"lab: killing process {number} of a lab whose files are gone")
        background.kill(number)

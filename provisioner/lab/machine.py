"""What the lab's commands need of its machines, whatever they are made of: a VM's QEMU or a system container."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from provisioner.lab.image import Progress
from provisioner.lab.settings import Settings
from provisioner.lab.spec import LabSpec, VmSpec

# paused: its processes stand still, as an interrupted snapshot leaves them. lost: it runs out of the lab's reach.
State = Literal["running", "paused", "lost", "off"]


class Machine(Protocol):
    """One machine of a lab."""

    @property
    def vm(self) -> VmSpec:
        """Its name, address and size."""

    @property
    def log(self) -> Path:
        """The file with what it prints on its console."""

    @property
    def made_of(self) -> str:
        """What runs it: kvm, tcg or container."""

    def pid(self) -> int | None:
        """Return the id of the process whose end is its end, or None where it is off."""

    def state(self) -> State:
        """Return how it stands now."""

    def is_stale(self, identity: bytes) -> bool:
        """Tell whether it runs with another identity or another way out than it is to have."""

    def prepare(self, identity: bytes) -> None:
        """Make its disk unless it exists, and lay down the identity that it reads at its next boot."""

    def start(self) -> None:
        """Boot it, or let it go on where it is paused; it may take no login yet."""

    def request_shutdown(self) -> None:
        """Ask it to power off, as its button does, and return at once."""

    def power_off(self) -> None:
        """End it as pulling its plug does, also when it is lost, and wait until it is off."""


class Kind(Protocol):
    """One way of making machines; the functions take those of one lab."""

    @property
    def own_clocks(self) -> bool:
        """Whether machines have clocks of their own, which stand still in a snapshot."""

    def machines(self, spec: LabSpec, settings: Settings) -> tuple[Machine, ...]:
        """Return a lab's machines, the first control plane first."""

    def prepare_host(self, spec: LabSpec, progress: Progress) -> None:
        """Do to this host what machines need of it, so that `remove` can undo it."""

    def orphans(self, spec: LabSpec) -> tuple[int, ...]:
        """List processes of a lab of this name, also where somebody deleted its state folder."""

    def remove(self, spec: LabSpec) -> None:
        """Remove what machines leave on this host beside processes, network namespaces and the lab's folder."""

    def save(self, machines: Sequence[Machine], name: str) -> None:
        """Save all machines, which run, as one consistent set."""

    def load(self, machines: Sequence[Machine], name: str) -> None:
        """Put all machines, in whatever state, back to the set `name`, running."""

    def snapshots(self, machine: Machine) -> tuple[str, ...]:
        """List the snapshots of one machine, oldest first."""

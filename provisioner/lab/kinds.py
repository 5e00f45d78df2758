"""The kinds of machines that a lab can be made of, by the word after `--nodes`."""

from provisioner.lab.containers import CONTAINERS
from provisioner.lab.machine import Kind, Machine
from provisioner.lab.settings import Settings
from provisioner.lab.spec import LabSpec
from provisioner.lab.vms import VMS

KINDS: dict[str, Kind] = {"vms": VMS, "containers": CONTAINERS}


def kind_of(spec: LabSpec) -> Kind:
    """Return the kind of a lab's machines; a lab that does not say so has VMs."""
    return KINDS[spec.nodes or "vms"]


def machines_of(spec: LabSpec, settings: Settings) -> tuple[Machine, ...]:
    """Return a lab's machines, the first control plane first."""
    return kind_of(spec).machines(spec, settings)

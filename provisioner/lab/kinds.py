"""The kinds of machines that a lab can be made of, by the word after `--nodes`, and which one is the default."""

from provisioner.lab import accel, image, requirements
from provisioner.lab.containers import CONTAINERS
from provisioner.lab.image import Progress
from provisioner.lab.machine import Kind, Machine
from provisioner.lab.settings import Settings
from provisioner.lab.spec import LabSpec
from provisioner.lab.vms import VMS

KINDS: dict[str, Kind] = {"vms": VMS, "containers": CONTAINERS}


def kind_of(spec: LabSpec) -> Kind:
    """Return the kind of a lab's machines."""
    return KINDS[spec.nodes]


def machines_of(spec: LabSpec, settings: Settings) -> tuple[Machine, ...]:
    """Return a lab's machines, the first control plane first."""
    return kind_of(spec).machines(spec, settings)


def require(spec: LabSpec) -> None:
    """Raise ProvisionerError unless this machine has what the lab needs: of both kinds while it may become either."""
    nodes = spec.nodes or ("" if accel.usable() else "containers")
    requirements.check(nodes, balanced=bool(spec.endpoint))


def default(progress: Progress) -> str:
    """Return the kind for a new lab that names none: VMs where KVM works, else containers. Say which, and why."""
    why = accel.why_not_kvm(lambda: image.ensure(progress), progress)
    if why:
        progress(f"nodes: containers, since KVM does not work here ({why}); --nodes vms emulates machines, slowly")
        return "containers"
    progress("nodes: VMs, since KVM works here; --nodes containers runs system containers")
    return "vms"


def emulated(spec: LabSpec, progress: Progress) -> bool:
    """Return whether the lab's machines are VMs without KVM."""
    return spec.nodes == "vms" and bool(accel.why_not_kvm(lambda: image.ensure(progress), progress))

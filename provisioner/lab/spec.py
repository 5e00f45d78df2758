"""What a lab is: its name, its machines and their addresses, and where its files are.

The address plan is fixed, as a Vagrant lab's is: operator .1, mirror .2, master .10, workers from .11 on
192.168.56.0/24. It lives in network namespaces only, so it can clash with nothing outside.
"""

import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from provisioner.errors import ProvisionerError

SEGMENT = "192.168.56"
PREFIX = 24
OPERATOR = f"{SEGMENT}.1"
MIRROR = f"{SEGMENT}.2"
MAX_WORKERS = 9
# The same on every VM, as with Vagrant's NAT interface: a node address taken from it would be wrong.
NAT_ADDRESS = "10.0.2.15"
NAT_MAC = "52:54:00:12:34:56"


@dataclass(frozen=True)
class VmSpec:
    """One machine: `address` on the segment (IPv4), `mac` of eth1, memory in MiB."""

    name: str
    address: str
    mac: str
    cpus: int
    memory: int

    @property
    def tap(self) -> str:
        """The name of its port on the lab's bridge."""
        return f"tap-{self.name}"


@dataclass(frozen=True)
class MirrorInfo:
    """Where the stand-ins for upstream are served, and what they hold.

    `key` is the ASCII-armoured key of the apt repository. `left_out` says, by name, what cannot be had without
    upstream and why. The others are base URLs as `[mirror]` takes them; `containerd` is empty where Debian's own is
    what this Kubernetes runs on.
    """

    directory: Path
    key: Path
    kubernetes: str
    metallb: str
    metrics_server: str
    left_out: dict[str, str] = field(default_factory=dict)
    apt: str = f"http://{MIRROR}/debian"
    packages: str = f"http://{MIRROR}/pkgs.k8s.io"
    images: str = f"http://{MIRROR}:5000"
    manifests: str = f"http://{MIRROR}"
    containerd: str = ""

    def lacks(self, program: str) -> str:
        """Return why `program` is not served, "" where it is."""
        return next((why for name, why in self.left_out.items() if program in name), "")


@dataclass(frozen=True)
class LabSpec:
    """One lab. `directory` holds its state; memory in MiB.

    `network` is flannel, bridge, or "" for what can be had; `timeout_scale` 0 means by the accelerator. `small` is a
    site with few workloads, no autoscaler and no ingress. `kubernetes` is a minor such as "1.37", "" for the default.
    """

    directory: Path
    name: str = "provlab"
    workers: int = 2
    master_cpus: int = 2
    master_memory: int = 4096
    worker_cpus: int = 1
    worker_memory: int = 2048
    network: str = ""
    timeout_scale: float = 0.0
    small: bool = False
    kubernetes: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,11}", self.name):
            raise ProvisionerError(
                f"lab name {self.name!r} cannot name a network namespace",
                "use up to 12 lower-case letters and digits, a letter first",
            )
        if not 0 <= self.workers <= MAX_WORKERS:
            raise ProvisionerError(f"{self.workers} workers are not possible", f"choose 0 to {MAX_WORKERS}")

    @property
    def namespace(self) -> str:
        """The network namespace of bridge, VMs and mirror."""
        return self.name

    @property
    def operator(self) -> str:
        """The network namespace of the operator's machine, which is no node."""
        return f"{self.name}-op"

    @property
    def run(self) -> Path:
        """Sockets of running VMs: short paths, gone after a reboot like the VMs themselves."""
        return Path("/run/provisioner") / self.name

    @property
    def key(self) -> Path:
        """The private key that logs in to every VM as `vagrant`."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The VMs' host keys, learned at their first boot."""
        return self.directory / "known_hosts"

    @property
    def site(self) -> Path:
        """The hosts.toml that describes this lab."""
        return self.directory / "hosts.toml"

    @property
    def vms(self) -> tuple[VmSpec, ...]:
        """All machines, the master first."""
        master = VmSpec("master", f"{SEGMENT}.10", mac(10), self.master_cpus, self.master_memory)
        workers = (
            VmSpec(f"worker{n}", f"{SEGMENT}.{10 + n}", mac(10 + n), self.worker_cpus, self.worker_memory)
            for n in range(1, self.workers + 1)
        )
        return (master, *workers)

    def vm(self, name: str) -> VmSpec:
        """Find a machine by its name."""
        for vm in self.vms:
            if vm.name == name:
                return vm
        names = ", ".join(vm.name for vm in self.vms)
        raise ProvisionerError(f"the lab has no machine {name!r}", f"it has {names}")

    def files(self, vm: VmSpec) -> Path:
        """Return the folder of a machine's disk, serial log and process id."""
        return self.directory / "vms" / vm.name


def mac(octet: int) -> str:
    """Return the MAC of eth1 for the machine at `octet` of the segment, e.g. 52:54:00:56:00:0a for .10."""
    return f"52:54:00:56:00:{octet:02x}"


def save(spec: LabSpec) -> None:
    """Write the spec into its own directory, so that later commands need no options."""
    spec.directory.mkdir(parents=True, exist_ok=True)
    content = {key: value for key, value in asdict(spec).items() if key != "directory"}
    scratch = spec.directory / "lab.json.new"
    scratch.write_text(json.dumps(content, indent=2) + "\n")
    scratch.rename(spec.directory / "lab.json")


def load(directory: Path) -> LabSpec | None:
    """Read the spec of the lab in `directory`, or None where there is no lab."""
    file = directory / "lab.json"
    if not file.exists():
        return None
    try:
        return LabSpec(directory=directory.resolve(), **json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise ProvisionerError(f"{file} is damaged ({error})", "start anew: provisioner lab destroy") from error


def merged(wanted: LabSpec, existing: LabSpec | None) -> LabSpec:
    """Return the spec to bring up: the existing lab, with more workers where more are wanted.

    Machines are never taken away and never resized: their disks hold somebody's work.
    """
    if existing is None:
        return wanted
    if wanted.name != existing.name:
        raise ProvisionerError(
            f"{wanted.directory} already holds the lab {existing.name!r}",
            "destroy it first: provisioner lab destroy",
        )
    if wanted.workers < existing.workers:
        raise ProvisionerError(
            f"the lab already has {existing.workers} workers, {wanted.workers} are wanted",
            "a smaller lab starts anew: provisioner lab destroy",
        )
    if wanted.kubernetes not in ("", existing.kubernetes):
        raise ProvisionerError(
            f"the lab's machines were made for Kubernetes {existing.kubernetes or 'of the default version'}",
            "another version starts anew: provisioner lab destroy",
        )
    return replace(existing, workers=wanted.workers, network=wanted.network or existing.network, small=wanted.small)

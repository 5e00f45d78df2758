"""What a lab is: its name, its machines and their addresses, and where its files are.

The addresses are fixed, as in a Vagrant lab: operator .1, mirror .2, the API's load balancer .3 or vip .9, master .10,
workers from .11, master2 .22, master3 .23 and so on, on 192.168.56.0/24. They exist
only in network namespaces and cannot conflict with anything outside.
"""

import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab import recipe

SEGMENT = "192.168.56"
PREFIX = 24
OPERATOR = f"{SEGMENT}.1"
MIRROR = f"{SEGMENT}.2"
BALANCER = f"{SEGMENT}.3"
VIP = f"{SEGMENT}.9"
MAX_WORKERS = 9
MAX_CONTROL_PLANES = 5
API_PORT = 6443
MIN_DISK = 2048
# What a lab can have besides, by the word after `--with`.
EXTRAS = {
    "dual-stack": "IPv6 addresses on the segment, fd00:56::/64, beside IPv4",
    "second-nic": "a second NIC on the same segment, eth2",
    "vip": "the control planes hold the API's address themselves, 192.168.56.9, instead of a load balancer",
}
SEGMENT6 = "fd00:56:"
PREFIX6 = 64
# The same on every VM, as on Vagrant's NAT interface; it must never become a node address.
NAT_ADDRESS = "10.0.2.15"
NAT_MAC = "52:54:00:12:34:56"


@dataclass(frozen=True)
class VmSpec:
    """One machine: IPv4 `address` on the segment, `mac` of eth1, memory and disk in MiB, `role` as in hosts.toml.

    os: a key of recipe.SYSTEMS. `address6` is its IPv6 address on the segment, `second` the IPv4 address of eth2; ""
    where the lab has none.
    """

    name: str
    address: str
    mac: str
    cpus: int
    memory: int
    role: str = "worker"
    os: str = recipe.SYSTEM
    disk: int = recipe.DISK_GIB << 10
    address6: str = ""
    second: str = ""

    @property
    def tap(self) -> str:
        """The name of its port on the lab's bridge."""
        return f"tap-{self.name}"

    @property
    def ports(self) -> dict[str, tuple[str, str]]:
        """Its NICs on the segment, each with its port on the lab's bridge and its MAC."""
        second = {"eth2": (f"tap2-{self.name}", self.mac.replace(":56:00:", ":56:01:"))} if self.second else {}
        return {"eth1": (self.tap, self.mac), **second}


@dataclass(frozen=True)
class MirrorInfo:
    """Where the mirror is served, and what it has.

    `key` is the file with the ASCII-armored key of the apt repository. `left_out` has, by name, the reason why
    something is not served. The others are base URLs for `[mirror]`; `containerd` is empty if this Kubernetes runs on
    Debian's.
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

    @property
    def minor(self) -> str:
        """Return "1.37" of "1.37.2"."""
        return ".".join(self.kubernetes.split(".")[:2])

    def repository(self, suite: str) -> str:
        """Return the base URL of the Debian repository of a suite."""
        return self.apt if suite == recipe.SYSTEMS[recipe.SYSTEM] else f"{self.apt}-{suite}"

    def lacks(self, program: str) -> str:
        """Return why `program` is not served, "" if it is."""
        return next((why for name, why in self.left_out.items() if program in name), "")


@dataclass(frozen=True)
class LabSpec:
    """One lab. `directory` holds its state; memory in MiB.

    `network` is flannel, bridge, or "" for flannel if available; `timeout_scale` 0 means that of the accelerator.
    `small`: few workloads, no autoscaler, no ingress. `kubernetes` is a minor version such as "1.37", "" for the
    default. `os` has keys of recipe.SYSTEMS, separated by commas, which the machines take in turn, "" for the default.
    `disk`: MiB, 0 for the image's size. `extras` has keys of EXTRAS, separated by commas. `nodes` is what the machines
    are, vms or containers, "" for what suits this machine. `also`: versions of Kubernetes that the mirror has too, for
    upgrades.
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
    nodes: str = ""
    control_planes: int = 1
    os: str = ""
    disk: int = 0
    extras: str = ""
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,11}", self.name):
            raise ProvisionerError(
                f"lab name {self.name!r} is not valid as the name of a network namespace",
                "use up to 12 lowercase letters and digits, starting with a letter",
            )
        if not 0 <= self.workers <= MAX_WORKERS:
            raise ProvisionerError(f"a lab cannot have {self.workers} workers", f"use --workers 0 to {MAX_WORKERS}")
        if not 1 <= self.control_planes <= MAX_CONTROL_PLANES:
            raise ProvisionerError(
                f"a lab cannot have {self.control_planes} control planes",
                f"use --control-planes 1 to {MAX_CONTROL_PLANES}",
            )
        if unknown := set(self.systems) - set(recipe.SYSTEMS):
            raise ProvisionerError(
                f"the lab cannot make machines with {', '.join(sorted(unknown))}", f"use {', '.join(recipe.SYSTEMS)}"
            )
        if unknown := set(filter(None, self.extras.split(","))) - set(EXTRAS):
            raise ProvisionerError(f"a lab has no {', '.join(sorted(unknown))}", f"use {', '.join(EXTRAS)}")
        if self.disk and self.disk < MIN_DISK:
            raise ProvisionerError(f"a disk of {self.disk} MiB is too small for the image", f"use {MIN_DISK}M or more")

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems that the lab's machines run."""
        return tuple(dict.fromkeys(self.os.split(","))) if self.os else (recipe.SYSTEM,)

    @property
    def namespace(self) -> str:
        """The network namespace of the bridge, the VMs and the mirror."""
        return self.name

    @property
    def operator(self) -> str:
        """The network namespace of the operator's machine, which is not a node."""
        return f"{self.name}-op"

    @property
    def run(self) -> Path:
        """The directory of the running VMs' sockets: a short path, gone after a reboot like the VMs."""
        return Path("/run/provisioner") / self.name

    @property
    def key(self) -> Path:
        """The private key for `vagrant` on every VM."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The VMs' host keys, accepted at their first login."""
        return self.directory / "known_hosts"

    @property
    def site(self) -> Path:
        """The hosts.toml that describes this lab."""
        return self.directory / "hosts.toml"

    @property
    def vms(self) -> tuple[VmSpec, ...]:
        """All machines, control planes first. Each role takes the systems in turn, so that a lab may grow."""
        masters = [("master", 10), *((f"master{n}", 20 + n) for n in range(2, self.control_planes + 1))]
        workers = [(f"worker{n}", 10 + n) for n in range(1, self.workers + 1)]
        return (
            *(self._machine(name, octet, turn, "control-plane") for turn, (name, octet) in enumerate(masters)),
            *(self._machine(name, octet, turn, "worker") for turn, (name, octet) in enumerate(workers, start=1)),
        )

    def _machine(self, name: str, octet: int, turn: int, role: str) -> VmSpec:
        master = role == "control-plane"
        return VmSpec(
            name,
            f"{SEGMENT}.{octet}",
            mac(octet),
            cpus=self.master_cpus if master else self.worker_cpus,
            memory=self.master_memory if master else self.worker_memory,
            role=role,
            os=self.systems[turn % len(self.systems)],
            disk=self.disk or recipe.DISK_GIB << 10,
            address6=f"{SEGMENT6}:{octet}" if self.has("dual-stack") else "",
            second=f"{SEGMENT}.{100 + octet}" if self.has("second-nic") else "",
        )

    def has(self, extra: str) -> bool:
        """Return whether the lab was created with an extra, a key of EXTRAS."""
        return extra in self.extras.split(",")

    @property
    def endpoint(self) -> str:
        """The host and port of the API's load balancer, "" without one."""
        return f"{BALANCER}:{API_PORT}" if self.control_planes > 1 and not self.vip else ""

    @property
    def vip(self) -> str:
        """The API's address that the control planes hold themselves, "" without one."""
        return VIP if self.has("vip") else ""

    def vm(self, name: str) -> VmSpec:
        """Return a machine by its name; raises ProvisionerError if there is none."""
        for vm in self.vms:
            if vm.name == name:
                return vm
        names = ", ".join(vm.name for vm in self.vms)
        raise ProvisionerError(f"the lab has no machine {name!r}", f"its machines are {names}")

    def files(self, vm: VmSpec) -> Path:
        """Return the directory of a machine's disk, serial log and process ID."""
        return self.directory / "vms" / vm.name


def mac(octet: int) -> str:
    """Return the MAC of eth1 for the machine at `octet` of the segment, e.g. 52:54:00:56:00:0a for .10."""
    return f"52:54:00:56:00:{octet:02x}"


def save(spec: LabSpec) -> None:
    """Write the spec into its directory, so that later commands need no options."""
    spec.directory.mkdir(parents=True, exist_ok=True)
    content = {key: value for key, value in asdict(spec).items() if key != "directory"}
    scratch = spec.directory / "lab.json.new"
    scratch.write_text(json.dumps(content, indent=2) + "\n")
    scratch.rename(spec.directory / "lab.json")


def load(directory: Path) -> LabSpec | None:
    """Return the spec of the lab in `directory`, or None if there is none. One that does not say so has VMs."""
    file = directory / "lab.json"
    if not file.exists():
        return None
    try:
        spec = LabSpec(directory=directory.resolve(), **json.loads(file.read_text()))
        return replace(spec, nodes=spec.nodes or "vms", also=tuple(spec.also))
    except (ValueError, TypeError) as error:
        raise ProvisionerError(f"{file} is damaged ({error})", "start over: provisioner lab destroy") from error


def merged(wanted: LabSpec, existing: LabSpec | None) -> LabSpec:
    """Return the spec to bring up: the existing lab, with the additional machines wanted.

    Machines are never removed or resized: their disks may hold work.
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
            f"the lab already has {existing.workers} workers and cannot shrink to {wanted.workers}",
            "start over with a smaller one: provisioner lab destroy",
        )
    if wanted.control_planes < existing.control_planes or wanted.endpoint != existing.endpoint:
        raise ProvisionerError(
            f"the lab has {existing.control_planes} control plane{'s' * (existing.control_planes > 1)}, and "
            f"{wanted.control_planes} cannot be made of it: its cluster's endpoint is fixed",
            "start over with another number: provisioner lab destroy",
        )
    if wanted.kubernetes not in ("", existing.kubernetes):
        raise ProvisionerError(
            f"the lab's machines were created for Kubernetes {existing.kubernetes or 'of the default version'}",
            "start over with another version: provisioner lab destroy",
        )
    for option, new, old in (
        ("--os", wanted.os, existing.os),
        ("--disk", wanted.disk, existing.disk),
        ("--with", wanted.extras, existing.extras),
    ):
        if new and new != old:
            raise ProvisionerError(
                f"the lab's machines were created with another {option}", "start over: provisioner lab destroy"
            )
    if wanted.nodes not in ("", existing.nodes):
        raise ProvisionerError(
            f"the lab's machines are {existing.nodes}",
            f"start over with {wanted.nodes}: provisioner lab destroy",
        )
    return replace(
        existing,
        workers=wanted.workers,
        control_planes=wanted.control_planes,
        network=wanted.network or existing.network,
        small=wanted.small,
        also=wanted.also or existing.also,
    )

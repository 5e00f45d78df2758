"""What the supervisor of a node is given: one JSON file in the node's folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from provisioner.lab.settings import write_text


@dataclass(frozen=True)
class Launch:
    """A node to boot.

    files: its folder. namespace: the lab's network namespace; ports: of each NIC on the segment, its link on the
    bridge there and its MAC. memory: in MiB. cpus: their number, and that of all of the lab's nodes. uplink: whether
    its NAT leads out of this machine. nfs: the archive of what stands in for the kernel's NFS, "" where that has NFS.
    """

    lab: str
    node: str
    files: str
    machine_id: str
    namespace: str
    ports: dict[str, tuple[str, str]]
    memory: int
    cpus: int
    lab_cpus: int
    uplink: bool
    nfs: str = ""

    @property
    def disk(self) -> Path:
        """Its disk, an ext4 file system."""
        return Path(self.files, "disk.ext4")

    @property
    def identity(self) -> Path:
        """The archive that makes the blank disk this node."""
        return Path(self.files, "identity.tar")

    @property
    def root(self) -> Path:
        """Where its disk is mounted, in its own mount namespace only."""
        return Path(self.files, "root")


def write(launch: Launch) -> Path:
    """Write the file for the supervisor and return its path."""
    path = Path(launch.files, "launch.json")
    write_text(path, json.dumps(asdict(launch)))
    return path


def read(path: Path) -> Launch:
    """Read what `write` wrote."""
    stored = json.loads(path.read_text())
    return Launch(**stored | {"ports": {nic: tuple(port) for nic, port in stored["ports"].items()}})

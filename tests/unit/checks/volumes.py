"""Volumes in memory: the shell of the pods that mount them, claims, and PersistentVolumes."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from provisioner.errors import ClusterError
from provisioner.kube import Object
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import event


class Volumes:
    """A shell in pods, each of which mounts a volume; files by volume and path."""

    def __init__(self, **volume_of_pod: str) -> None:
        self.volume_of_pod = volume_of_pod
        self.files: dict[tuple[str, str], str] = {}
        self.written = 0
        self.names = ""  # the output of nslookup

    def __call__(self, name: str, command: Sequence[str]) -> str:
        volume = self.volume_of_pod[name.replace("-", "_")]
        if command[:2] == ["sh", "-c"] and command[2].startswith("nslookup "):
            return self.names
        if command[:2] == ["sh", "-c"] and command[2].startswith("tail "):
            sharing = [name.replace("_", "-") for name, held in self.volume_of_pod.items() if held == volume]
            return "".join(f"2026-11-22T19:00:00Z {name}\n" for name in sharing)
        if command[0] == "cat":
            if (volume, command[1]) not in self.files:
                raise ClusterError("cat failed", tail="No such file or directory")
            return self.files[volume, command[1]]
        if command[:2] == ["sh", "-c"] and command[2].startswith("rm -f "):
            pattern = command[2].removeprefix("rm -f ")
            self.files = {
                (held, path): text
                for (held, path), text in self.files.items()
                if held != volume or not fnmatchcase(path, pattern)
            }
            return ""
        assert command[:4] == ["sh", "-c", 'printf %s "$1" > "$2"', "sh"]
        if volume == "read-only":
            raise ClusterError("sh failed", tail="Permission denied")
        self.files[volume, command[5]] = command[4]
        self.written += 1
        return ""


class ClaimingCluster(FakeCluster):
    """A cluster that gives a new claim a phase, and, if `explains`, an event that says why it waits."""

    phase = "Pending"
    explains = True

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        if manifest["kind"] == "PersistentVolumeClaim":
            metadata = manifest["metadata"] | {"uid": f"uid of {manifest['metadata']['name']}"}
            manifest = manifest | {"metadata": metadata, "status": {"phase": self.phase}}
            if self.explains:
                self.hold(event(metadata["uid"]))
        return super().apply(manifest, dry_run=dry_run)


def claim(name: str = "shared-volume", phase: str = "Bound", volume: str = "nfs-1", class_: str = "nfs") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "course"},
        "spec": {"storageClassName": class_} | ({"volumeName": volume} if volume else {}),
        "status": {"phase": phase},
    }


def volume(source: dict[str, Any], name: str = "nfs-1", phase: str = "Bound", size: str = "1Gi") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": "nfs",
            "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            "capacity": {"storage": size},
            **source,
        },
        "status": {"phase": phase},
    }

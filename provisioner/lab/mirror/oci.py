"""Container images from directories, with the standard library only (OCI image specification 1.0).

Layers are plain tars: an emulated machine reads them faster than it decompresses.
"""

import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Blob:
    """A blob: digest ("sha256:…") and size in bytes."""

    digest: str
    size: int


def write_layer(tree: Path, target: Path) -> Blob:
    """Write everything below `tree` as a tar that depends only on content, names and modes; owner root, time 0."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(tree.rglob("*")):
            info = tar.gettarinfo(path, str(path.relative_to(tree)))
            if info.type == tarfile.LNKTYPE:
                # A further hard link to a file already in the tar.
                info.linkname = info.linkname.removeprefix("/")
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = 0
            if info.isreg():
                with open(path, "rb") as data:
                    tar.addfile(info, data)
            else:
                tar.addfile(info)
    with open(target, "rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    return Blob(f"sha256:{digest}", target.stat().st_size)


def describe(content: bytes) -> Blob:
    """Return digest and size of `content`."""
    return Blob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))


def config(
    layers: Sequence[Blob],
    *,
    entrypoint: Sequence[str],
    command: Sequence[str],
    labels: Mapping[str, str],
    environment: Sequence[str] = (),
) -> bytes:
    """Return the image configuration for uncompressed `layers`, lowest first; environment: NAME=VALUE."""
    settings: dict[str, object] = {"Env": [PATH, *environment], "Entrypoint": list(entrypoint), "WorkingDir": "/"}
    if command:
        settings["Cmd"] = list(command)
    settings["Labels"] = dict(labels)
    # The diff ID of an uncompressed layer is its blob's digest.
    rootfs = {"type": "layers", "diff_ids": [layer.digest for layer in layers]}
    return _json({"architecture": "amd64", "os": "linux", "config": settings, "rootfs": rootfs})


def manifest(configuration: bytes, layers: Sequence[Blob]) -> bytes:
    """Return the image manifest."""

    def reference(blob: Blob, media_type: str) -> dict[str, object]:
        return {"mediaType": media_type, "digest": blob.digest, "size": blob.size}

    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": reference(describe(configuration), CONFIG_TYPE),
            "layers": [reference(layer, LAYER_TYPE) for layer in layers],
        }
    )


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

"""Package `kubectl l2` for Krew: an archive with the wheel, and the manifest that points at it.

    python krew/package.py dist https://example.org/releases/download/v0.1.0

The folder must hold the wheel. The URL is where the archive will be published; its parent of parents is the homepage.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import string
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).parent


def archive(wheel: Path) -> bytes:
    """Return the archive: the launcher, the wheel and the license. The same files make the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, mode in ((HERE / "kubectl-l2", 0o755), (wheel, 0o644), (HERE.parent / "LICENSE", 0o644)):
            entry = tarfile.TarInfo(path.name)
            entry.size, entry.mode = path.stat().st_size, mode
            with path.open("rb") as file:
                tar.addfile(entry, file)
    return gzip.compress(packed.getvalue(), mtime=0)


def manifest(version: str, url: str, name: str, content: bytes) -> str:
    """Return the manifest for an archive of that name and content below the URL."""
    template = string.Template((HERE / "l2.yaml").read_text(encoding="utf-8"))
    return template.substitute(
        version=f"v{version}",
        homepage=url.split("/releases/", maxsplit=1)[0],
        uri=f"{url.rstrip('/')}/{name}",
        sha256=hashlib.sha256(content).hexdigest(),
    )


def main(folder: Path, url: str) -> None:
    """Write kubectl-l2-VERSION.tar.gz and l2.yaml beside the only wheel in a folder."""
    (wheel,) = folder.glob("provisioner-*.whl")
    version = wheel.name.split("-")[1]
    name, content = f"kubectl-l2-v{version}.tar.gz", archive(wheel)
    (folder / name).write_bytes(content)
    (folder / "l2.yaml").write_text(manifest(version, url, name, content), encoding="utf-8")
    print(f"{folder / name}\n{folder / 'l2.yaml'}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python krew/package.py FOLDER URL")
    main(Path(sys.argv[1]), sys.argv[2])

"""Where the kernel has no NFS: the archive of what stands in for it, built once into the user's cache."""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab import apt
from provisioner.lab import nfs as in_the_node
from provisioner.lab.containers import kernel, nfs_tree
from provisioner.lab.image import Progress, cache_root

# Debian 12's NFS-Ganesha with the libraries that a node may lack; it runs on later releases, too.
_PACKAGES = (
    "nfs-ganesha", "nfs-ganesha-vfs", "libbsd0", "libcom-err2", "libdbus-1-3", "libgssapi-krb5-2", "libk5crypto3",
    "libkeyutils1", "libkrb5-3", "libkrb5support0", "libmd0", "libnfsidmap1", "libntirpc4.3", "liburcu8",
    "libwbclient0",
)  # fmt: skip
_LIBRARIES = ("usr/lib/*/lib*.so*", "lib/*/lib*.so*")
_SUITE = "bookworm"
_SOURCES = Path(in_the_node.__file__).parent


def archive() -> Path:
    """Return where the archive is or will be; its name is the hash of what it is made of."""
    parts = [path.read_bytes() for path in sorted(_SOURCES.glob("*.py"))]
    return _cached("nfs", repr((_PACKAGES, sorted(nfs_tree.FILES.items()), parts))).with_suffix(".tar")


def made() -> str:
    """Return the archive for nodes that boot now, "" where none is needed, or none was made by an `up`."""
    return str(archive()) if not kernel.has_nfs() and archive().exists() else ""


def ensure(progress: Progress) -> Path:
    """Return the archive, making it if the cache lacks it."""
    final = archive()
    if not final.exists():
        ganesha = _ganesha(progress)
        with tempfile.TemporaryDirectory(prefix=".nfs-", dir=final.parent) as scratch:
            made = Path(scratch, "nfs.tar")
            _pack(ganesha, Path(scratch, "tree"), made)
            made.rename(final)
    return final


def _cached(name: str, content: str) -> Path:
    return cache_root() / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _ganesha(progress: Progress) -> Path:
    """Return a directory with NFS-Ganesha: the program, its libraries in lib, its file systems in fsal."""
    final = _cached("ganesha", repr(_PACKAGES))
    if final.is_dir():
        return final
    progress("nfs: fetching NFS-Ganesha, which serves NFS where the kernel cannot")
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ganesha-", dir=final.parent) as scratch:
        packages, tree, made = (Path(scratch, name) for name in ("packages", "tree", "made"))
        packages.mkdir()
        try:
            apt.download(_PACKAGES, _SUITE, packages)
            for package in packages.glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", package, tree], check=True, capture_output=True)
        except (ProvisionerError, OSError, subprocess.CalledProcessError) as error:
            raise ProvisionerError(
                f"this kernel has no NFS, and NFS-Ganesha, which nodes need instead, cannot be fetched: {error}",
                "apt-get update; or provisioner lab up --nodes vms",
            ) from error
        (made / "lib").mkdir(parents=True)
        shutil.copy(tree / "usr/bin/ganesha.nfsd", made)
        shutil.copytree(next(tree.glob("usr/lib/*/ganesha")), made / "fsal")
        libraries = {one.name: one for pattern in _LIBRARIES for one in tree.glob(pattern)}
        for library in libraries.values():
            shutil.copy(library, made / "lib", follow_symlinks=False)
        try:
            made.rename(final)
        except OSError:
            if not final.is_dir():  # another run finished first
                raise
    return final


def _pack(ganesha: Path, tree: Path, target: Path) -> None:
    shutil.copytree(ganesha, tree / nfs_tree.GANESHA.lstrip("/"), symlinks=True)
    python = tree / nfs_tree.PYTHON.lstrip("/") / "provisioner/lab/nfs"
    shutil.copytree(_SOURCES, python, ignore=shutil.ignore_patterns("__pycache__"))
    for package in python.parents[:2]:
        (package / "__init__.py").write_text("")
    for name, (mode, content) in nfs_tree.FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(tree.rglob("*")):
            if path.is_symlink() or not path.is_dir():  # directories are there, or are made with their usual modes
                tar.add(path, path.relative_to(tree), filter=_of_root)


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def lay_down(source: Path, root: Path) -> None:
    """Put the archive's content onto a node's disk at `root`, unless it is there."""
    seen = root / "var/lib/lab/nfs"
    if seen.exists() and seen.read_text() == source.name:
        return
    for words in (["chroot", str(root), "sh", "-c", nfs_tree.DIVERT], ["tar", "-xpf", str(source), "-C", str(root)]):
        subprocess.run(words, check=True, env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    seen.parent.mkdir(exist_ok=True)
    seen.write_text(source.name)


def stand_in() -> str:
    """Return a sentence on what stands in for the kernel's NFS in nodes of this machine, "" where nothing does."""
    if kernel.has_nfs():
        return ""
    return (
        "storage: a stand-in: this machine's kernel has no NFS, so nodes have NFS-Ganesha as the server behind "
        "nfs-server.service and a mount.nfs in user space, which speak NFS 4.2 with each other; for the kernel's own: "
        "--nodes vms (make lab NODES=vms)"
    )

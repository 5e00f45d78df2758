"""Build the lab's disk image once into the user's cache, and find it there ever after.

mmdebstrap unpacks Debian's packages into a tree, mkfs.ext4 makes a file system of it, and kernel and initrd
are taken out for QEMU's direct kernel load. The cache entry appears under its final name only when complete.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab import apt, recipe

Say = Callable[[str], None]
_PHASES = {
    "I: running apt-get update": "reading package lists",
    "I: downloading packages": "downloading packages",
    "I: installing essential": "installing the essential packages",
    "I: installing remaining": "installing the other packages and the kernel",
    "I: running --customize": "setting up users and units",
}


@dataclass(frozen=True)
class Image:
    """A complete image in the cache."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The ext4 file system, raw, never written to: the backing file of every VM's disk."""
        return self.directory / "root.ext4"

    @property
    def kernel(self) -> Path:
        """The Linux kernel for QEMU's direct load."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initial RAM disk that goes with the kernel."""
        return self.directory / "initrd"

    @property
    def fingerprint(self) -> str:
        """The UUID of the file system, new with every build; a disk over another build would be garbage."""
        with self.disk.open("rb") as file:
            file.seek(1024 + 0x68)  # s_uuid in the superblock, Documentation/filesystems/ext4/super.rst
            return file.read(16).hex()

    @property
    def dpkg_status(self) -> Path:
        """The packages in the image, as dpkg's own status file: what a mirror need not offer."""
        return self.directory / "dpkg-status"


def cache_root() -> Path:
    """Return where the lab keeps what can be made again: `$XDG_CACHE_HOME/provisioner/lab`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "provisioner" / "lab"


def cached() -> Image | None:
    """Find the image of the current recipe in the cache, or None."""
    image = Image(cache_root() / f"image-{recipe.recipe_hash()}")
    return image if image.directory.is_dir() else None


def ensure(say: Say) -> Image:
    """Return the image of the current recipe, building it (some minutes) where the cache lacks it."""
    found = cached()
    if found:
        return found
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    final = root / f"image-{recipe.recipe_hash()}"
    with tempfile.TemporaryDirectory(prefix=".image-", dir=root) as scratch:
        work = Path(scratch)
        work.chmod(0o755)  # apt drops to a user of its own, who must be able to reach the tree
        product = work / "image"
        product.mkdir(mode=0o755)
        tree = work / "tree"
        say("image: building the lab's Debian image, once; a few minutes")
        _unpack(tree, work, say)
        _check_modules(tree)
        _take_out(tree, product)
        say("image: writing the file system")
        _make_disk(tree, product / "root.ext4")
        shutil.rmtree(tree)
        try:
            product.rename(final)
        except OSError:
            if not final.is_dir():  # another run finished first: its image is as good as ours
                raise
    say(f"image: ready in {final}")
    return Image(final)


def _unpack(tree: Path, work: Path, say: Say) -> None:
    early = work / "early"
    _lay_down(early, recipe.EARLY_FILES)
    late = work / "late"
    _lay_down(late, recipe.FILES)
    argv = [
        "nice", "-n", "10",
        "mmdebstrap", "--mode=root", "--variant=minbase", "--verbose",
        "--include=" + ",".join(recipe.PACKAGES),
        # Before packages are unpacked, so that the first initrd is already the right one.
        f'--setup-hook=cp -a --no-preserve=ownership {early}/. "$1"/',
        f'--customize-hook=cp -a --no-preserve=ownership {late}/. "$1"/',
        *[f"--customize-hook=chroot \"$1\" sh -c '{command}'" for command in recipe.COMMANDS],
        recipe.SUITE, str(tree), *apt.debian_sources(recipe.SUITE),
    ]  # fmt: skip
    log = cache_root() / "image.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"TMPDIR": str(work), "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )
        assert process.stdout is not None
        phases = dict(_PHASES)
        for line in process.stdout:
            output.write(line)
            begun = next((start for start in phases if line.startswith(start)), None)
            if begun:
                say(f"image: {phases.pop(begun)}")
    if process.wait() != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise ProvisionerError(f"building the lab's image failed; mmdebstrap ended with:\n{tail}", f"see {log}")


def _lay_down(root: Path, files: dict[str, tuple[int, str]]) -> None:
    for name, (mode, content) in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)


def _check_modules(tree: Path) -> None:
    present = {path.name.partition(".ko")[0] for path in (tree / "lib/modules").rglob("*.ko*")}
    missing = [module for module in recipe.KERNEL_MODULES if module not in present]
    if missing:
        raise ProvisionerError(
            f"the kernel {recipe.KERNEL} lacks the modules {', '.join(missing)}",
            "name another kernel in provisioner/lab/recipe.py",
        )


def _take_out(tree: Path, product: Path) -> None:
    for pattern, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd")):
        (source,) = (tree / "boot").glob(pattern)
        shutil.copyfile(source, product / name)
    shutil.copyfile(tree / "var/lib/dpkg/status", product / "dpkg-status")


def _make_disk(tree: Path, disk: Path) -> None:
    with disk.open("wb") as file:
        file.truncate(recipe.DISK_GIB << 30)
    options = "lazy_itable_init=0,lazy_journal_init=0,assume_storage_prezeroed=1,root_owner=0:0"
    made = subprocess.run(
        [
            "nice",
            "-n",
            "10",
            "mkfs.ext4",
            "-q",
            "-F",
            "-L",
            "root",
            "-E",
            options,
            "-d",
            str(tree),
            str(disk),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise ProvisionerError(f"mkfs.ext4 failed: {made.stderr.strip()}", "see that the cache's disk has 3 GiB free")
    disk.chmod(0o444)

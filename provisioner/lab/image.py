"""The lab's disk image, built once into the user's cache.

mmdebstrap unpacks Debian's packages into a tree, mkfs.ext4 turns it into a file system, and kernel and initrd are
copied out for QEMU's direct kernel boot. The cache entry gets its final name only when it is complete.
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

Progress = Callable[[str], None]
_PHASES = {
    "I: running apt-get update": "reading package lists",
    "I: downloading packages": "downloading packages",
    "I: installing essential": "installing essential packages",
    "I: installing remaining": "installing the kernel and other packages",
    "I: running --customize": "setting up users and units",
}


@dataclass(frozen=True)
class Image:
    """A complete image in the cache."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The raw ext4 file system, never written to: the backing file of every VM's disk."""
        return self.directory / "root.ext4"

    @property
    def kernel(self) -> Path:
        """The Linux kernel for QEMU's direct boot."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initrd for the kernel."""
        return self.directory / "initrd"

    @property
    def fingerprint(self) -> str:
        """The UUID of the file system, new with every build: a disk must not be opened over another one."""
        with self.disk.open("rb") as file:
            file.seek(1024 + 0x68)  # s_uuid in the superblock, Documentation/filesystems/ext4/super.rst
            return file.read(16).hex()

    @property
    def dpkg_status(self) -> Path:
        """The image's dpkg status file: the packages that a mirror need not have."""
        return self.directory / "dpkg-status"


def cache_root() -> Path:
    """Return the lab's cache directory: $XDG_CACHE_HOME/provisioner/lab, by default in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "provisioner" / "lab"


def cached(system: str = recipe.SYSTEM) -> Image | None:
    """Return the system's image of the current recipe, or None if the cache lacks it."""
    image = Image(cache_root() / f"image-{recipe.recipe_hash(system)}")
    return image if image.directory.is_dir() else None


def ensure(progress: Progress, system: str = recipe.SYSTEM) -> Image:
    """Return the system's image of the current recipe, building it (a few minutes) if the cache lacks it."""
    found = cached(system)
    if found:
        return found
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    final = root / f"image-{recipe.recipe_hash(system)}"
    with tempfile.TemporaryDirectory(prefix=".image-", dir=root) as scratch:
        work = Path(scratch)
        work.chmod(0o755)  # apt drops to its own user, who must be able to reach the tree
        product = work / "image"
        product.mkdir(mode=0o755)
        tree = work / "tree"
        progress(f"image: building the lab's image of {system}; takes a few minutes, once")
        _unpack(tree, work, recipe.SYSTEMS[system], progress)
        _check_modules(tree)
        _copy_boot_files(tree, product)
        progress("image: writing the file system")
        _make_disk(tree, product / "root.ext4")
        shutil.rmtree(tree)
        try:
            product.rename(final)
        except OSError:
            if not final.is_dir():  # another run finished first; its image is equivalent
                raise
    progress(f"image: ready in {final}")
    return Image(final)


def copy(source: Path, target: Path) -> None:
    """Copy a disk, without its holes and with one step from absent to complete."""
    scratch = _copied(source, target)
    scratch.rename(target)


def copy_of(image: Image, target: Path, mebibytes: int) -> None:
    """Copy the image's disk with a file system of this size; raises ProvisionerError if its files do not fit."""
    scratch = _copied(image.disk, target)
    if image.disk.stat().st_size != mebibytes << 20:
        try:
            # resize2fs wants to see that it was checked.
            _on_disk(target, ["e2fsck", "-f", "-p", str(scratch)], accepted=(0, 1))
            _on_disk(target, ["resize2fs", str(scratch), f"{mebibytes}M"])
            os.truncate(scratch, mebibytes << 20)
        except ProvisionerError:
            scratch.unlink(missing_ok=True)
            raise
    scratch.rename(target)


def _copied(source: Path, target: Path) -> Path:
    scratch = target.with_name(target.name + ".new")
    try:
        _on_disk(target, ["cp", "--sparse=always", "--reflink=auto", str(source), str(scratch)])
    except ProvisionerError:
        scratch.unlink(missing_ok=True)
        raise
    scratch.chmod(0o600)
    return scratch


def _on_disk(target: Path, argv: list[str], accepted: tuple[int, ...] = (0,)) -> None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=os.environ | {"PATH": path})
    if done.returncode not in accepted:
        raise ProvisionerError(
            f"{target.parent.name}: {argv[0]} failed: {done.stderr.strip()}",
            "free space on this machine's disk, or ask for a larger --disk",
        )


def _unpack(tree: Path, work: Path, suite: str, progress: Progress) -> None:
    early = work / "early"
    _write_files(early, recipe.EARLY_FILES)
    late = work / "late"
    _write_files(late, recipe.FILES)
    argv = [
        "nice", "-n", "10",
        "mmdebstrap", "--mode=root", "--variant=minbase", "--verbose",
        "--include=" + ",".join(recipe.PACKAGES),
        # Before packages are unpacked, so that the first initrd is already the right one.
        f'--setup-hook=cp -a --no-preserve=ownership {early}/. "$1"/',
        # Not through links: /etc/default/locale is one in Debian 13.
        f'--customize-hook=cp -a --remove-destination --no-preserve=ownership {late}/. "$1"/',
        *[f"--customize-hook=chroot \"$1\" sh -c '{command}'" for command in recipe.COMMANDS],
        suite, str(tree), *apt.debian_sources(suite),
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
                progress(f"image: {phases.pop(begun)}")
    if process.wait() != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise ProvisionerError(f"building the lab's image failed; the last lines of mmdebstrap:\n{tail}", f"see {log}")


def _write_files(root: Path, files: dict[str, tuple[int, str]]) -> None:
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
            "select another kernel in provisioner/lab/recipe.py",
        )


def _copy_boot_files(tree: Path, product: Path) -> None:
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
        raise ProvisionerError(f"mkfs.ext4 failed: {made.stderr.strip()}", "free 3 GiB on the disk of the cache")
    disk.chmod(0o444)

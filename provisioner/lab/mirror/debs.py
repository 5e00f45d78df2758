"""Debian packages made of built programs, files, and parts of other packages."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from provisioner.lab.mirror import apt, cache
from provisioner.lab.mirror.progress import run


@dataclass(frozen=True)
class Package:
    """A package to build.

    programs: (name of a binary, path on the node); files: (path, text); borrowed: (Debian package, path in it, path on
    the node); directories: empty ones.
    """

    name: str
    version: str
    depends: str
    description: str
    programs: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    postinst: str = ""
    directories: tuple[str, ...] = ()
    borrowed: tuple[tuple[str, str, str], ...] = ()
    conflicts: str = ""
    homepage: str = "https://kubernetes.io"

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.name}_{self.version}_amd64.deb"


def build(package: Package, binaries: Mapping[str, Path], ingredients: Path, directory: Path, scratch: Path) -> None:
    """Build the package's .deb in `directory`. ingredients: see `apt.ingredients`; scratch: a path to create.

    It is not compressed: an emulated machine would spend more time on unpacking than on the download.
    """
    log = cache.root() / "logs/packages.log"
    tree = scratch / "tree"
    tree.mkdir(parents=True)
    for program, place in package.programs:
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(binaries[program], tree / place)
        (tree / place).chmod(0o755)
    for place, text in package.files:
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).write_text(text)
    for place in package.directories:
        (tree / place).mkdir(parents=True)
    for number, (other, source, place) in enumerate(package.borrowed):
        unpacked = scratch / str(number)
        apt.unpack(ingredients, other, unpacked)
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / source).rename(tree / place)
    _control(tree, package)
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / package.file
    run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, target], log)
    shutil.rmtree(scratch)


def control(package: Package, kibibytes: int) -> str:
    """Return the control file of a package whose files take `kibibytes` KiB."""
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": "amd64",
        "Maintainer": "Mirror of a lab <mirror@lab.invalid>",
        "Installed-Size": str(kibibytes),
        "Depends": package.depends,
        "Conflicts": package.conflicts,
        "Replaces": package.conflicts,
        "Section": "admin",
        "Priority": "optional",
        "Homepage": package.homepage,
        "Description": package.description,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def _control(tree: Path, package: Package) -> None:
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(control(package, -(-size // 1024)))
    # Administrators may change what a package installs in /etc (deb-conffiles(5)).
    settings = [f"/{place}\n" for place, _ in package.files if place.startswith("etc/")]
    (tree / "DEBIAN/conffiles").write_text("".join(settings))
    if package.postinst:
        (tree / "DEBIAN/postinst").write_text(package.postinst)
        (tree / "DEBIAN/postinst").chmod(0o755)

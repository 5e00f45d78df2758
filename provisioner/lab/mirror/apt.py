"""Debian packages for the nodes: a closure that apt computes, in a signed repository."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab.apt import debian_sources
from provisioner.lab.mirror import cache, signing
from provisioner.lab.mirror.node_packages import NODE_PACKAGES
from provisioner.lab.mirror.progress import output, run

# The release that the mirror's own images and packages are made of; nodes may run another.
SUITE = "bookworm"
# Ingredients of the mirror's own images and packages: first, for images whose programs call iptables and the like or
# need a C library.
BASE_PACKAGES = (
    "conntrack", "ipset", "iptables", "libc6", "libip4tc2", "libip6tc2", "libipset13", "libmnl0",
    "libnetfilter-conntrack3", "libnfnetlink0", "libnftnl11", "libxtables12",
)  # fmt: skip
# A web server with the libraries it links.
WEB_PACKAGES = ("libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "nginx", "zlib1g")
INGREDIENTS = (
    *dict.fromkeys((*BASE_PACKAGES, *WEB_PACKAGES)),
    "busybox-static", "containernetworking-plugins", "etcd-client", "etcd-server", "runc",
)  # fmt: skip


@dataclass(frozen=True)
class PoolFile:
    """A file of the Debian archive: its path below pool/ and its SHA-256 (hex)."""

    path: str
    sha256: str


def pool_file(wanted: PoolFile, target: Path) -> Path:
    """Download one file from the archive that this machine's apt uses; apt verifies its checksum."""
    archive = debian_sources(SUITE)[0].split()[2].rstrip("/")
    address = f"{archive}/pool/{wanted.path}"
    checksum = f"SHA256:{wanted.sha256}"
    run(["/usr/lib/apt/apt-helper", "download-file", address, target, checksum], _log())
    return target


def build(status: Path | None, suite: str = SUITE) -> Path:
    """Return a directory that is a Debian repository: `pool/*.deb` and signed `dists/SUITE`.

    status: a dpkg status file of the machines that will use it, to omit what they have installed; by default the
    repository has all dependencies.
    """
    key = signing.key()
    recipe: dict[str, object] = {
        "packages": NODE_PACKAGES,
        "suite": suite,
        "key": str(key),
        "status": _text(status),
        "steps": cache.source_hash("apt.py", "signing.py"),
    }
    return cache.artifact("debian", recipe, lambda directory: _repository(directory, key, status, suite))


def ingredients() -> Path:
    """Return a directory with the .deb files that the mirror's own images and packages are made of."""

    def fetch(directory: Path) -> None:
        private = directory / "private"
        options = _options(private, None, SUITE)
        run(["apt-get", *options, "-q", "update"], _log())
        run(["apt-get", *options, "-q", "download", *INGREDIENTS], _log(), cwd=directory)
        shutil.rmtree(private)

    return cache.artifact("ingredients", _ingredients_recipe(), fetch)


def ingredients_path() -> Path:
    """Return the directory that `ingredients` returns, whether or not it has been built."""
    return cache.path("ingredients", _ingredients_recipe())


def _ingredients_recipe() -> dict[str, object]:
    return {"packages": INGREDIENTS, "suite": SUITE, "steps": cache.source_hash("apt.py")}


def _repository(directory: Path, key: Path, status: Path | None, suite: str) -> None:
    private = directory / "private"
    options = _options(private, status, suite)
    run(["apt-get", *options, "-q", "update"], _log())
    download = ["apt-get", *options, "-q", "-y", "--no-install-recommends", "--download-only", "install"]
    run([*download, *NODE_PACKAGES], _log())
    pool = directory / "pool"
    pool.mkdir()
    for package in sorted((private / "cache/archives").glob("*.deb")):
        # %3a of an epoch would have to be escaped in URLs; nothing depends on the file's name.
        _repack(package, pool / package.name.replace("%3a", "_"), private / "tree")
    shutil.rmtree(private)
    index = directory / f"dists/{suite}/main/binary-amd64"
    index.mkdir(parents=True)
    packages_index(directory, "pool", index)
    release(index.parents[1], {"Suite": suite, "Codename": suite, "Components": "main"}, key)


def _log() -> Path:
    return cache.root() / "logs/apt.log"


def _text(status: Path | None) -> str:
    """Return the text of a dpkg status file, "" for none."""
    if status is None:
        return ""
    try:
        return status.read_text(errors="replace")
    except OSError as error:
        raise ProvisionerError(f"{status} cannot be read: {error.strerror}", "pass a dpkg status file") from error


def _options(directory: Path, status: Path | None, suite: str) -> list[str]:
    """Return apt options that limit it to the Debian archive and keep its state in `directory`."""
    for name in ("state/lists/partial", "cache/archives/partial", "parts"):
        (directory / name).mkdir(parents=True)
    sources = directory / "sources.list"
    sources.write_text("".join(f"{line}\n" for line in debian_sources(suite)))
    known = directory / "status"
    known.write_text(_text(status))
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": directory / "parts",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": directory / "parts",
        "Dir::State": directory / "state",
        "Dir::State::status": known,
        "Dir::Cache": directory / "cache",
        # apt's own user cannot enter a cache in a home directory.
        "APT::Sandbox::User": "root",
        "APT::Architecture": "amd64",
        "Acquire::Languages": "none",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _repack(package: Path, target: Path, tree: Path) -> None:
    """Repack a package without compression: an emulated machine takes a minute to unpack containerd from xz."""
    run(["dpkg-deb", "--raw-extract", package, tree], _log())
    run(["dpkg-deb", "-Znone", "--build", tree, target], _log())
    shutil.rmtree(tree)


def packages_index(directory: Path, below: str, place: Path) -> None:
    """Write the index of the packages in `directory`/`below` into `place`, plain and compressed.

    Only with SHA-256: apt computes every checksum that an index has, which is slow on an emulated machine.
    """
    without = [word for name in ("MD5", "SHA1", "SHA512") for word in ("-o", f"APT::FTPArchive::{name}=false")]
    text = output(["apt-ftparchive", *without, "packages", below], _log(), cwd=directory)
    (place / "Packages").write_text(text)
    run(["gzip", "-kn9", place / "Packages"], _log())


def release(directory: Path, fields: dict[str, str], key: Path) -> None:
    """Write Release, Release.gpg and InRelease for the indices below `directory`."""
    options = [
        word
        for name, value in ({"Origin": "mirror", "Label": "mirror", "Architectures": "amd64"} | fields).items()
        for word in ("-o", f"APT::FTPArchive::Release::{name}={value}")
    ]
    text = output(["apt-ftparchive", *options, "release", "."], _log(), cwd=directory)
    (directory / "Release").write_text(text)
    signing.sign(key, directory / "Release")


def package(directory: Path, name: str) -> Path:
    """Return the .deb file of a package in the directory of `ingredients`."""
    found = sorted(directory.glob(f"{name}_*.deb"))
    if len(found) != 1:
        raise ProvisionerError(f"{len(found)} files of the package {name} in {directory}", f"rm -r {directory}")
    return found[0]


def unpack(directory: Path, name: str, tree: Path) -> None:
    """Unpack a package of `ingredients` into `tree`, without its maintainer scripts."""
    run(["dpkg-deb", "-x", package(directory, name), tree], _log())

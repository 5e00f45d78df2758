"""What the image contains, where it comes from, and the identity that a VM gets at boot."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.lab import identity, image, recipe
from provisioner.lab.apt import KEYRING, select_debian
from provisioner.lab.identity import MIRROR_KEYRING, Sources, mirror_sources
from provisioner.lab.image import Image
from provisioner.lab.spec import LabSpec

TARGETS = """\
Debian|Debian-Security|http://deb.example/security/|bookworm-security|main|Packages
Debian|Debian|http://deb.example/debian/|bookworm|main|Packages
Debian|Debian|http://deb.example/debian/|bookworm|main|DEP-11
Debian|Debian|http://deb.example/debian/|bookworm|contrib|Packages
Debian|Debian|http://deb.example/debian/|bookworm-updates|main|Packages
Debian Backports|Debian Backports|http://deb.example/debian/|bookworm-backports|main|Packages
Debian|Debian|http://deb.example/debian/|bookworm-proposed-updates|main|Packages
. nodistro|. nodistro|http://node.example/|nodistro|main|Packages
"""


def test_only_debians_entries_are_used() -> None:
    assert select_debian(TARGETS.splitlines(), "bookworm") == (
        f"deb [signed-by={KEYRING}] http://deb.example/security/ bookworm-security main",
        f"deb [signed-by={KEYRING}] http://deb.example/debian/ bookworm main",
        f"deb [signed-by={KEYRING}] http://deb.example/debian/ bookworm-updates main",
    )


def test_a_host_of_another_release_has_the_same_suites() -> None:
    newer = TARGETS.replace("bookworm", "trixie").splitlines()
    assert select_debian(newer, "bookworm") == select_debian(TARGETS.splitlines(), "bookworm")


def test_without_a_debian_entry_there_are_no_sources() -> None:
    assert select_debian(["Ubuntu|Ubuntu|http://x.example/|noble|main|Packages", ""], "bookworm") == ()


def test_the_recipe_hash_depends_on_the_content(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipe.recipe_hash()
    assert before == recipe.recipe_hash()
    monkeypatch.setattr(recipe, "PACKAGES", (*recipe.PACKAGES, "nano"))
    with_package = recipe.recipe_hash()
    monkeypatch.setitem(recipe.FILES, "etc/motd", (0o644, "hello\n"))
    assert len({before, with_package, recipe.recipe_hash()}) == 3


def test_each_system_has_an_image_of_its_own() -> None:
    assert len({recipe.recipe_hash(system) for system in recipe.SYSTEMS}) == len(recipe.SYSTEMS)


def file_system(image: Image, mebibytes: int) -> int:
    """Make an image with a file in it; return the file system's size in MiB."""
    tree = image.directory / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(bytes(range(256)) * 4096)
    with image.disk.open("wb") as disk:
        disk.truncate(mebibytes << 20)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", "-d", str(tree), str(image.disk)], check=True)
    return size_of(image.disk)


def size_of(disk: Path) -> int:
    shown = subprocess.run(["/sbin/dumpe2fs", "-h", str(disk)], capture_output=True, text=True, check=True).stdout
    fields = {name: value.strip() for name, _, value in (line.partition(":") for line in shown.splitlines())}
    return int(fields["Block count"]) * int(fields["Block size"]) >> 20


needs_ext4 = pytest.mark.skipif(not Path("/sbin/mkfs.ext4").exists(), reason="needs e2fsprogs")


@needs_ext4
@pytest.mark.parametrize("wanted", [24, 64, 96])
def test_a_copy_of_an_image_has_the_wanted_size_and_the_same_files(tmp_path: Path, wanted: int) -> None:
    built, target = Image(tmp_path), tmp_path / "disk.ext4"
    assert file_system(built, 64) == 64
    image.copy_of(built, target, wanted)
    assert size_of(target) == wanted
    assert target.stat().st_size == wanted << 20
    content = subprocess.run(
        ["/sbin/debugfs", "-R", "cat /file", str(target)], capture_output=True, check=True
    ).stdout  # fmt: skip
    assert content == bytes(range(256)) * 4096
    assert subprocess.run(["/sbin/e2fsck", "-fn", str(target)], capture_output=True, check=False).returncode == 0


@needs_ext4
def test_a_disk_too_small_for_the_image_is_refused_and_not_left(tmp_path: Path) -> None:
    built = Image(tmp_path)
    file_system(built, 64)
    with pytest.raises(ProvisionerError, match="resize2fs") as refusal:
        image.copy_of(built, tmp_path / "disk.ext4", 1)
    assert "--disk" in refusal.value.remedy
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("disk")] == []


def test_the_image_has_nothing_of_a_cluster() -> None:
    forbidden = {"containerd", "runc", "nfs-common", "nfs-kernel-server", "conntrack", "socat", "kubelet", "iptables"}
    assert forbidden.isdisjoint(recipe.PACKAGES)


def test_the_image_of_another_recipe_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert image.cached() is None
    (tmp_path / "provisioner/lab" / f"image-{recipe.recipe_hash()}").mkdir(parents=True)
    found = image.cached()
    assert found is not None
    assert found.dpkg_status.name == "dpkg-status"
    monkeypatch.setattr(recipe, "DISK_GIB", 99)
    assert image.cached() is None


def members(content: bytes) -> dict[str, tuple[tarfile.TarInfo, str]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {
            member.name: (member, file.read().decode() if (file := tar.extractfile(member)) else "")
            for member in tar.getmembers()
        }


def test_identity_of_a_machine_that_uses_the_mirror(tmp_path: Path) -> None:
    key = tmp_path / "key.asc"
    key.write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    worker = LabSpec(tmp_path).vm("worker1")
    sources = mirror_sources("http://192.168.56.2/debian", key)
    content = identity.archive(worker, "ssh-ed25519 AAAA lab\n", sources)
    assert content == identity.archive(worker, "ssh-ed25519 AAAA lab\n", sources), "reproducible"
    found = members(content)
    assert found["etc/hostname"][1] == "worker1\n"
    assert "address 192.168.56.11/24" in found["etc/network/interfaces.d/eth1"][1]
    assert found["etc/apt/sources.list"][1] == (
        "deb [signed-by=/usr/share/keyrings/lab-mirror.asc] http://192.168.56.2/debian bookworm main\n"
    )
    assert found[MIRROR_KEYRING.lstrip("/")][1] == key.read_text()
    authorized, text = found["home/vagrant/.ssh/authorized_keys"]
    assert (authorized.mode, authorized.uid, text) == (0o600, 1000, "ssh-ed25519 AAAA lab\n")
    assert found["home/vagrant/.ssh"][0].mode == 0o700


def test_debian_13_gets_its_sources_as_it_has_them(tmp_path: Path) -> None:
    key = tmp_path / "key.asc"
    key.write_text("key\n")
    sources = mirror_sources("http://192.168.56.2/debian-trixie", key, "trixie")
    found = members(identity.archive(LabSpec(tmp_path, os="debian13").vm("master"), "k\n", sources))
    assert found["etc/apt/sources.list"][1] == ""
    assert found["etc/apt/sources.list.d/debian.sources"][1] == (
        "Types: deb\nURIs: http://192.168.56.2/debian-trixie\nSuites: trixie\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/lab-mirror.asc\n"
    )


def test_a_lab_without_extras_gives_the_same_identity_as_ever_and_one_with_them_more(tmp_path: Path) -> None:
    sources = Sources(("deb http://x.example y main",))
    plain = members(identity.archive(LabSpec(tmp_path).vm("worker1"), "k\n", sources))
    folder = "etc/network/interfaces.d/"
    assert [name for name in plain if name.startswith(folder)] == [f"{folder}eth1"]
    more = LabSpec(tmp_path, extras="dual-stack,second-nic").vm("worker1")
    found = members(identity.archive(more, "k\n", sources))
    assert found[f"{folder}eth1"][1].startswith(plain[f"{folder}eth1"][1])
    assert "address fd00:56::11/64" in found[f"{folder}eth1"][1]
    assert "address 192.168.56.111/24" in found[f"{folder}eth2"][1]


def test_identity_without_a_mirror_has_no_key(tmp_path: Path) -> None:
    found = members(identity.archive(LabSpec(tmp_path).vm("master"), "k\n", Sources(("deb http://x.example y main",))))
    assert found["etc/apt/sources.list"][1] == "deb http://x.example y main\n"
    assert MIRROR_KEYRING.lstrip("/") not in found

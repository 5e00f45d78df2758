import tarfile
from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.lab import apt
from provisioner.lab.containers import kernel, nfs, nfs_tree


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kernel, "has_nfs", lambda: False)
    return tmp_path / "provisioner" / "lab"


@pytest.fixture
def ganesha(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = cache / "ganesha"
    (made / "lib").mkdir(parents=True)
    (made / "ganesha.nfsd").write_text("program")
    (made / "lib/libone.so.1.0").write_text("library")
    (made / "lib/libone.so.1").symlink_to("libone.so.1.0")
    monkeypatch.setattr(nfs, "_ganesha", lambda progress: made)
    return made


def test_the_archive_has_what_a_node_needs_and_belongs_to_root(ganesha: Path) -> None:
    assert nfs.made() == ""
    archive = nfs.ensure(print)
    assert nfs.made() == str(archive)
    with tarfile.open(archive) as tar:
        members = {member.name: member for member in tar}
    for name in ("usr/sbin/exportfs", "usr/sbin/mount.nfs", "usr/local/lib/lab/nfs"):
        assert members[name].mode == 0o755
    assert "usr/local/lib/lab/python/provisioner/lab/nfs/__main__.py" in members
    assert "usr/local/lib/lab/python/provisioner/__init__.py" in members
    assert members["usr/local/lib/lab/ganesha/lib/libone.so.1"].linkname == "libone.so.1.0"
    assert "etc/systemd/system/nfs-server.service.d/lab.conf" in members
    assert not [member for member in members.values() if member.uid or member.isdir()]
    assert not [name for name in members if "__pycache__" in name]


def test_the_archive_is_made_once(ganesha: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = nfs.ensure(print)
    monkeypatch.setattr(nfs, "_ganesha", lambda progress: pytest.fail("made again"))
    assert nfs.ensure(print) == archive


def test_what_is_laid_down_in_place_of_a_program_is_diverted() -> None:
    """Or the package would replace it."""
    laid = {f"/{name}" for name in nfs_tree.FILES if name.startswith("usr/sbin/")}
    assert laid <= set(nfs_tree.DIVERTED)


def test_ganesha_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(names: object, suite: str, directory: Path) -> None:
        raise ProvisionerError("apt-get update failed: no network", "apt-get update")

    monkeypatch.setattr(apt, "download", fail)
    with pytest.raises(ProvisionerError, match="cannot be fetched: apt-get update failed"):
        nfs.ensure(print)


def test_the_node_programs_import_nothing_of_the_project_but_themselves() -> None:
    """They run on the node's Python, where the rest is not."""
    for path in (Path(nfs.__file__).parents[1] / "nfs").glob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith(("from provisioner", "import provisioner")):
                assert line.startswith("from provisioner.lab.nfs"), f"{path.name}: {line}"

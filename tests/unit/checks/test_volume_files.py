"""Files of volumes, as they are read on the NFS server: what a pod may have put in their place."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.checks.volume_files import server_script


@pytest.fixture
def volume() -> Iterator[Path]:
    """A volume's directory, which everybody may write."""
    if os.geteuid() != 0:
        pytest.skip("needs root: reads as nobody")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "a b/nfs-01"
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        yield folder


def read(volume: Path) -> subprocess.CompletedProcess[str]:
    words = ["sh", "-euc", server_script(str(volume), "lines")]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def test_a_file(volume: Path) -> None:
    (volume / "lines").write_text("one\n")
    assert read(volume).stdout == "one\n"
    (volume / "lines").write_bytes(b"x" * 3_000_000)
    assert len(read(volume).stdout) == 1024 * 1024


def test_nothing_else(volume: Path, tmp_path: Path) -> None:
    """A link to a secret, a secret itself by a hard link, a FIFO, a folder."""
    secret = volume.parent.parent / "shadow"
    secret.write_text("root:secret")
    secret.chmod(0o600)
    place = volume / "lines"
    place.symlink_to(secret)
    done = read(volume)
    assert (done.stdout, done.returncode != 0) == ("", True)
    place.unlink()
    place.symlink_to("/etc/hostname")
    assert read(volume).stdout == ""
    place.unlink()
    place.hardlink_to(secret)
    assert read(volume).stdout == ""
    place.unlink()
    os.mkfifo(place)
    assert read(volume).stdout == ""
    place.unlink()
    place.mkdir()
    assert read(volume).stdout == ""

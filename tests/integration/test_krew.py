"""The Krew package: a manifest by Krew's rules, and an archive whose launcher runs the plugin."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner import __version__
from tests.integration.test_wheel import ROOT, build_wheel

pytestmark = pytest.mark.integration
URL = f"https://example.org/owner/provisioner/releases/download/v{__version__}"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel, the archive and the manifest."""
    folder = tmp_path_factory.mktemp("dist")
    build_wheel(ROOT, folder)
    subprocess.run([sys.executable, ROOT / "krew/package.py", folder, URL], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="module")
def manifest(package: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((package / "l2.yaml").read_text())
    return found


def test_the_manifest_obeys_krews_rules(manifest: dict[str, Any]) -> None:
    """As krew's internal/index/validation and its developer guide demand."""
    assert manifest["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2"
    assert manifest["kind"] == "Plugin"
    assert re.fullmatch(r"[\w-]+", manifest["metadata"]["name"])
    spec = manifest["spec"]
    assert re.fullmatch(r"v\d+\.\d+\.\d+(-[\w.]+)?", spec["version"])
    assert spec["homepage"] == "https://example.org/owner/provisioner"
    assert 0 < len(spec["shortDescription"]) <= 50
    assert not spec["shortDescription"].endswith(".")
    assert spec["description"].strip()
    assert "\n" not in spec["shortDescription"]
    (platform,) = spec["platforms"]
    assert platform["selector"]["matchLabels"] == {"os": "linux"}
    assert re.fullmatch(r"[0-9a-f]{64}", platform["sha256"])
    assert platform["uri"].startswith("https://")
    assert all(file["from"] and not file["to"].startswith(("/", "..")) for file in platform["files"])


def test_the_checksum_and_the_files_are_those_of_the_archive(package: Path, manifest: dict[str, Any]) -> None:
    (platform,) = manifest["spec"]["platforms"]
    archive = package / platform["uri"].rsplit("/", 1)[1]
    assert platform["uri"] == f"{URL}/{archive.name}"
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == platform["sha256"]
    with tarfile.open(archive) as tar:
        assert {entry.name for entry in tar} == {
            "kubectl-l2",
            f"provisioner-{__version__}-py3-none-any.whl",
            "LICENSE",
        }
        assert tar.getmember(platform["bin"]).mode & 0o111


def test_an_installed_plugin_runs(package: Path, manifest: dict[str, Any], tmp_path: Path) -> None:
    """Install as krew does: unpack into its store, and link the program. Libraries are this environment's."""
    store, programs = tmp_path / "store/l2/v0", tmp_path / "bin"
    store.mkdir(parents=True)
    programs.mkdir()
    (archive,) = package.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(store, filter="data")
    plugin = programs / "kubectl-l2"
    plugin.symlink_to(store / manifest["spec"]["platforms"][0]["bin"])
    libraries = os.pathsep.join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
        "HOME": str(tmp_path),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PYTHONPATH": libraries,
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [plugin, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    first = run("--version")
    assert (first.returncode, first.stdout) == (0, f"kubectl l2, version {__version__}\n"), first.stderr
    assert first.stderr.startswith("kubectl l2: installing provisioner-"), first.stderr
    again = run("check", "--help")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("Usage: kubectl l2 check [OPTIONS] [SERVICE|IP]...")
    nothing = run("check")
    assert nothing.returncode == 2
    assert "apply" not in nothing.stderr


def test_without_python_it_says_what_is_missing(package: Path, tmp_path: Path) -> None:
    (archive,) = package.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "readlink", "basename"):
        (tools / name).symlink_to(Path("/usr/bin") / name)
    environment = {"PATH": str(tools), "HOME": str(tmp_path)}
    ended = subprocess.run([tmp_path / "kubectl-l2"], env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (
        2,
        "kubectl l2: it needs Python 3.11 or later, and there is no python3\n",
    )

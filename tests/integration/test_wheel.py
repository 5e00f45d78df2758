"""The wheel: built, installed into an empty environment away from the checkout, and used from an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.kube.apiserver import EDITION, ControlPlane, free_port
from tests.integration.ssh.conftest import missing_tools
from tests.integration.ssh.nodes import Machine, network

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
MANIFESTS = ("workloads", "nfs", "metallb", "ingress", "l2")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")

UNREACHABLE = """
[ssh]
connect_timeout = 2.0
host_keys = "off"
[[hosts]]
name = "master"
address = "192.0.2.10"
ssh_address = "127.0.0.1"
ssh = {{ port = {port} }}
roles = ["control-plane", "worker"]
[metallb]
enabled = false
"""

REACHABLE = """
[cluster]
kubernetes = "{kubernetes}"
[ssh]
user = "root"
key = "id"
[[hosts]]
name = "master"
address = "{address}"
roles = ["control-plane"]
[ingress]
controller = "traefik"
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the checkout."""
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of an environment with the wheel; it borrows this environment's libraries."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    subprocess.run(
        [*PIP, "--python", str(folder / "bin/python"), "install", "--no-index", "--no-deps", str(wheel)], check=True
    )
    (packages,) = folder.glob("lib/python*/site-packages")
    # Its own .pth files, the checkout's among them, do not count in a folder that is added by one.
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "libraries.pth").write_text("\n".join(sorted(libraries)) + "\n")
    return folder / "bin"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def build_wheel(source: Path, target: Path) -> Path:
    """Return the wheel that pip builds from a source tree, without a network."""
    subprocess.run(
        [*PIP, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", str(target), str(source)], check=True
    )
    (built,) = target.glob("*.whl")
    return built


def run(program: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, with an empty home and nothing that leads to the checkout."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return subprocess.run(
        [str(program), *words],
        cwd=folder,
        env=kept | {"HOME": str(folder.parent)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def contents(path: Path) -> dict[str, bytes]:
    """Return the files of a wheel by name, without RECORD."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


def test_a_wheel_has_the_manifests_types_and_licenses(wheel: Path) -> None:
    found = contents(wheel)
    for name in MANIFESTS:
        shipped = {path.name: path.read_bytes() for path in (ROOT / name).iterdir()}
        packed = {
            Path(path).name: data for path, data in found.items() if path.startswith(f"provisioner/manifests/{name}/")
        }
        assert packed == shipped
    assert {
        "provisioner/py.typed",
        "provisioner/catalogue.toml",
        "provisioner/site/init-template.toml",
    } <= found.keys()
    assert {Path(path).name for path in found if "dist-info/licenses/" in path} == {"LICENSE", "NOTICE"}
    assert {path.split("/")[0].split("-")[0] for path in found} == {"provisioner"}


def test_a_wheel_draws_the_page_of_a_report(installed: Path, empty: Path) -> None:
    (empty / "hosts.toml").write_text(UNREACHABLE.format(port=1))
    done = run(installed / "provisioner", empty, "report", "--offline", "-O", "-")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("<!DOCTYPE html>")
    assert "default-src &#39;none&#39;" in done.stdout


def test_a_source_distribution_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (packed,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / packed.name.removesuffix(".tar.gz")
    assert not (source / "tests").exists()
    assert contents(build_wheel(source, tmp_path / "wheels")) == contents(wheel)


def test_nothing_of_the_checkout_is_used(installed: Path, empty: Path) -> None:
    script = "import sys, provisioner; print(provisioner.__file__, *sys.path, sep='\\n')"
    package, *path = run(installed / "python", empty, "-c", script).stdout.splitlines()
    assert Path(package).is_relative_to(installed.parent)
    assert str(ROOT) not in path


@pytest.mark.parametrize("command", ["--help", "l2 scan --help", "lab up --help"])
def test_help(installed: Path, empty: Path, command: str) -> None:
    done = run(installed / "provisioner", empty, *command.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: provisioner" in done.stdout


def test_pages_of_verdicts_travel(installed: Path, empty: Path) -> None:
    done = run(installed / "provisioner", empty, "l2", "explain", "split-brain")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# SPLIT_BRAIN\n")
    assert "## How to fix it" in done.stdout


def test_init_writes_a_site_that_is_read_back(installed: Path, empty: Path) -> None:
    assert run(installed / "provisioner", empty, "init").returncode == 0
    script = "import pathlib, provisioner.site as s; print(s.load_site(pathlib.Path('hosts.toml')).cluster.name)"
    assert run(installed / "python", empty, "-c", script).stdout == "lab\n"


@pytest.mark.parametrize("command", ["plan", "apply --dry-run --only workloads"])
def test_hosts_that_do_not_answer_are_a_plain_error(installed: Path, empty: Path, command: str) -> None:
    (empty / "hosts.toml").write_text(UNREACHABLE.format(port=free_port()))
    done = run(installed / "provisioner", empty, *command.split())
    assert done.returncode == 1
    assert "master: " in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_the_shipped_workloads_roll_out(
    installed: Path, empty: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against a real API server, over a real sshd; this test stands in for the controllers and the kubelets."""
    if why := missing_tools():
        pytest.skip(why)
    provisioner = installed / "provisioner"
    with cluster(tmp_path_factory.mktemp("control-plane")) as (machine, control_plane):
        shutil.copy(machine.folder.parent / "id", empty)
        (empty / "hosts.toml").write_text(REACHABLE.format(kubernetes=EDITION.kubernetes, address=machine.address))
        planned = run(provisioner, empty, "apply", "--dry-run", "--only", "workloads")
        assert planned.returncode == 2, planned.stderr
        assert "apply Deployment course/np-pods" in planned.stdout
        with every_workload_ready(control_plane):
            applied = run(provisioner, empty, "apply", "-y", "--only", "workloads")
        assert applied.returncode == 0, applied.stderr
        again = run(provisioner, empty, "apply", "--dry-run", "--only", "workloads")
        assert (again.returncode, again.stdout) == (0, ""), again.stderr


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Machine, ControlPlane]]:
    """Give a machine with sshd and an admin.conf, and the API server that this leads to, in a network of their own."""
    with network(folder, ("master",)) as machines:
        control_plane = ControlPlane(folder)
        try:
            control_plane.start_etcd()
            control_plane.start_api()
            (folder / "admin.conf").write_text(control_plane.kubeconfig())
            machines["master"].sh(f"mkdir -p /etc/kubernetes; cp {folder}/admin.conf /etc/kubernetes/")
            yield machines["master"], control_plane
        finally:
            control_plane.stop()


@contextmanager
def every_workload_ready(control_plane: ControlPlane) -> Iterator[None]:
    """Report every Deployment, DaemonSet and StatefulSet as rolled out, as soon as it is there."""
    stop = threading.Event()

    def report() -> None:
        while not stop.wait(0.2):
            for kind in ("deployments", "daemonsets", "statefulsets"):
                path = f"/apis/apps/v1/namespaces/course/{kind}"
                for item in control_plane.ask("GET", path)[1].get("items") or ():
                    control_plane.ask(
                        "PATCH",
                        f"{path}/{item['metadata']['name']}/status",
                        {"status": rolled_out(kind, item)},
                        content="application/merge-patch+json",
                    )

    thread = threading.Thread(target=report)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def rolled_out(kind: str, item: dict[str, Any]) -> dict[str, int]:
    """Return the status of a workload whose pods are all updated and ready."""
    seen, number = item["metadata"]["generation"], item["spec"].get("replicas", 1)
    if kind == "daemonsets":
        names = ("currentNumberScheduled", "desiredNumberScheduled", "updatedNumberScheduled", "numberReady")
        return dict.fromkeys(names, 1) | {"observedGeneration": seen, "numberMisscheduled": 0}
    return dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), number) | {"observedGeneration": seen}

"""Machines for the tests of this folder, sites with them, and runs of the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.report import Event, Log, Report
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host
from provisioner.ssh import host as host_module
from tests import hosts_toml
from tests.integration.ssh.nodes import Machine, network

ROOT = Path(__file__).parents[3]
NAMES = ("master", "one", "gate")
TOOLS = ("sshd", "ssh-keygen", "sudo", "ip", "unshare", "nsenter", "flock")


def missing_tools() -> str:
    """Return why machines cannot be made here, "" if they can."""
    if os.geteuid() != 0:
        return "needs root: makes network namespaces and starts sshd in them"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    return f"needs {', '.join(missing)} (Debian: openssh-server sudo iproute2 util-linux)" if missing else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and skip them with the reason if they cannot run."""
    missing = missing_tools()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)
            if missing:
                item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="package")
def machines() -> Iterator[dict[str, Machine]]:
    """Three machines for all tests of this folder; this thread is in the operator's namespace meanwhile."""
    # Not in pytest's folders, which only root can read: sshd reads authorized_keys as the user who logs in.
    with tempfile.TemporaryDirectory(prefix="provisioner-ssh-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        with network(Path(name), NAMES) as made:
            yield made


@pytest.fixture
def folder(machines: dict[str, Machine], tmp_path: Path) -> Path:
    """The folder of hosts.toml."""
    key = machines["master"].folder.parent / "id"
    shutil.copy(key, tmp_path / "id")
    return tmp_path


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(machines: dict[str, Machine], folder: Path) -> MakeSite:
    """Write a hosts.toml with the given values under [ssh] and load it."""

    def make(hosts: tuple[str, ...] = ("master", "one"), scale: float = 1.0, **ssh: object) -> Site:
        values = {"user": "plain", "key": "id", "connect_timeout": 5.0, **ssh}
        lines = [f"[cluster]\ntimeout_scale = {scale}\n[ssh]"]
        lines += [
            f"{key} = {value if isinstance(value, int | float) else repr(value)}" for key, value in values.items()
        ]
        for name in hosts:
            role = "control-plane" if name == hosts[0] else "worker"
            lines.append(hosts_toml.host(name, machines[name].address, role))
        return hosts_toml.load(folder, "\n".join(lines))

    return make


def provisioner(site: Site, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line for a site in a subprocess."""
    return subprocess.run(
        command_line(site, *words),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=60,
        **more,
    )


def command_line(site: Site, *words: str) -> list[str]:
    """Return the argv of the command line with the steps of demo.py.

    A shell ignores SIGINT in background jobs, which children of a test run in the background would inherit.
    """
    demo = str(Path(__file__).with_name("demo.py"))
    return ["env", "--default-signal=INT", sys.executable, demo, "-f", str(site.path), *words]


class OpenSite:
    """The hosts of a site, the events that an operator would see, and the log."""

    def __init__(self, site: Site, query: FactQuery | None = None) -> None:
        self.site = site
        self.events: list[Event] = []
        self._log = Log(site.directory / "test.log")
        self.hosts = host_module.fleet(site, Report(self.events.append, log=self._log), query)

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    @property
    def log(self) -> str:
        """The content of the log so far."""
        return self._log.path.read_text() if self._log.path.exists() else ""

    def output(self) -> list[str]:
        """Return the output lines shown so far."""
        return [event.text for event in self.events if event.kind == "output"]

    def close(self) -> None:
        """Close the connections and the log."""
        host_module.close(self.hosts)
        self._log.close()


Open = Callable[..., OpenSite]


@pytest.fixture
def open_site() -> Iterator[Open]:
    """Open sites; they are closed after the test."""
    sites: list[OpenSite] = []

    def open_one(site: Site, query: FactQuery | None = None) -> OpenSite:
        sites.append(OpenSite(site, query))
        return sites[-1]

    yield open_one
    for each in sites:
        each.close()


@pytest.fixture
def site(make_site: MakeSite, machines: dict[str, Machine]) -> Iterator[Site]:
    """A clean site of master and one; /run/go exists, so that no job is slow."""
    for machine in machines.values():
        machine.sh("rm -rf /etc/demo.* /var/lib/provisioner /run/provisioner; touch /run/go")
    yield make_site()
    for machine in machines.values():
        machine.sh("touch /run/go")


@pytest.fixture
def started(site: Site) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command line in the background; it is killed after the test."""
    children: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            command_line(site, *words),
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


SshdOptions = Callable[..., None]


@pytest.fixture
def sshd(machines: dict[str, Machine]) -> Iterator[SshdOptions]:
    """Restart a machine with further lines at the top of its sshd_config; undone after the test."""
    changed: dict[str, str] = {}

    def restart(name: str, *lines: str) -> None:
        machine = machines[name]
        file = machine.folder / "sshd_config"
        changed.setdefault(name, file.read_text())
        machine.shutdown()
        file.write_text("".join(f"{line}\n" for line in lines) + changed[name])
        machine.boot()

    yield restart
    for name, text in changed.items():
        machines[name].shutdown()
        (machines[name].folder / "sshd_config").write_text(text)
        machines[name].boot()


def slow_started(machine: Machine) -> Callable[[], bool]:
    """Return a function that returns whether the job `slow` has started on a machine."""
    return lambda: "demo.count" in machine.sh("ls /etc")

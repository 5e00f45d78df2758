"""When `make cluster` runs `vagrant up`, and when it must not: it would create duplicates of physical servers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from provisioner.cli.vagrant import bring_up
from provisioner.errors import ProvisionerError
from provisioner.site import Site
from tests import hosts_toml

NAMES = ("master", "worker1", "worker2")
# Records its arguments; prints the states and exits with the status that the test has prepared.
PROGRAM = """\
#!/bin/sh
echo "$PROVISIONER_SITE: $*" >>called
if [ "$1" = status ]; then cat states; else exit "$(cat failing)"; fi
"""


@contextmanager
def site(folder: Path, *up: str) -> Iterator[Site]:
    """Provide a site of which these hosts answer, each on a port of the loopback interface."""
    text = ""
    with ExitStack() as sockets:
        for number, name in enumerate(NAMES, 1):
            listener = sockets.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))  # bound but not listening: reserved, and refuses connections
            if name in up:
                listener.listen()
            role, ssh = "worker" if number > 1 else "control-plane", {"port": listener.getsockname()[1]}
            text += hosts_toml.host(name, f"192.0.2.{number}", role, ssh_address="127.0.0.1", ssh=ssh)
        yield hosts_toml.load(folder, text)


@pytest.fixture
def vagrant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a Vagrantfile and a fake `vagrant`; return the folder."""
    (tmp_path / "Vagrantfile").touch()
    (tmp_path / "failing").write_text("0")
    program = tmp_path / "bin/vagrant"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path


def states(folder: Path, *made: str) -> None:
    """Prepare the output of `vagrant status --machine-readable` for these created machines."""
    lines = [f"1700000000,{name},metadata,provider,virtualbox" for name in NAMES]
    for name in NAMES:
        state = "running" if name in made else "not_created"
        lines += [f"1700000000,{name},state,{state}", f"1700000000,{name},state-human-short,{state}"]
    (folder / "states").write_text("\n".join(lines) + "\n")


def called(folder: Path) -> list[str]:
    """Return the arguments of each call, in order."""
    file = folder / "called"
    return [line.partition(": ")[2] for line in file.read_text().splitlines()] if file.exists() else []


STATUS = "status --machine-readable"


@pytest.mark.parametrize(
    ("up", "made", "calls"),
    [
        ((), (), ["up"]),
        (NAMES, (), []),
        (("master", "worker1"), ("master", "worker1"), [STATUS, "up"]),
        (("master",), NAMES, [STATUS, "up"]),
    ],
    ids=["new lab", "all up", "lab with a new worker", "lab partly halted"],
)
def test_vagrant_up_runs_if_vagrant_machines_are_down(
    vagrant: Path, up: tuple[str, ...], made: tuple[str, ...], calls: list[str]
) -> None:
    states(vagrant, *made)
    with site(vagrant, *up) as own:
        bring_up(own)
    assert called(vagrant) == calls
    if calls:
        assert (vagrant / "called").read_text().startswith(f"{vagrant / 'hosts.toml'}: ")


@pytest.mark.parametrize(
    ("up", "made", "foreign"),
    [
        (("master", "worker1"), (), "master, worker1"),
        (("master", "worker1"), ("worker1",), "master"),
        (("master", "worker1"), None, "master, worker1"),
    ],
    ids=["servers", "one server", "vagrant status fails"],
)
def test_vagrant_up_is_skipped_for_physical_servers(
    vagrant: Path, capsys: pytest.CaptureFixture[str], up: tuple[str, ...], made: tuple[str, ...] | None, foreign: str
) -> None:
    if made is None:
        (vagrant / "states").write_text("1700000000,,error-exit,Vagrant::Errors::VagrantfileSyntaxError,no\n")
    else:
        states(vagrant, *made)
    with site(vagrant, *up) as own:
        bring_up(own)
    assert called(vagrant) == [STATUS]
    assert capsys.readouterr().err == (
        f"provisioner: worker2 not reachable on SSH; skipping vagrant up, since Vagrant did not create {foreign} "
        "and could create duplicates of physical servers\n"
    )


def test_a_failing_vagrant_up_is_reported(vagrant: Path) -> None:
    (vagrant / "failing").write_text("1")
    with site(vagrant) as own, pytest.raises(ProvisionerError, match="vagrant up failed"):
        bring_up(own)


def test_without_vagrant_one_reachable_host_suffices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with site(tmp_path, "worker1") as own:
        bring_up(own)
    with site(tmp_path) as own, pytest.raises(ProvisionerError, match="and Vagrant is not installed"):
        bring_up(own)

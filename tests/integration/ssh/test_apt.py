"""apt itself on a machine with a busy lock, a dead source and a repository that is there twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from provisioner.engine import apt
from provisioner.errors import HostError
from tests.integration.ssh.conftest import MakeSite, Open, OpenSite
from tests.integration.ssh.nodes import Machine

DEAD = "deb http://nowhere.invalid/debian bookworm main\n"
OWN = "deb [trusted=yes] file:/run/repository ./\n"
HOLD = (
    "import fcntl, os, time; f = open('/var/lib/apt/lists/lock', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); "
    "open('/run/held', 'w').close(); time.sleep(5)"
)


@pytest.fixture
def machine(machines: dict[str, Machine]) -> Iterator[Machine]:
    """A machine whose only package source is an empty one of its own."""
    if not shutil.which("apt-get"):
        pytest.skip("apt is not installed")
    one = machines["one"]
    one.sh(
        "rm -rf /etc/apt/sources.list.d/* /run/held; mkdir -p /run/repository /run/cache/archives/partial\n"
        "touch /run/repository/Packages\n"
        f"printf '%s' '{OWN}' >/etc/apt/sources.list; echo 'Dir::Cache \"/run/cache\";' >/etc/apt/apt.conf.d/99test"
    )
    yield one
    one.sh("rm -f /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/99test")


@pytest.fixture
def opened(machine: Machine, make_site: MakeSite, open_site: Open) -> OpenSite:
    return open_site(make_site(("one",), user="root"))


def test_the_lock_of_the_lists_is_waited_for(machine: Machine, opened: OpenSite) -> None:
    machine.sh(f'setsid python3 -c "{HOLD}" >/dev/null 2>&1 & while [ ! -e /run/held ]; do sleep 0.1; done')
    apt.install(opened["one"], ["dpkg"])
    assert any("lists/lock" in line and line.endswith("waiting") for line in opened.output()), opened.output()


def test_a_dead_source_that_is_not_needed_is_named(machine: Machine, opened: OpenSite) -> None:
    machine.sh(f"printf '# mine\\n%s' '{DEAD}' >/etc/apt/sources.list.d/old.list")
    apt.install(opened["one"], ["dpkg"])
    notes = [event.text for event in opened.events if event.kind == "note"]
    assert any(
        "the packages are installed, but DNS does not resolve nowhere.invalid (/etc/apt/sources.list.d/old.list:2)"
        in note
        for note in notes
    ), notes


def test_a_dead_source_that_is_needed_is_the_cause(machine: Machine, opened: OpenSite) -> None:
    machine.sh(f"printf '%s' '{DEAD}' >/etc/apt/sources.list.d/old.list")
    with pytest.raises(HostError) as raised:
        apt.install(opened["one"], ["no-such-package"])
    assert raised.value.message == (
        "apt cannot install no-such-package: DNS does not resolve nowhere.invalid (/etc/apt/sources.list.d/old.list:1)"
    )


def test_a_repository_with_two_keys_is_the_cause(machine: Machine, opened: OpenSite) -> None:
    lines = "\n".join(f"deb [signed-by=/etc/apt/keyrings/{key}] http://nowhere.invalid/x ./" for key in ("a", "b"))
    machine.sh(f"echo '{lines}' >/etc/apt/sources.list.d/twice.list")
    with pytest.raises(HostError) as raised:
        apt.install(opened["one"], ["no-such-package"])
    assert "two of its source files have one repository with different options" in raised.value.message

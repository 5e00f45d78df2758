"""The lock of a run: who holds it, who is kept off, what frees it, and when it is lost."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest

from provisioner.engine import lock
from provisioner.errors import Locked
from provisioner.site import Site
from tests.integration.ssh.conftest import Desk, begun, provisioner
from tests.integration.ssh.nodes import Machine, wait_for

Open = Callable[..., Desk]


def test_two_runs_at_once(
    site: Site, machines: dict[str, Machine], started: Callable[..., subprocess.Popen[str]]
) -> None:
    master = machines["master"]
    master.sh("rm /run/go")
    first = started("apply", "-y")
    wait_for(begun(master), "the slow command")
    second = provisioner(site, "apply", "-y")
    assert second.returncode == 1
    assert re.search(rf"master: another run holds the lock: .*\(pid {first.pid}, `apply`, since ", second.stderr)
    assert f"provisioner -f {site.path} unlock" in second.stderr
    assert provisioner(site, "plan").returncode == 2  # a plan takes no lock and needs none
    refused = provisioner(site, "unlock")
    assert refused.returncode == 1
    assert f"pid {first.pid}" in refused.stdout
    master.sh("touch /run/go")
    told = first.communicate(timeout=30)[1]
    assert first.returncode == 0, told
    assert "there is no lock" in provisioner(site, "unlock", "-y").stdout


def test_checks_that_change_something_keep_off_another_run_and_those_that_look_do_not(site: Site, desk: Open) -> None:
    with lock.acquired(desk(site)["master"], "apply"):
        refused = provisioner(site, "verify", "nodes", "statefulset")
        assert refused.returncode == 1
        assert "master: another run holds the lock" in refused.stderr
        looked = provisioner(site, "verify", "nodes", "loadbalancer")
        assert "lock" not in looked.stderr
        assert "API_UNREACHABLE" in provisioner(site, "verify", "nodes", "-o", "json").stdout
    alone = provisioner(site, "verify", "-o", "json")
    assert "API_UNREACHABLE" in alone.stdout
    assert "there is no lock" in provisioner(site, "unlock", "-y").stdout


def test_a_disk_without_room_for_the_lock(site: Site, machines: dict[str, Machine]) -> None:
    master = machines["master"]
    master.sh("mkdir -p /var/lib/provisioner; mount -t tmpfs -o size=4k,nr_inodes=3 none /var/lib/provisioner")
    try:
        master.sh("head -c 4096 /dev/zero >/var/lib/provisioner/full")
        ran = provisioner(site, "apply", "-y")
    finally:
        master.sh("umount /var/lib/provisioner")
    assert ran.returncode == 1
    assert "master: /var/lib/provisioner has no space left for the run's lock" in ran.stderr
    assert "nothing was changed" in ran.stderr
    assert master.sh("ls /etc | grep -c demo || true") == "0\n"


def test_unlock_stops_the_run_that_had_it(site: Site, desk: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TTL", 3.0)  # a login may take a second of it
    first, second = desk(site)["master"], desk(site)["master"]
    with lock.acquired(first, "apply") as guard:
        guard()
        with pytest.raises(Locked), lock.acquired(second, "apply"):
            pass
        held = lock.held(second)
        assert held is not None
        assert lock.remove(second, held)
        with lock.acquired(second, "other"):
            wait_for(lambda: "the lock was lost to" in _refusal(guard), "the loss of the lock to be noticed")
            assert lock.held(second) is not None
            assert not lock.remove(second, held)
    assert lock.held(second) is None


def _refusal(guard: Callable[[], None]) -> str:
    try:
        guard()
    except Locked as error:
        return str(error)
    return ""


def test_a_lock_is_refreshed_while_held_and_expires_when_nobody_does(
    site: Site, desk: Open, machines: dict[str, Machine]
) -> None:
    host = desk(site)["master"]
    with lock.acquired(host, "apply"):
        held = lock.held(host)
        assert held is not None
        machines["master"].sh("touch -d '-61 seconds' /var/lib/provisioner/lock")
        old = lock.held(host)
        assert old is not None
        assert old.left < 0
        with lock.acquired(desk(site)["master"], "another"):
            new = lock.held(host)
            assert new is not None
            assert new.owner is not None
            assert new.owner.command == "another"

"""The lock of a run: who holds it, whom it keeps out, how it is released and lost."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest

from provisioner.engine import lock
from provisioner.errors import Locked
from provisioner.site import Site
from tests.integration.ssh.conftest import Open, provisioner, slow_started
from tests.integration.ssh.nodes import Machine, wait_for


def test_a_second_run_is_kept_out(
    site: Site, machines: dict[str, Machine], started: Callable[..., subprocess.Popen[str]]
) -> None:
    master = machines["master"]
    master.sh("rm /run/go")
    first = started("apply", "-y")
    wait_for(slow_started(master), "the slow command")
    second = provisioner(site, "apply", "-y")
    assert second.returncode == 1
    assert re.search(rf"master: another run holds the lock: .*\(pid {first.pid}, `apply`, since ", second.stderr)
    assert f"provisioner -f {site.path} unlock" in second.stderr
    assert provisioner(site, "plan").returncode == 2  # a plan takes no lock and needs none
    refused = provisioner(site, "unlock")
    assert refused.returncode == 1
    assert f"pid {first.pid}" in refused.stdout
    master.sh("touch /run/go")
    stderr = first.communicate(timeout=30)[1]
    assert first.returncode == 0, stderr
    assert "not locked" in provisioner(site, "unlock", "-y").stdout


def test_only_checks_that_change_something_need_the_lock(site: Site, open_site: Open) -> None:
    with lock.acquire(open_site(site)["master"], "apply"):
        refused = provisioner(site, "verify", "nodes", "statefulset")
        assert refused.returncode == 1
        assert "master: another run holds the lock" in refused.stderr
        allowed = provisioner(site, "verify", "nodes", "loadbalancer")
        assert "lock" not in allowed.stderr
        assert "API_UNREACHABLE" in provisioner(site, "verify", "nodes", "-o", "json").stdout
    alone = provisioner(site, "verify", "-o", "json")
    assert "API_UNREACHABLE" in alone.stdout
    assert "not locked" in provisioner(site, "unlock", "-y").stdout


def test_a_full_disk_is_reported_before_anything_changes(site: Site, machines: dict[str, Machine]) -> None:
    master = machines["master"]
    master.sh("mkdir -p /var/lib/provisioner; mount -t tmpfs -o size=4k,nr_inodes=3 none /var/lib/provisioner")
    try:
        master.sh("head -c 4096 /dev/zero >/var/lib/provisioner/full")
        ran = provisioner(site, "apply", "-y")
    finally:
        master.sh("umount /var/lib/provisioner")
    assert ran.returncode == 1
    assert "master: no space left in /var/lib/provisioner for the run's lock" in ran.stderr
    assert "nothing was changed" in ran.stderr
    assert master.sh("ls /etc | grep -c demo || true") == "0\n"


def test_a_run_stops_when_its_lock_is_removed(site: Site, open_site: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TTL", 3.0)  # a login may take a second
    first, second = open_site(site)["master"], open_site(site)["master"]
    with lock.acquire(first, "apply") as ensure_held:
        ensure_held()
        with pytest.raises(Locked), lock.acquire(second, "apply"):
            pass
        held = lock.read(second)
        assert held is not None
        assert lock.remove(second, held)
        with lock.acquire(second, "other"):
            wait_for(lambda: "the lock was lost to" in _refusal(ensure_held), "the loss of the lock to be noticed")
            assert lock.read(second) is not None
            assert not lock.remove(second, held)
    assert lock.read(second) is None


def _refusal(ensure_held: Callable[[], None]) -> str:
    try:
        ensure_held()
    except Locked as error:
        return str(error)
    return ""


def older(seconds: int, boot: str = "$(cat /proc/sys/kernel/random/boot_id)") -> str:
    """Return the command that makes the lock's last refresh so many seconds older."""
    return f'cd /var/lib/provisioner; read -r up _ </proc/uptime; echo "{boot} $((${{up%.*}} - {seconds}))" >stamp'


def test_the_clock_of_the_host_does_not_end_a_lock(site: Site, open_site: Open, machines: dict[str, Machine]) -> None:
    host = open_site(site)["master"]
    with lock.acquire(host, "apply"):
        machines["master"].sh("touch -d '-1 day' /var/lib/provisioner/*")
        with pytest.raises(Locked), lock.acquire(open_site(site)["master"], "another"):
            pass
        machines["master"].sh(older(0, boot="another-boot"))  # the host has rebooted: at least as old as its uptime
        held = lock.read(host)
        assert held is not None
        assert held.age >= 1
        machines["master"].sh("rm /var/lib/provisioner/stamp")  # as an older version left it
        held = lock.read(host)
        assert held is not None
        assert held.age < lock.TTL


def test_a_clone_of_this_machine_waits_and_does_not_take_the_lock(
    site: Site, open_site: Open, machines: dict[str, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a clone, the holder seems to be dead; while it refreshes the lock, it is not."""
    monkeypatch.setattr(lock, "TTL", 20.0)
    opened = open_site(site)
    with lock.acquire(open_site(site)["master"], "apply") as ensure_held:
        monkeypatch.setattr(lock, "process_start", lambda pid: "another process")
        with pytest.raises(Locked, match="another run holds the lock"), lock.acquire(opened["master"], "apply"):
            pass
        ensure_held()
    assert any("waiting" in event.text for event in opened.events if event.kind == "note")


def test_a_lock_that_was_refreshed_meanwhile_is_not_taken(site: Site, open_site: Open) -> None:
    host = open_site(site)["master"]
    with lock.acquire(host, "apply"):
        held = lock.read(host)
        assert held is not None
        answer = lock._swap(host, held.text, "{}", held.ttl)
        assert answer.startswith("held")


def test_an_expired_lock_is_taken_over(site: Site, open_site: Open, machines: dict[str, Machine]) -> None:
    host = open_site(site)["master"]
    with lock.acquire(host, "apply"):
        held = lock.read(host)
        assert held is not None
        machines["master"].sh(older(61))
        old = lock.read(host)
        assert old is not None
        assert old.expires_in < 0
        with lock.acquire(open_site(site)["master"], "another"):
            new = lock.read(host)
            assert new is not None
            assert new.holder is not None
            assert new.holder.command == "another"

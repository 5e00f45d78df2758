"""Mistakes that stop before anything: one clear message a host, and nothing is changed."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.e2e import drive
from tests.e2e.drive import HOSTS

pytestmark = pytest.mark.e2e


def test_a_wrong_key_stops_before_anything() -> None:
    """Each host says that it does not let this key in; no host is touched."""
    key = drive.LAB / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    ran = drive.operator("apply", "-y", site=drive.other_site("wrong-key", (str(drive.LAB / "id_ed25519"), str(key))))
    _refused(ran, *HOSTS)


def test_an_unreachable_host_is_named() -> None:
    """The one that does not answer is named, the others are left alone."""
    site = drive.other_site("unreachable", ("192.168.56.12", "192.168.56.99"))
    ran = drive.operator("apply", "-y", site=site)
    _refused(ran, "worker2")
    assert "192.168.56.99" in ran.text


def test_a_missing_sudo_password_is_named() -> None:
    """A host whose sudo wants a password, and none is given: said before anything is done."""
    for host in HOSTS:
        made = drive.ssh(
            host, "useradd -m -G sudo ops && cp -a /home/vagrant/.ssh /home/ops/ && chown -R ops /home/ops"
        )
        assert made.status == 0, made.text
    _refused(drive.operator("apply", "-y", site=drive.other_site("ops", ('user = "vagrant"', 'user = "ops"'))), *HOSTS)


def test_a_full_disk_stops_in_preflight() -> None:
    """A worker with too little room is named, and no host is touched."""
    assert drive.ssh("worker1", "fallocate -l $(( $(df --output=avail -k / | tail -1) - 500000 ))K /full").status == 0
    ran = drive.operator("apply", "-y")
    assert drive.ssh("worker1", "rm /full").status == 0
    assert ran.status == 1
    assert "worker1" in ran.text
    assert "MiB free on /" in ran.text
    assert not ran.changes(), ran.changes()
    assert "Traceback" not in ran.text


def test_a_pool_address_in_use_stops_in_preflight() -> None:
    """A stranger on a pool's address is named by its MAC before anything is installed."""
    add = drive.lab("exec", "--", "ip", "address", "add", "192.168.56.205/24", "dev", "eth1")
    assert add.status == 0, add.text
    ran = drive.operator("apply", "-y")
    drive.lab("exec", "--", "ip", "address", "del", "192.168.56.205/24", "dev", "eth1")
    assert ran.status == 1
    assert re.search(r"192\.168\.56\.205 of the MetalLB pool is in use by ([0-9a-f]{2}:){5}[0-9a-f]{2}", ran.text)
    assert not ran.changes(), ran.changes()


def _refused(ran: drive.Ran, *hosts: str) -> None:
    assert ran.status == 1, ran.text
    assert not ran.changes(), ran.changes()
    assert "Traceback" not in ran.text
    for host in hosts:
        told = {event["text"] for event in ran.events if event["kind"] == "failed" and event.get("host") == host}
        told |= {line for line in ran.text.splitlines() if line.startswith(f"{host}: ")}
        assert told, f"nothing is said of {host}:\n{ran.text}"
